"""What a network learned, and what would suit its data better."""
