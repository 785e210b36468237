"""Work on one picture after another, on all processors and in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

WAITING_PER_CORE = 3
"""Pictures that are begun before the first of them is asked for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, but a few items ahead, in threads: to pack a picture takes long, and needs no Python meanwhile.

    `items` are taken in the caller's thread. What `do` raises comes when its result would have.
    """
    cores = len(os.sched_getaffinity(0))
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(cores, thread_name_prefix="pictures")
    try:
        for item in items:
            waiting.append(pool.submit(do, item))
            if len(waiting) > WAITING_PER_CORE * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
