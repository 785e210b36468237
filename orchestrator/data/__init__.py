"""Data sets of recorded trajectories: their schema, files and check, and where they come from."""
