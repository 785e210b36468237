"""Rewards by similarity of pictures and sentences: the model that an online run compares frames by."""
