"""How right scores must be: the return over the share of wrong ones, beside what learns from fewer or other labels."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from orchestrator.offline.settings import OfflineExperiment
from orchestrator.reports.figures import COLOURS, legend_outside, one_axes, share_axis
from orchestrator.reports.intervals import NUM_RESAMPLES, Interval, bootstrap_interval, ratio_interval
from orchestrator.reports.tables import markdown_table

FEWEST = 3
"""Shares of wrong scores that make a curve."""


@dataclass(frozen=True)
class Curve:
    """Runs that learn from the truth in one form, and differ in the share of wrong scores."""

    form: str
    """What was done to the scores, in words, such as ` + sparse, middle 0.5`."""
    returns: Mapping[float, np.ndarray]
    """By share of wrong scores, in ascending order: a value for each seed."""


def reward_form(experiment: OfflineExperiment) -> str:
    """What is learned from but for who labelled, as text: equal texts stand for equal forms."""
    return experiment.data.reward.model_dump_json(exclude={"labeller"})


def longest_curve(found: Sequence[tuple[str, str, float, np.ndarray]]) -> Curve | None:
    """The curve of most points, of methods (form, in words, share of wrong scores, returns); None if none is one."""
    curves: dict[str, dict[float, np.ndarray]] = defaultdict(dict)
    words = {}
    for form, word, share, returns in found:
        curves[form][share] = returns
        words[form] = word
    best = max(curves, key=lambda form: len(curves[form]), default=None)
    if best is None or len(curves[best]) < FEWEST:
        return None
    return Curve(words[best], dict(sorted(curves[best].items())))


def curve_markdown(curve: Curve, beside: Mapping[str, np.ndarray], sparse: np.ndarray | None, start: str) -> str:
    """The curve as a table; `beside` are the returns, by name, of what a rater's scores were made into."""
    rows = [[f"{share:.0%}", *_cells(returns, sparse)] for share, returns in curve.returns.items()]
    lines = [
        f"How right scores must be ({start}; truth{curve.form}, so many of its scores replaced by a wrong one):",
        "",
        markdown_table(["wrong scores", "proportion", "over sparse"], rows),
    ]
    right = curve.returns[min(curve.returns)]
    if sparse is not None and right.mean() > sparse.mean():
        said = [
            f"- {name} keeps {kept_share(returns, right, sparse)} of what the right scores gain over sparse"
            for name, returns in beside.items()
        ]
        lines += ["", *said] if said else []
    return "\n".join(lines) + "\n"


def curve_figure(curve: Curve, beside: Mapping[str, np.ndarray], start: str) -> Figure:
    """The curve, with other methods' returns as lines."""
    figure, axes = one_axes(f"Sub-tasks completed over the share of wrong scores; {start}")
    share_axis(axes, "sub-tasks completed")
    shares = list(curve.returns)
    found = [bootstrap_interval([returns]) for returns in curve.returns.values()]
    axes.plot(shares, [one.mean for one in found], "-o", color=COLOURS[0], label=f"truth{curve.form}")
    axes.fill_between(shares, [one.low for one in found], [one.high for one in found], color=COLOURS[0], alpha=0.15)
    for (name, returns), colour in zip(beside.items(), COLOURS[1:] * 3, strict=False):
        one = bootstrap_interval([returns])
        axes.axhline(one.mean, color=colour, linestyle="--", linewidth=1.2, label=name)
        axes.axhspan(one.low, one.high, color=colour, alpha=0.08, linewidth=0)
    axes.set_xlabel("scores that are wrong")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    legend_outside(axes)
    return figure


def kept_share(returns: np.ndarray, right: np.ndarray, base: np.ndarray) -> Interval:
    """Share of the gain of `right` over `base` that `returns` keep, means over seeds, with a bootstrap interval.

    Draws in which the right scores gain nothing have no share and are left out.
    """
    rng = np.random.default_rng(0)
    one, other, below = (
        values[rng.integers(0, len(values), (NUM_RESAMPLES, len(values)))].mean(axis=1)
        for values in (returns, right, base)
    )
    gains = other - below
    shares = (one - below)[gains > 0] / gains[gains > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    kept = (returns.mean() - base.mean()) / (right.mean() - base.mean())
    return Interval(float(kept), float(low), float(high))


def _cells(returns: np.ndarray, sparse: np.ndarray | None) -> list[str]:
    over = "" if sparse is None or not sparse.mean() else str(ratio_interval(returns, sparse, paired=False))
    return [str(bootstrap_interval([returns])), over]
