"""Figures of a data set: sizes, classes, and labels worth a look."""
