"""The pocket model of similarity: a small CLIP, which says how well a frame and a sentence fit."""

IMAGE_PX = 112
"""Side of the frames that it sees."""
