"""What a sweep found: a line for each cell, over its seeds, as table, CSV and figure in the sweep's folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from orchestrator.kinds import kind_of
from orchestrator.reports.figures import COLOURS, png
from orchestrator.reports.intervals import (
    CONFIDENCE,
    LAST_EVALUATIONS,
    Interval,
    bootstrap_interval,
    interquartile_mean,
    last_mean,
)
from orchestrator.reports.tables import csv_table, markdown_table
from orchestrator.runs.layout import EVAL_RETURN, EVAL_SUCCESS, RATINGS_ASKED, SETTINGS_FILE
from orchestrator.runs.reading import RunData
from orchestrator.sweeps.search import SEED, SweepPlan, Trial
from orchestrator.sweeps.sweep_folder import SweepFolder


@dataclass(frozen=True)
class Cell:
    """A line of the summary."""

    name: str
    values: Mapping[str, Any]
    """Of the searched entries, the seed left out."""
    num_seeds: int
    num_evaluated: int
    """Seeds that have been evaluated once at least; the rest are not in the interval."""
    num_finished: int
    num_stopped: int
    """Seeds that the scheduler has stopped."""
    score: Interval | None
    """Interquartile mean over seeds of each one's last evaluations; None before the first."""
    scores: Sequence[float]
    """One per evaluated seed."""
    ratings: float
    """Questions asked, mean over the evaluated seeds."""


def write_summary(plan: SweepPlan, folder: SweepFolder, note: Callable[[str], None]) -> dict[str, float]:
    """Write `summary.md`, `summary.csv` and `summary.png`; return each evaluated cell's score for tracking."""
    cells = cells_of(plan, folder)
    evaluated = [cell for cell in cells if cell.score is not None]
    if not evaluated:
        return {}
    text = markdown(plan, cells)
    note(text)
    for name, content in (
        ("summary.md", text.encode()),
        ("summary.csv", csv_text(plan, cells).encode()),
        ("summary.png", png(figure(plan, evaluated))),
    ):
        note(str(folder.write(name, content)))
    return {f"cell/{cell.name}/{_short(plan)}": cell.score.mean for cell in evaluated}


def cells_of(plan: SweepPlan, folder: SweepFolder) -> list[Cell]:
    """Every cell of the plan as its trials' folders stand."""
    return [_cell([trial for trial in plan.trials if trial.cell == name], folder) for name in plan.cells]


def markdown(plan: SweepPlan, cells: Sequence[Cell]) -> str:
    """The table for people, with what its columns mean."""
    names = list(cells[0].values)
    name = score_name(plan)
    header = [*(names or ["cell"]), "seeds", f"{name}, IQM", "lowest", "highest", "ratings"]
    rows = []
    for cell in cells:
        values = [_text(cell.values[name]) for name in names] or [cell.name]
        left = cell.num_seeds - cell.num_finished - cell.num_stopped
        rows.append(
            [
                *values,
                str(cell.num_evaluated)
                + ("*" if left else "")
                + (f" ({cell.num_stopped} stopped)" if cell.num_stopped else ""),
                str(cell.score or ""),
                f"{min(cell.scores):.2f}" if cell.scores else "",
                f"{max(cell.scores):.2f}" if cell.scores else "",
                f"{cell.ratings:,.0f}" if cell.scores else "",
            ]
        )
    biased = (
        f" Trials were compared and changed while they ran (sweep.scheduler={plan.settings.scheduler}): that is a "
        "search for one good setting, and what is left of a cell's seeds is its better ones."
        if plan.settings.scheduler != "none"
        else ""
    )
    scored = " or ".join(dict.fromkeys(_score_of(trial) for trial in plan.trials))
    table = markdown_table(header, rows)
    return (
        f"{table}\n\n{name[0].upper()}{name[1:]} is the {scored}, the mean of the last {LAST_EVALUATIONS} evaluations "
        "of each seed; over seeds the interquartile mean (the mean of all, with three seeds or fewer), in brackets its "
        f"{CONFIDENCE:.0%} bootstrap interval. An asterisk: some of the cell's trials are not done.{biased}\n"
    )


