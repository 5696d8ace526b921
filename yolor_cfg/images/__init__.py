"""Images: read, measured, fitted to a network's input, drawn upon."""
