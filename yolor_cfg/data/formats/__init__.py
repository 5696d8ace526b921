"""One module per format; each returns an `ImageListing`."""
