"""Data sets to look at: sheets of images with their boxes, and a page of figures."""
