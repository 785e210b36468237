"""Ratings: the store, the service before it, and the rating servers that runs own or share."""
