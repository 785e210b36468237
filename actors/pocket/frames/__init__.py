"""The pocket rater of frames: a small Qwen2-VL that rates single pictures of the packaged tasks."""

IMAGE_PX = 112
"""Every picture is brought to this many pixels squared, whatever its size was."""
