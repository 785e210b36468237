"""Choosing the number of levels: how consistently a rater rates what lies along trajectories that succeed."""
