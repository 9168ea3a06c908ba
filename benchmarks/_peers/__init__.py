"""Other libraries on our problems: one script each, run by their own Python."""
