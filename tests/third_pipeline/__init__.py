"""A third, small pipeline of meters' readings, as somebody would add it: a folder, no line more."""
