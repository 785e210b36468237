"""Answers on their way to whoever asked: put in one by one, taken out many at once."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class AnswerBox(Generic[T]):
    """While one taking travels, answers gather for the next: the busier, the fewer calls for each."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._filled = asyncio.Event()

    def put(self, item: T) -> None:
        """Add an answer."""
        self._items.append(item)
        self._filled.set()

    async def take(self, timeout_s: float) -> list[T]:
        """All answers there are, or those that come first within `timeout_s`; then none."""
        if not self._items:
            try:
                await asyncio.wait_for(self._filled.wait(), timeout_s)
            except TimeoutError:
                return []
        items, self._items = self._items, []
        self._filled.clear()
        return items
