"""Figures of offline runs, drawn from run folders alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.reports.figures import COLOURS, dress, legend_outside, one_axes, share_axis, steps_axis
from orchestrator.reports.intervals import CONFIDENCE, Interval
from orchestrator.runs.layout import chain_metric
from orchestrator.runs.reading import RunData

START_LABELS = {"fixed": "start as recorded", "randomised": "randomised start"}
HATCHES = {"fixed": "", "randomised": "///"}
LINES = ("-o", "--s", ":^")
"""Of the first methods that have all colours, the second and the third."""


def curve_figure(run: RunData) -> Figure | None:
    """Proportion of sub-tasks completed over updates, for each kind of start; the untrained policy as lines."""
    drawn = [(start, run.series(chain_metric(start, "proportion"))) for start in START_LABELS]
    drawn = [(start, series) for start, series in drawn if len(series)]
    if not drawn:
        return None
    figure, axes = one_axes(f"{run.experiment.name}, seed {run.experiment.seed}: sub-tasks completed")
    share_axis(axes, "sub-tasks completed")
    for (start, series), colour in zip(drawn, COLOURS, strict=False):
        axes.plot(series.env_steps, series.values, "-o", color=colour, markersize=4, label=START_LABELS[start])
        untrained = run.series(chain_metric(start, "proportion", control="untrained"))
        if len(untrained):
            axes.axhline(
                untrained.values[-1],
                color=colour,
                linestyle="--",
                linewidth=1.0,
                label=f"untrained, {START_LABELS[start]}",
            )
    steps_axis(axes, "updates")
    legend_outside(axes)
    return figure


def chains_figure(
    returns: Mapping[str, Mapping[str, Interval]], by_length: Mapping[str, Mapping[str, Mapping[int, Interval]]]
) -> Figure:
    """The paper's figure 4: returns by method and start; below, by chain length, a panel for each kind of start.

    `returns` is method -> start -> interval; `by_length` is method -> start -> length -> interval.
    """
    starts = [start for start in START_LABELS if any(start in one for one in returns.values())]
    figure = Figure(figsize=(9.0, 8.0), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, max(len(starts), 1))
    bars = figure.add_subplot(grid[0, :])
    _dress(bars, f"Proportion of sub-tasks completed; bars are {CONFIDENCE:.0%} intervals over seeds")
    _draw_bars(bars, returns, starts)
    for column, start in enumerate(starts):
        axes = figure.add_subplot(grid[1, column])
        _dress(axes, START_LABELS[start])
        _draw_lengths(axes, {method: one[start] for method, one in by_length.items() if start in one})
        if column == len(starts) - 1:
            legend_outside(axes)
    return figure


def _draw_bars(axes: Axes, returns: Mapping[str, Mapping[str, Interval]], starts: Sequence[str]) -> None:
    width = 0.8 / max(len(starts), 1)
    for number, start in enumerate(starts):
        places = np.arange(len(returns)) + (number - (len(starts) - 1) / 2) * width
        found = [one.get(start) for one in returns.values()]
        shown = [(place, value) for place, value in zip(places, found, strict=True) if value is not None]
        means = np.array([value.mean for _, value in shown])
        errors = np.abs(np.array([(value.low, value.high) for _, value in shown]).T - means)
        axes.bar(
            [place for place, _ in shown], means, width * 0.95, yerr=errors.tolist(), capsize=3, color=COLOURS[number],
            hatch=HATCHES[start], edgecolor="white", label=START_LABELS[start],
        )  # fmt: skip
    slanted = {"ha": "right", "rotation_mode": "anchor"} if len(returns) > 4 else {}
    steep = {"rotation": 45, "fontsize": 8} if len(returns) > len(COLOURS) else {"rotation": 20}
    axes.set_xticks(np.arange(len(returns)), list(returns), **(slanted | steep if slanted else {}))
    axes.legend(frameon=False)


def _draw_lengths(axes: Axes, by_length: Mapping[str, Mapping[int, Interval]]) -> None:
    for number, (method, values) in enumerate(by_length.items()):
        lengths, colour = sorted(values), COLOURS[number % len(COLOURS)]
        style = LINES[number // len(COLOURS) % len(LINES)]
        axes.plot(lengths, [values[one].mean for one in lengths], style, color=colour, markersize=4, label=method)
        if len(by_length) > len(COLOURS):
            continue  # So many intervals hide one another; the table has them.
        low, high = [values[one].low for one in lengths], [values[one].high for one in lengths]
        axes.fill_between(lengths, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("sub-tasks in the chain")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _dress(axes: Axes, title: str) -> None:
    dress(axes, title)
    share_axis(axes, "sub-tasks completed")
