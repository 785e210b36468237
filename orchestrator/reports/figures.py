"""What all figures share: colours, axes, and how they become files."""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import write_atomic

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, which colour-blind people can tell apart."""


def save_figure(figure: Figure, path: Path | RemotePath) -> None:
    """Write a PNG file."""
    write_atomic(path, png(figure))


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def level_shades(number: int) -> list[tuple[float, float, float]]:
    """Colours of so many levels, two or more: from a reddish orange for the worst, over grey, to blue for the best."""
    worst, middle, best = np.array([0.835, 0.369, 0.0]), np.array([0.82, 0.82, 0.82]), np.array([0.0, 0.447, 0.698])
    shades = []
    for share in np.linspace(0.0, 1.0, number):
        start, end, way = (worst, middle, 2 * share) if share < 0.5 else (middle, best, 2 * share - 1)
        shades.append(tuple((1 - way) * start + way * end))
    return shades


def one_axes(title: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = Figure(figsize=(8.0, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    dress(axes, title)
    return figure, axes


def dress(axes: Axes, title: str) -> None:
    """Title, a faint grid, and no box."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def steps_axis(axes: Axes, label: str) -> None:
    """The horizontal axis counts steps."""
    axes.set_xlabel(label)
    # More would run into each other where they are of five figures.
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def share_axis(axes: Axes, label: str) -> None:
    """The vertical axis is a share, from 0 to 100 %."""
    axes.set_ylabel(label)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def legend_outside(axes: Axes, reverse: bool = False) -> None:
    """A legend to the right of the axes."""
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=reverse)
