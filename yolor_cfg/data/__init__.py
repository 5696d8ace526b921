"""Labelled images: four formats read as one, a synthetic data set, batches for training and tests."""
