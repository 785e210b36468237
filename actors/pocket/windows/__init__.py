"""The pocket rater of windows: a small Qwen2.5-VL that scores the actions of a joined BabyAI picture.

A checkpoint of its own beside the one that rates frames, so that each can change without the other.
"""

FRAME_PX = 84
"""Side of a frame: twelve cells of 7 pixels, so that a patch is two by two cells and a token four by four."""
COLUMNS = 3
"""Frames in a row of the picture, and rows."""
PICTURE_PX = COLUMNS * FRAME_PX
NUM_FRAMES = COLUMNS**2
"""Eight actions and the frame after the last."""
