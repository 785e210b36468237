"""Live progress of a run: two moving lines on a terminal, a line per change elsewhere."""

import sys
import time
from dataclasses import dataclass, replace
from typing import TextIO

LINE_EVERY_S = 10.0
"""Off a terminal, numbers that merely grow are printed at most this often."""


@dataclass(frozen=True)
class ProgressState:
    """What is shown."""

    phase: str = "starting"
    env_steps: int = 0
    success: float | None = None
    measure: str = "success"
    env_return: float | None = None
    asked: int = 0
    answered: int = 0
    failed: int = 0
    from_store: int = 0
    shared: int = 0
    """Asked by another run at the same moment too, and put to the model once."""


class RunProgress:
    """Shows where a run stands. Use it as a context manager; call `update` with whatever changed."""

    def __init__(
        self,
        title: str,
        total_env_steps: int,
        stream: TextIO | None = None,
        enabled: bool = True,
        unit: str = "env steps",
    ) -> None:
        """`unit` names what is counted instead of environment steps, as `updates` of an offline run."""
        self._title = title
        self._total = total_env_steps
        self._unit = unit
        self._stream = stream or sys.stderr
        self._enabled = enabled
        self._state = ProgressState()
        self._began: tuple[float, int] | None = None
        self._live = None
        self._printed = ProgressState(phase="")
        self._printed_at = 0.0

    def __enter__(self) -> "RunProgress":
        if self._enabled and self._stream.isatty():
            self._live = _Live(self._title, self._total, self._stream)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._enabled and self._printed != self._state:
            self._print()

    def update(
        self,
        *,
        phase: str | None = None,
        env_steps: int | None = None,
        success: float | None = None,
        measure: str | None = None,
        env_return: float | None = None,
        asked: int | None = None,
        answered: int | None = None,
        failed: int | None = None,
        from_store: int | None = None,
        shared: int | None = None,
    ) -> None:
        """Show new values; what is not given stays. `success` is that of the last evaluation, in [0, 1]; `measure` what
        it is called. Where success is unknown, `env_return` is the last evaluation's return."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        self._state = replace(self._state, **given)
        if self._began is None and env_steps is not None:
            # A resumed run starts in the middle, and only what this process did says how fast it is.
            self._began = (time.monotonic(), env_steps)
        if self._live is not None:
            self._live.show(self._state, self._eta_s())
        elif self._enabled and self._changed():
            self._print()

    def note(self, text: str) -> None:
        """Print a line of text above the progress."""
        if self._live is not None:
            self._live.note(text)
        elif self._enabled:
            print(text, file=self._stream, flush=True)

    def _changed(self) -> bool:
        """A new evaluation or session shows at once, the rest now and then; phases alone change too often."""
        new, old = self._state, self._printed
        if new == old:
            return False
        told = ("success", "env_return", "asked", "failed")
        at_once = not old.phase or any(getattr(new, name) != getattr(old, name) for name in told)
        return at_once or time.monotonic() - self._printed_at >= LINE_EVERY_S

    def _print(self) -> None:
        eta_s = self._eta_s()
        parts = [f"{self._state.env_steps:,}/{self._total:,} {self._unit}", self._state.phase, *_facts(self._state)]
        parts += [f"{clock(eta_s)} left"] if eta_s is not None else []
        print(f"{self._title}: {', '.join(parts)}", file=self._stream, flush=True)
        self._printed, self._printed_at = self._state, time.monotonic()

    def _eta_s(self) -> float | None:
        if self._began is None:
            return None
        started, first_step = self._began
        done, left = self._state.env_steps - first_step, self._total - self._state.env_steps
        return (time.monotonic() - started) / done * left if done > 0 and left > 0 else None


class _Live:
    """The moving lines."""

    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.text import Text

        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            TextColumn("{task.fields[phase]:<12}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
        )
        self._task = self._progress.add_task(title, total=total, phase="starting", eta="")
        self._facts = Text()
        self._live = Live(
            Group(self._progress, self._facts), console=Console(file=stream), refresh_per_second=4, transient=False
        )
        self._live.start()

    def show(self, state: ProgressState, eta_s: float | None) -> None:
        eta = "" if eta_s is None else f"{clock(eta_s)} left"
        self._progress.update(self._task, completed=state.env_steps, phase=state.phase, eta=eta)
        self._facts.plain = ", ".join(_facts(state))

    def note(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        self._live.stop()


def _facts(state: ProgressState) -> list[str]:
    facts = [] if state.success is None else [f"{state.measure} {state.success:.0%}"]
    if state.env_return is not None:
        facts.append(f"return {state.env_return:,.4g}")
    if state.asked:
        shared = f"{state.shared:,} shared, " if state.shared else ""
        facts.append(
            f"ratings {state.answered:,}/{state.asked:,} "
            f"({state.from_store:,} from the store, {shared}{state.failed:,} failed)"
        )
    return facts


def clock(seconds: float) -> str:
    """Hours, minutes and seconds as people write them."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
