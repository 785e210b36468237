"""The pocket rater of episodes: a small Qwen2.5-VL that rates whole BabyAI episodes on Likert scales.

A checkpoint of its own beside those that rate frames and score windows.
"""

FRAME_PX = 56
"""Side of a frame: eight cells of 7 pixels, so that a patch of the vision tower is two by two cells, a token four by
four, and a frame four tokens. That are one room of seven cells a side with its walls, or four of four."""
CELLS = 8
"""Cells on a side of a frame."""
NUM_FRAMES = 4
"""Pictures that a question shows, spread evenly over the episode, its last included."""
