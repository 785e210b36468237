"""The live table of a sweep's trials: moving on a terminal, a line per change elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from orchestrator.screen.run_progress import LINE_EVERY_S, clock

SHOWN_TRIALS = 24
"""Rows of the table; trials at work come first."""
_ORDER = ("running", "waiting", "failed", "stopped", "finished")


@dataclass(frozen=True)
class TrialState:
    """What is shown of a trial."""

    total_env_steps: int
    status: str = "waiting"
    """`waiting`, `running`, `finished`, `stopped` (by the scheduler) or `failed`."""
    phase: str = ""
    env_steps: int = 0
    success: float | None = None
    env_return: float | None = None
    """Where success is unknown."""
    asked: int = 0
    shared: int = 0
    """Of those asked, answered without asking the model again."""
    asked_model: int = 0
    began: tuple[float, int] | None = None
    """Time and step at which this launch first heard of it."""

    def eta_s(self, now: float) -> float | None:
        """Seconds to its end, or None where its speed is not known."""
        if self.status != "running" or self.began is None:
            return None
        done, left = self.env_steps - self.began[1], self.total_env_steps - self.env_steps
        return (now - self.began[0]) / done * left if done > 0 and left > 0 else None


class SweepTable:
    """Shows where all trials stand. Use it as a context manager; tell it what changed."""

    def __init__(
        self, title: str, trials: Mapping[str, TrialState], stream: TextIO | None = None, score: str = "success"
    ) -> None:
        """`score` is what trials are compared by, in words."""
        self._title = title
        self._score = score
        self._stream = stream or sys.stderr
        self.states = dict(trials)
        self._live: Any = None
        self._printed: dict[str, tuple[Any, float]] = {}

    def __enter__(self) -> "SweepTable":
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), refresh_per_second=2, get_renderable=self._render)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, trial: str, **changes: Any) -> None:
        """Show new values of a trial (see `TrialState`); what is not given stays."""
        old = self.states[trial]
        new = replace(old, **changes)
        if new.began is None and "env_steps" in changes:
            new = replace(new, began=(time.monotonic(), new.env_steps))
        self.states[trial] = new
        if self._live is None:
            self._print(trial, new)

    def note(self, text: str) -> None:
        """Print a line of text above the table."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._stream, flush=True)

    def count(self, status: str) -> int:
        """Number of trials with a status."""
        return sum(state.status == status for state in self.states.values())

    def summary(self) -> str:
        """All trials in one line."""
        counts = ", ".join(f"{count} {status}" for status in _ORDER if (count := self.count(status)))
        asked = sum(state.asked for state in self.states.values())
        model = sum(state.asked_model for state in self.states.values())
        eta_s = self._eta_s()
        left = f", {clock(eta_s)} left" if eta_s is not None else ""
        return f"{self._title}: {counts}; {asked:,} ratings, {model:,} of them by the model{left}"

    def _eta_s(self) -> float | None:
        """By the speed of all trials together in this launch; waiting ones will have it too."""
        now = time.monotonic()
        begun = [state for state in self.states.values() if state.began is not None]
        done = sum(state.env_steps - state.began[1] for state in begun)
        left = sum(
            state.total_env_steps - state.env_steps
            for state in self.states.values()
            if state.status in ("running", "waiting")
        )
        if not done or not left:
            return None
        return (now - min(state.began[0] for state in begun)) / done * left

    def _print(self, trial: str, state: TrialState) -> None:
        """A new status or success rate at once, the rest now and then."""
        shown, at = self._printed.get(trial, (None, 0.0))
        key = (state.status, state.success, state.env_return)
        if key == shown and time.monotonic() - at < LINE_EVERY_S:
            return
        self._printed[trial] = (key, time.monotonic())
        cells = [cell for cell in self._cells(trial, state, time.monotonic()) if cell]
        print(" | ".join(cells), file=self._stream, flush=True)

    def _render(self) -> Any:
        from rich.table import Table

        table = Table(title=self.summary(), title_justify="left")
        for column in ("trial", "phase", "env steps", self._score, "ratings", "left"):
            table.add_column(column, justify="left" if column in ("trial", "phase") else "right")
        rows = sorted(self.states.items(), key=lambda item: _ORDER.index(item[1].status))
        for name, state in rows[:SHOWN_TRIALS]:
            table.add_row(*self._cells(name, state, time.monotonic()))
        if len(rows) > SHOWN_TRIALS:
            table.caption = f"and {len(rows) - SHOWN_TRIALS} more"
        return table

    @staticmethod
    def _cells(name: str, state: TrialState, now: float) -> Sequence[str]:
        eta_s = state.eta_s(now)
        return (
            name,
            (state.phase if state.status == "running" else "") or state.status,
            f"{state.env_steps:,}/{state.total_env_steps:,}" if state.began else "",
            _score(state),
            f"{state.asked:,} asked, {state.shared:,} shared" if state.asked else "",
            "" if eta_s is None else clock(eta_s),
        )


def _score(state: TrialState) -> str:
    if state.env_return is not None:
        return f"return {state.env_return:,.4g}"
    return "" if state.success is None else f"{state.success:.0%}"
