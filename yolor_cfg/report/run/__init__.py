"""The page of a run, and of several side by side: one HTML file with all of it, and nothing to load."""
