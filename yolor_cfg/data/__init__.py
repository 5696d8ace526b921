"""Data sets of images with labels: four formats read as one, a synthetic one, batches for training and
tests."""
