"""Tensors from and to files: Darknet's `.weights`, checkpoints, official YOLOR files."""
