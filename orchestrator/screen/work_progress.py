"""Live progress of work that is a count: a moving line on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import TextIO

from orchestrator.screen.run_progress import LINE_EVERY_S, clock


class WorkProgress:
    """Shows how much of `total` is done, facts about it, and the time left. Use it as a context manager."""

    def __init__(self, title: str, total: int, unit: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._stream = stream or sys.stderr
        self._done = 0
        self._free = 0
        self._facts = ""
        self._started = time.monotonic()
        self._printed_at = 0.0
        self._live = None

    def __enter__(self) -> "WorkProgress":
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._line(), refresh=True)
            self._live.stop()
        else:
            print(self._line(), file=self._stream, flush=True)

    def update(self, done: int, facts: str = "", free: int = 0) -> None:
        """Show new values. `free` of what is done cost no time and tells nothing of what is to come."""
        self._done, self._facts, self._free = done, facts, free
        if self._live is not None:
            self._live.update(self._line())
        elif time.monotonic() - self._printed_at >= LINE_EVERY_S:
            self._printed_at = time.monotonic()
            print(self._line(), file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Print a line of text above the progress."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._stream, flush=True)

    def eta_s(self) -> float | None:
        """Seconds left, or None while nothing tells."""
        worked, left = self._done - self._free, self._total - self._done
        elapsed_s = time.monotonic() - self._started
        return elapsed_s / worked * left if worked > 0 and left > 0 and elapsed_s >= 1 else None

    def _line(self) -> str:
        eta_s = self.eta_s()
        parts = [f"{self._done:,}/{self._total:,} {self._unit}", self._facts]
        parts.append("" if eta_s is None else f"{clock(eta_s)} left")
        return f"{self._title}: {', '.join(filter(None, parts))}"
