"""Networks taken apart and built again: folding, plain Darknet."""
