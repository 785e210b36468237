"""Where files lie, and writing them whole."""
