"""Rewrites networks: folding, and conversion to plain Darknet."""
