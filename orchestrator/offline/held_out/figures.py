"""Figures of runs that held-out episodes judge, drawn from run folders alone."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.reports.figures import COLOURS, dress, share_axis, steps_axis
from orchestrator.reports.intervals import CONFIDENCE, Interval
from orchestrator.runs.layout import held_out_metric
from orchestrator.runs.reading import RunData

Intervals = Mapping[str, Callable[[str], Interval | None]]
"""By method or control: what gives a metric's interval."""
VALUES = {
    "value_end_success": "end, success",
    "value_start_success": "start, success",
    "value_end_failure": "end, failure",
    "value_start_failure": "start, failure",
}

STYLES = {"untrained": "--", "constant": ":"}
CONTROLS = tuple(STYLES)
TOLD = {
    "value_start_auroc": "success, at start (AUROC)",
    "value_end_auroc": "success, at end (AUROC)",
    "value_order": "rises with time (Spearman)",
}


def curve_figure(run: RunData) -> Figure:
    """Over updates: agreement with recorded actions, log-likelihood, and values; controls as lines."""
    figure = Figure(figsize=(12.0, 4.2), dpi=120, layout="constrained")
    figure.suptitle(f"{run.experiment.name}, seed {run.experiment.seed}: held-out episodes", fontsize=11)
    agreement, likelihood, values = figure.subplots(1, 3)
    dress(agreement, "agreement with actions")
    share_axis(agreement, "100 % = as recorded")
    dress(likelihood, "log-likelihood of actions")
    # Untrained, it is so low that nothing else could be told apart.
    for axes, name, controls in ((agreement, "agreement", CONTROLS), (likelihood, "log_prob", ("constant",))):
        _draw(axes, run, {name: "policy"})
        for control in controls:
            known = run.series(held_out_metric(name, control))
            if len(known):
                axes.axhline(known.values[-1], color="0.4", linestyle=STYLES[control], linewidth=1.0, label=control)
        _legend_below(axes)
    dress(values, "V")
    _draw(values, run, VALUES)
    if values.lines:
        _legend_below(values)
    else:
        values.text(0.5, 0.5, "cloning has no V", ha="center", va="center", transform=values.transAxes, color="0.4")
    return figure


def methods_figure(methods: Intervals, controls: Intervals) -> Figure:
    """By method: agreement with recorded actions, what V tells, and what the policy is worth."""
    wide = max(10.0, 3.5 + 0.9 * len(methods))
    figure = Figure(figsize=(wide, 4.8), dpi=120, layout="constrained")
    figure.suptitle(f"Held-out episodes; {CONFIDENCE:.0%} intervals over seeds", fontsize=11)
    agreement, told, worth = figure.subplots(1, 3)
    dress(agreement, "agreement with actions")
    share_axis(agreement, "100 % = as recorded")
    _bars(agreement, methods, {"agreement": "policy"})
    for (name, interval), style in zip(controls.items(), STYLES.values(), strict=False):
        if (known := interval("agreement")) is not None:
            agreement.axhline(known.mean, color="0.1", linestyle=style, linewidth=1.0, label=name)
    dress(told, "what V tells")
    _bars(told, methods, TOLD)
    told.axhline(0.5, color="0.4", linestyle=":", linewidth=1.0)
    told.set_ylim(min(0.0, told.get_ylim()[0]), 1.02)
    sparse = any(interval("worth_sparse") for interval in methods.values())
    # Under the rewards of one labeller alone it could not be compared.
    suffix = "_sparse" if sparse else ""
    dress(worth, "discounted return" + (", sparse" if sparse else ""))
    mixed = {name: _first(interval, suffix) for name, interval in methods.items()}
    _bars(worth, mixed, {"worth": "policy, fitted-Q", "return": "as recorded"})
    for axes in (agreement, told, worth):
        if axes.containers or axes.lines:
            _legend_below(axes)
    return figure


def _legend_below(axes: Axes) -> None:
    """Where it hides nothing."""
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _first(interval: Callable[[str], Interval | None], suffix: str) -> Callable[[str], Interval | None]:
    """Under sparse rewards; who learned from those has them without a suffix."""
    return lambda name: (suffix and interval(name + suffix)) or interval(name)


def _draw(axes: Axes, run: RunData, names: Mapping[str, str]) -> None:
    for (name, label), colour in zip(names.items(), COLOURS, strict=False):
        series = run.series(held_out_metric(name))
        if len(series):
            axes.plot(series.env_steps, series.values, "-o", color=colour, markersize=4, label=label)
    steps_axis(axes, "updates")


def _bars(axes: Axes, methods: Intervals, metrics: Mapping[str, str]) -> None:
    width = 0.8 / len(metrics)
    for number, ((metric, label), colour) in enumerate(zip(metrics.items(), COLOURS, strict=False)):
        shown = [(place, found) for place, interval in enumerate(methods.values()) if (found := interval(metric))]
        if shown:
            means = np.array([found.mean for _, found in shown])
            errors = np.abs(np.array([(found.low, found.high) for _, found in shown]).T - means)
            places = [place + (number - (len(metrics) - 1) / 2) * width for place, _ in shown]
            axes.bar(
                places, means, 0.95 * width, yerr=errors.tolist(), capsize=3, color=colour, edgecolor="white",
                label=label,
            )  # fmt: skip
    slanted = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if len(methods) > 2 else {}
    axes.set_xticks(np.arange(len(methods)), list(methods), **slanted)
    axes.set_xlim(-0.5, len(methods) - 0.5)
