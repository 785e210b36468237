"""Data sets of ours, written in the formats of others."""
