"""The pocket rater of pairs: a small Qwen2-VL that says in which of two pictures a packaged task is nearer to its goal.

Its pictures, their size and their true stages are those of the pocket rater of frames, and so are its eyes.
"""
