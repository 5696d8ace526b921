"""Images: reading, measuring, fitting to a network's input, drawing."""
