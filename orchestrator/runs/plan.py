"""What a run would do and about how long that would take, said before anything starts."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RATINGS_PER_S = 5.0
"""Of one engine of several billion parameters, where nothing has been measured."""
POCKET_RATINGS_PER_S = 100.0
"""Of a pocket rater on two processors."""
ENGINE_START_S = 25.0
"""Until vLLM answers with small weights; large ones take the time to read them besides."""

END_OF_START = 0.3
"""Ending a run, its figures and its actors, took so much of what starting it took, as measured on two processors."""


@dataclass(frozen=True)
class Part:
    """One kind of work of a run."""

    name: str
    seconds: float
    how: str
    """How much there is of it, and what one takes."""


@dataclass(frozen=True)
class Plan:
    """What a kind of experiment says of a run before it starts."""

    parts: Sequence[Part] = ()
    """What takes time, in the order in which it first happens; empty where a kind does not tell."""
    wall_s: float | None = None
    """From start to end. Less than the sum of the parts, where some go on at the same time."""
    overlap: str = ""
    """Which do."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Questions, tokens, disk: by name, in words."""
    memory: Mapping[str, str] = field(default_factory=dict)
    """Memory of one actor, by its kind."""
    notes: Sequence[str] = ()
    """What is assumed, and what is not counted."""


@dataclass(frozen=True)
class Assumed:
    """What whoever asks for a plan says of the rater."""

    ratings_per_s: float | None = None
    """Of all engines together; None: as measured, else as assumed."""
    load_rater: bool = False
    """Load the rater and have frames rated, to measure it."""
    began: float = field(default_factory=time.monotonic, compare=False)
    """When that was said: what comes before the actors are made takes as long in a run."""


def plan_text(title: str, where: Sequence[tuple[str, int, str, str]], plan: Plan) -> str:
    """A plan for people; `where` has the kind of actors, their number, what each takes, and their node."""
    lines = [title, "", "where, and what one takes"]
    lines += _columns(
        [(f"{number} x {kind}", takes, plan.memory.get(kind, ""), node) for kind, number, takes, node in where]
    )
    lines += [f"  {text}" for kind, text in plan.memory.items() if kind not in {one for one, *_ in where}]
    if not where and not plan.memory:
        lines.append("  all in the command's own process")
    if plan.parts:
        rows = [(part.name, duration(part.seconds), part.how) for part in plan.parts]
        rows.append(("from start to end", duration(plan.wall_s or 0.0), plan.overlap))
        lines += ["", "how long, about", *_columns(rows)]
    if plan.facts:
        lines += ["", "what else", *_columns(list(plan.facts.items()))]
    if plan.notes:
        lines += ["", *plan.notes]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """'40 s', '12 min', '5.3 h', '4.1 days'."""
    for unit, size, most in (("s", 1.0, 99.5), ("min", 60.0, 99.5), ("h", 3600.0, 48.0)):
        number = seconds / size
        if number < most:
            return f"{number:.{int(unit == 'h' or number < 9.95)}f} {unit}"
    return f"{seconds / 86400.0:.1f} days"


def size(num_bytes: float) -> str:
    """'12 MB', '3.4 GB'."""
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.1f} GB"


def each(number: float, what: str, seconds: float) -> str:
    """'1,200 frames at 3.1 ms'."""
    return f"{number:,} {what}{'s' * (number != 1)} at {milliseconds(seconds)}"


def milliseconds(seconds: float) -> str:
    """'3.1 ms'."""
    return f"{1000.0 * seconds:.3g} ms"


def seconds_of(work: Callable[[], Any], times: int = 3) -> float:
    """Seconds that `work` takes once it is warm, the median of so many times."""
    work()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines whose columns stand under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
