"""Trying worlds in processes of their own: what a simulator does to its process stays there."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from actors.worlds.settings import TaskSettings
from actors.worlds.world import WorldError

T = TypeVar("T")


def apart(look: Callable[[TaskSettings], T], task: TaskSettings) -> T:
    """What `look` finds of a task's world in a process that is started anew. Raises WorldError, as `look` does."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(look, task).result()
        except BrokenProcessPool:
            raise WorldError(
                f"task {task.name!r}: the process that tried the environment died. What it wrote above may say why"
            ) from None
