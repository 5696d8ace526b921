"""What a network has learned, and which anchors would suit its data better."""
