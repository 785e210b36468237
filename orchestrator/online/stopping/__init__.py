"""Stopping a run and going on with it: where it stands, and its checkpoints."""
