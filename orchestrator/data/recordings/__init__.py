"""Recordings that others made, in their own formats, read into data sets of ours."""
