"""Something that ends its process. It stands alone, so that a new process loads nothing else."""

import os


def die(task, num_envs, seed):
    """As a broken driver does: without a word."""
    os._exit(9)
