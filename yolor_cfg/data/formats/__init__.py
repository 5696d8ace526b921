"""One file a format; each gives a `Listing` of pictures and a way to read the labels of one."""
