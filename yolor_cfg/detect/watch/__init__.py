"""What is found, seen while it is found: in a window, or by clients on the network."""
