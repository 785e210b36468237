"""Frames of agent steps: drawn again, or kept."""
