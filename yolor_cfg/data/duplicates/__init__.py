"""Images that stand in a data set more than once: copies, the same pixels, nearly the same, mirrored."""