def csv_text(plan: SweepPlan, cells: Sequence[Cell]) -> str:
    """The same for programs; searched values in columns of their own."""
    score = _short(plan)
    rows = [
        {"cell": cell.name}
        | {name: value for name, value in cell.values.items()}
        | {
            "seeds": cell.num_seeds,
            "evaluated": cell.num_evaluated,
            "finished": cell.num_finished,
            "stopped": cell.num_stopped,
            f"{score}_iqm": cell.score and cell.score.mean,
            f"{score}_low": cell.score and cell.score.low,
            f"{score}_high": cell.score and cell.score.high,
            "ratings": cell.ratings,
            "scores": " ".join(f"{score:.4f}" for score in cell.scores),
        }
        for cell in cells
    ]
    return csv_table(rows)


def figure(plan: SweepPlan, cells: Sequence[Cell]) -> Figure:
    """A row for each evaluated cell: its seeds, their interquartile mean and its interval."""
    drawn = Figure(figsize=(8.0, 1.6 + 0.34 * len(cells)), dpi=120, layout="constrained")
    axes = drawn.add_subplot()
    rows = range(len(cells))
    for row, cell in zip(rows, cells, strict=True):
        axes.plot([cell.score.low, cell.score.high], [row, row], color=COLOURS[0], linewidth=3, alpha=0.35)
        axes.plot(cell.scores, [row] * len(cell.scores), "|", color="0.45", markersize=9)
        axes.plot(cell.score.mean, row, "o", color=COLOURS[0])
    axes.set_yticks(list(rows), [cell.name for cell in cells])
    axes.invert_yaxis()
    if kind_of(plan.trials[0].experiment).score(plan.trials[0].experiment) != EVAL_RETURN:
        axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"{_score_of(plan.trials[0])}: interquartile mean, {CONFIDENCE:.0%} interval; bars are seeds")
    axes.set_title(plan.name, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    return drawn


def _cell(trials: Sequence[Trial], folder: SweepFolder) -> Cell:
    records = [folder.record(trial) for trial in trials]
    runs = [
        RunData.of(folder.path / trial.name, trial.experiment)
        for trial in trials
        if (folder.path / trial.name / SETTINGS_FILE).exists()
    ]
    score = kind_of(trials[0].experiment).score(trials[0].experiment)
    evaluated = [run for run in runs if len(run.series(score))]
    scores = [last_mean(run.series(score).values) for run in evaluated]
    asked = [float(series.values[-1]) for run in evaluated if len(series := run.series(RATINGS_ASKED))]
    return Cell(
        name=trials[0].cell,
        values={name: value for name, value in trials[0].values.items() if name != SEED},
        num_seeds=len(trials),
        num_evaluated=len(evaluated),
        num_finished=sum(record.outcome == "finished" for record in records),
        num_stopped=sum(record.outcome == "stopped" for record in records),
        score=bootstrap_interval([np.array(scores)], statistic=interquartile_mean) if scores else None,
        scores=scores,
        ratings=float(np.mean(asked)) if asked else 0.0,
    )


def score_name(plan: SweepPlan) -> str:
    """What trials are compared by, as people call it."""
    experiment = plan.trials[0].experiment
    return kind_of(experiment).score_name(experiment)


def _short(plan: SweepPlan) -> str:
    """The same for programs: `success`, `env_return`, `proportion`."""
    experiment = plan.trials[0].experiment
    return kind_of(experiment).score(experiment).rpartition("/")[2]


def _score_of(trial: Trial) -> str:
    metric = kind_of(trial.experiment).score(trial.experiment)
    return "share of evaluation episodes with success" if metric == EVAL_SUCCESS else f"metric {metric}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
