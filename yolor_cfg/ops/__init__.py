"""Plain tensor functions and small named modules."""
