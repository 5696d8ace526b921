"""What an editor shows of a cfg while it is written, however damaged the text is; without any protocol."""
