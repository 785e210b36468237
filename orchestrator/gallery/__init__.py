"""A page on a rating store: people see what the rater saw and said, and say themselves."""
