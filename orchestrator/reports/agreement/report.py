"""Tables and the figure of agreement, for `likert report` and for `likert ratings --agreement`."""

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from orchestrator.ratings.people.opinions import PeopleStore
from orchestrator.ratings.store import RatingStore
from orchestrator.reports.agreement.comparisons import RATING_COLUMNS, Line, TaskAgreement, compare
from orchestrator.reports.figures import COLOURS, save_figure
from orchestrator.reports.intervals import CONFIDENCE, interval_columns
from orchestrator.reports.tables import csv_table, markdown_table
from orchestrator.screen.counts import counted
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import write_text

NAME = "agreement"
HEADER = ("task", "levels", "between", "items", "the same", "weighted kappa", "Krippendorff's alpha")
MOST_PANELS = 9
"""Of the figure; comparisons of the most pairs are drawn."""
MOST_COLUMNS = 3
_TITLE = 44
"""Characters of a line of a panel's title."""
ABOUT = (
    "Kappa has quadratic weights, alpha is for ordered levels; both are 1 where all agree and 0 where they do no more "
    f"than by chance. In brackets the {CONFIDENCE:.0%} interval, of kappa and alpha by a bootstrap over items, of "
    "shares Wilson's."
)


def agreement_in(store: Path | RemotePath) -> list[TaskAgreement]:
    """All comparisons that a rating store allows."""
    return compare(RatingStore(store).rows(RATING_COLUMNS), PeopleStore(store).opinions())


def write_agreement(tasks: Sequence[TaskAgreement], out: Path) -> list[Path]:
    """Write `agreement.md` and `agreement.csv` into `out`, and `agreement.png` if there is a pair of levels; return
    their paths. There must be a comparison."""
    write_text(out / f"{NAME}.md", agreement_markdown(tasks))
    write_text(out / f"{NAME}.csv", csv_table(agreement_rows(tasks)))
    figure = confusion_figure(tasks)
    if figure is not None:
        save_figure(figure, out / f"{NAME}.png")
    return [out / f"{NAME}{ending}" for ending in (".md", ".csv", *([] if figure is None else [".png"]))]


def line_cells(task: TaskAgreement, line: Line) -> list[str]:
    """A comparison in words, by `HEADER`."""
    found = line.agreement
    return [
        task.instruction, str(len(task.words)), between(line), f"{found.num_items:,}", str(found.same or ""),
        str(found.kappa), str(found.alpha),
    ]  # fmt: skip


def between(line: Line) -> str:
    """Who is held against whom."""
    if line.kind == "people":
        return f"people: {line.who}"
    return f"{line.who} and {line.rater}" if line.kind == "people and model" else f"repeats of {line.rater}"


def level_cells(task: TaskAgreement, line: Line) -> list[list[str]]:
    """For each level that people said: how often the model said the same, and what it said."""
    rows = []
    for level, word in enumerate(task.words):
        same = line.agreement.same_of(level)
        if same is not None:
            row = zip(task.words, line.agreement.table[level], strict=True)
            rows.append(
                [
                    task.instruction,
                    between(line),
                    word,
                    str(same),
                    ", ".join(f"{other} {count:,}" for other, count in row),
                ]
            )
    return rows


LEVEL_HEADER = ("task", "between", "people said", "the model too", "the model said")


def said_in_words(task: TaskAgreement) -> str:
    """What people said of a task, counted."""
    said = task.num_said
    later = f"; {said['later']:,} more knowing the model's answer, or again, are left out" if said["later"] else ""
    people = "1 person" if task.num_people == 1 else f"{task.num_people} people"
    return (
        f"{task.instruction}: {counted(said['level'], 'level')} by {people}, {said['cannot_tell']:,} cannot tell, "
        f"{said['pass']:,} passed{later}."
    )


