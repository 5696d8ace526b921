"""`yolor darknet`: C Darknet's command lines, each run as the command of ours that does the same."""
