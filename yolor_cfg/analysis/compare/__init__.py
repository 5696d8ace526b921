"""Where two programs that run the same network part, layer by layer, and why."""
