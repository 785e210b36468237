"""The pocket rater of episodes: a small Qwen2.5-VL that rates whole BabyAI episodes on Likert scales.

A checkpoint of its own beside those that rate frames and score windows.
"""

FRAME_PX = 84
"""Side of a frame, as BabyAI's rooms are drawn: twelve cells of 7 pixels, so that a token is four by four cells."""
NUM_FRAMES = 4
"""Pictures that a question shows, spread evenly over the episode, its last included."""