def agreement_markdown(tasks: Sequence[TaskAgreement]) -> str:
    """The tables for people, with what was counted."""
    pairs = [(task, line) for task in tasks for line in task.lines]
    text = markdown_table(HEADER, [line_cells(*pair) for pair in pairs])
    levels = [row for task, line in pairs if _tells_levels(line) for row in level_cells(task, line)]
    if levels:
        text += f"\n\n{markdown_table(LEVEL_HEADER, levels)}"
    said = [said_in_words(task) for task in tasks if task.num_people]
    return f"{text}\n\n{' '.join([*said, ABOUT])}\n"


def agreement_rows(tasks: Sequence[TaskAgreement]) -> list[dict[str, object]]:
    """The same for programs, a row for each comparison, and of people and a model one for each level."""
    rows: list[dict[str, object]] = []
    for task in tasks:
        for line in task.lines:
            found = line.agreement
            start = {"task": task.instruction, "levels": len(task.words), "kind": line.kind, "who": line.who}
            start |= {"rater": line.rater, "items": found.num_items}
            measures = {"kappa": found.kappa.interval, "alpha": found.alpha.interval}
            nothing = interval_columns(dict.fromkeys(measures))
            rows.append(
                start
                | {"level": None, "pairs": found.num_pairs}
                | interval_columns({"same": found.same} | measures)
                | {"not_defined": found.kappa.reason or found.alpha.reason}
            )
            for level, word in enumerate(task.words if line.kind == "people and model" else ()):
                same = interval_columns({"same": found.same_of(level)})
                pairs = int(found.table[level].sum())
                rows.append(start | {"level": word, "pairs": pairs} | same | nothing | {"not_defined": ""})
    return rows


def _tells_levels(line: Line) -> bool:
    return line.kind == "people and model" and line.is_total


# -------------------------------------------------------------------------------------------------- the figure


def confusion_figure(tasks: Sequence[TaskAgreement]) -> Figure | None:
    """A matrix for each comparison but those of single people among several; None if none has a pair of levels."""
    panels = [(task, line) for task in tasks for line in task.lines if line.is_total and line.agreement.num_pairs]
    if not panels:
        return None
    number = len(panels)
    panels = sorted(panels, key=lambda pair: pair[1].agreement.num_pairs, reverse=True)[:MOST_PANELS]
    columns = min(len(panels), MOST_COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(0.4 + 3.8 * columns, 0.6 + 3.7 * rows), dpi=120, layout="constrained")
    rest = "" if number == len(panels) else f"; {len(panels)} of {number}"
    figure.suptitle(f"What was said of the same pictures, in numbers{rest}", fontsize=11, x=0.01, ha="left")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, (task, line) in zip(axes.flat, panels, strict=False):
        _draw(place, task, line)
    for place in axes.flat[len(panels) :]:
        place.set_axis_off()
    return figure


_SIDES: dict[str, Callable[[Line], tuple[str, str]]] = {
    "people": lambda line: ("one person", "another"),
    "people and model": lambda line: (line.who, "model"),
    "repeats of the model": lambda line: ("model", "model, asked again"),
}


def _draw(axes: Axes, task: TaskAgreement, line: Line) -> None:
    table = line.agreement.table
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.zeros(table.shape), where=totals > 0)
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("", ["#ffffff", COLOURS[0]]), vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(table):
        colour = "white" if shares[row, column] > 0.7 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    words = [textwrap.fill(word, 12) for word in task.words]
    axes.set_xticks(range(len(words)), words, fontsize=8)
    axes.set_yticks(range(len(words)), words, fontsize=8)
    rows, columns = _SIDES[line.kind](line)
    axes.set_ylabel(textwrap.shorten(rows, 30, placeholder="..."), fontsize=9)
    axes.set_xlabel(columns, fontsize=9)
    axes.tick_params(length=0)
    kappa = line.agreement.kappa.interval
    told = "kappa is not defined" if kappa is None else f"weighted kappa {kappa}"
    name = between(line)
    title = f"{textwrap.fill(task.instruction, _TITLE)}\n{textwrap.fill(name, _TITLE)}\n{told}"
    axes.set_title(title, fontsize=8, loc="left")
