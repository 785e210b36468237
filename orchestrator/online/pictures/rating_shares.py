"""How the shares of the levels change while runs go on: groups of runs beside one another, their seeds averaged."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from orchestrator.reports.figures import dress, level_shades, save_figure, share_axis, steps_axis
from orchestrator.reports.tables import csv_table
from orchestrator.runs.layout import RATING_LEVEL
from orchestrator.runs.reading import RunData
from orchestrator.storage.writing import write_text

NAME = "rating_shares"
MOST_STRETCHES = 40
"""Bars of a panel at most: sessions that lie closer are taken together."""
MOST_COLUMNS = 3
_TITLE = 32
"""Characters of a line of a panel's title."""


@dataclass(frozen=True)
class Stretch:
    """What was said between two environment steps, the first included and the second not."""

    start: int
    end: int
    shares: np.ndarray
    """[n] float64, worst level first: mean over runs of each one's shares; sums to 1."""
    ratings: float
    """Ratings, mean over runs."""
    num_runs: int
    """Runs that had any."""


@dataclass(frozen=True)
class Panel:
    """Runs that differ in their seed only."""

    task: str
    group: str
    words: tuple[str, ...]
    num_runs: int
    stretches: list[Stretch]


def write_rating_shares(groups: dict[str, list[RunData]], out: Path) -> list[Path]:
    """Write `rating_shares.png` and `.csv` into `out` if any run had something rated; return their paths."""
    panels = [panel for name, runs in groups.items() for panel in panels_of(name, runs)]
    if not panels:
        return []
    save_figure(shares_figure(panels), out / f"{NAME}.png")
    write_text(out / f"{NAME}.csv", csv_table([row for panel in panels for row in _rows(panel)]))
    return [out / f"{NAME}.png", out / f"{NAME}.csv"]


def panels_of(group: str, runs: Sequence[RunData]) -> list[Panel]:
    """A group's panels: one for each task, and scale if they differ; none of runs in which nothing was rated."""
    found: dict[tuple[str, tuple[str, ...]], list[RunData]] = {}
    for run in runs:
        if len(run.series(RATING_LEVEL.format(number=1))):
            found.setdefault((run.experiment.task.name, words_of(run)), []).append(run)
    return [Panel(task, group, words, len(own), stretches_of(own)) for (task, words), own in found.items()]


def words_of(run: RunData) -> tuple[str, ...]:
    """What may be said in a run, worst first."""
    return run.experiment.scale.words


def stretches_of(runs: Sequence[RunData]) -> list[Stretch]:
    """Shares by stretch of environment steps of runs on one scale, oldest first; without stretches of no rating.

    A stretch is as long as sessions lie apart, or a multiple of that.
    """
    size = len(words_of(runs[0]))
    levels = [[run.series(RATING_LEVEL.format(number=level + 1)) for level in range(size)] for run in runs]
    last = max(int(series.env_steps[-1]) for of_run in levels for series in of_run if len(series))
    apart = max(run.experiment.feedback.interval_env_steps for run in runs)
    length = apart * math.ceil((last // apart + 1) / MOST_STRETCHES)
    counts = np.zeros((len(runs), last // length + 1, size))
    for run, of_run in enumerate(levels):
        for level, series in enumerate(of_run):
            np.add.at(counts[run, :, level], series.env_steps // length, series.values)
    totals = counts.sum(axis=2)
    stretches = []
    for place in range(counts.shape[1]):
        rated = totals[:, place] > 0
        if rated.any():
            shares = (counts[rated, place] / totals[rated, place, None]).mean(axis=0)
            start = place * length
            stretches.append(
                Stretch(start, start + length, shares, float(totals[rated, place].mean()), int(rated.sum()))
            )
    return stretches


def shares_figure(panels: Sequence[Panel]) -> Figure:
    """A panel for each group of runs: stacked shares over environment steps."""
    columns = min(len(panels), MOST_COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(1.6 + 3.4 * columns, 0.5 + 2.5 * rows), dpi=120, layout="constrained")
    figure.suptitle("Share of each answer of the rater, mean over seeds", fontsize=11, x=0.01, ha="left")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, panel in zip(axes.flat, panels, strict=False):
        _draw(place, panel)
    for place in axes.flat[len(panels) :]:
        place.set_axis_off()
    handles = []
    for words in dict.fromkeys(panel.words for panel in panels):
        shades = level_shades(len(words))
        handles += [Patch(color=shade, label=word) for word, shade in reversed(list(zip(words, shades, strict=True)))]
        handles.append(Patch(alpha=0.0, label=""))
    figure.legend(handles=handles[:-1], frameon=False, loc="outside right upper")
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    seeds = "1 seed" if panel.num_runs == 1 else f"{panel.num_runs} seeds"
    dress(axes, textwrap.fill(f"{panel.task}: {panel.group} ({seeds})", _TITLE))
    axes.title.set_fontsize(9)
    steps_axis(axes, "environment steps")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    share_axis(axes, "answers")
    starts = np.array([one.start for one in panel.stretches])
    widths = np.array([one.end - one.start for one in panel.stretches])
    bottom = np.zeros(len(starts))
    for level, shade in enumerate(level_shades(len(panel.words))):
        heights = np.array([one.shares[level] for one in panel.stretches])
        axes.bar(starts, heights, 0.92 * widths, bottom, align="edge", color=shade)
        bottom += heights


def _rows(panel: Panel) -> list[dict[str, object]]:
    return [
        {
            "task": panel.task,
            "experiment": panel.group,
            "from_env_step": one.start,
            "to_env_step": one.end,
            "level": level + 1,
            "word": word,
            "share": float(one.shares[level]),
            "ratings": one.ratings,
            "runs": one.num_runs,
        }
        for one in panel.stretches
        for level, word in enumerate(panel.words)
    ]
