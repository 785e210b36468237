"""The table and the figure of online runs: groups of runs that differ in their seed only, and their controls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import SettingsError
from orchestrator.online.figures import CONTROL_STYLES, COUNTS, comparison_figure, draw_run_figures
from orchestrator.online.pictures.rating_shares import write_rating_shares
from orchestrator.reports.figures import save_figure
from orchestrator.reports.intervals import (
    CONFIDENCE,
    LAST_EVALUATIONS,
    Interval,
    bootstrap_interval,
    interval_columns,
    last_mean,
)
from orchestrator.reports.tables import csv_table, grouped, markdown_table
from orchestrator.runs.layout import (
    CANARIES_CHANGED,
    CANARIES_WRONG,
    CONTROLS,
    EVAL_ANYWHERE,
    EVAL_DONE,
    EVAL_DONE_LAST_STEP,
    EVAL_RETURN,
    EVAL_SUCCESS,
    EVAL_SUCCESS_LAST_STEP,
    RATINGS_ASKED,
)
from orchestrator.runs.reading import RunData, Series
from orchestrator.storage.writing import write_text

if TYPE_CHECKING:
    from orchestrator.reports.agreement.comparisons import TaskAgreement

ABOUT_RETURN = " Return is the sum of the environment's own rewards in an episode, shown where success is unknown."
DONE_HEADER = ("done at any step", "done at the last step")
ABOUT_DONE = (
    " Success is the simulator's own flag, which some tasks take back while the thing is done; done is the task's last "
    "true stage, left empty where it is not known of every run."
)


@dataclass(frozen=True)
class Line:
    """A line of the table. A success is a share of evaluation episodes."""

    group: str
    task: str
    num_seeds: int
    success: Interval | None
    """Success by the task's rule, as a rule at any step, over seeds; for a group of runs the mean of each run's last
    evaluations. None where success is unknown."""
    worst_seed: float
    """The lowest of the scores behind `success`; where that is unknown, behind `env_return`."""
    success_last_step: Interval | None
    """The same for success at the last step."""
    env_return: Interval | None = None
    """The same of the world's own return, where success is unknown."""
    counts: str = "at any step"
    """When a success counts."""
    done: Interval | None = None
    """The same for the thing being done at any step; None unless it is known of every run."""
    done_last_step: Interval | None = None
    """The same for the thing being done at the last step."""
    anywhere: Interval | None = None
    """The same for success from starts around the task's fixed one; None unless every run was judged so."""
    ratings: float | None = None
    """Questions asked, mean over seeds."""
    env_steps: int | None = None
    """Steps of the run that came least far."""
    privileged: bool = False
    """The reward was the world's own, or one written by hand: what outside of a comparison nobody has."""
    complete: bool = True
    """Every run has come to its end."""


def write_online_report(runs: Sequence[RunData], out: Path) -> list[Path]:
    """Draw each run's figures, and write `results.md`, `results.csv` and `success.png` into `out`, and if anything was
    rated `rating_shares.png` and `.csv`; if people rated, too, `agreement.md`, `.csv` and `.png`. Return the paths.

    Raises SettingsError if no run has been evaluated.
    """
    paths = [path for run in runs for path in draw_run_figures(run)]
    evaluated = [run for run in runs if len(_evaluations(run))]
    if not evaluated:
        raise SettingsError("none of these runs has been evaluated yet; let one reach evaluation.interval_env_steps")
    groups = grouped(evaluated)
    lines = [result_line(name, group) for name, group in groups.items()] + control_lines(evaluated)
    write_text(out / "results.md", markdown(lines) + drifts(evaluated))
    write_text(out / "results.csv", csv_table([_record(line, lines) for line in lines]))
    save_figure(comparison_figure(groups), out / "success.png")
    paths += [out / name for name in ("results.md", "results.csv", "success.png")]
    return paths + write_rating_shares(groups, out) + write_people(evaluated, out)


def write_people(runs: Sequence[RunData], out: Path) -> list[Path]:
    """How far people agree with one another and with the raters of these runs, if people have rated in their stores:
    `agreement.md`, `.csv` and `.png` in `out`; return their paths.

    A store may hold more than these runs asked: what is told is of their tasks and scales.
    """
    stores = {run.experiment.ratings_folder for run in runs if run.experiment.asks_rater}
    rated = [store for store in sorted(stores, key=str) if (store / "people").is_dir()]
    if not rated:
        return []
    # Here, since it brings scikit-learn, and most stores have nobody's ratings.
    from orchestrator.reports.agreement.report import agreement_in, write_agreement

    tasks = [
        task
        for store in rated
        for task in agreement_in(store)
        if any(run.experiment.ratings_folder == store and _asks(run, task) for run in runs)
    ]
    return write_agreement(tasks, out) if tasks else []


def _asks(run: RunData, task: "TaskAgreement") -> bool:
    """Whether a run has asked this, or finds its answers in the store."""
    words = run.experiment.scale.words[: len(task.words)]
    return words == task.words and (run.folder.name in task.runs or run.experiment.task.instruction == task.instruction)


def result_line(name: str, runs: Sequence[RunData]) -> Line:
    """What the runs of a group reached."""
    asked = [float(series.values[-1]) for run in runs if len(series := run.series(RATINGS_ASKED))]
    reached = [max(row["env_step"] for row in run.rows) for run in runs]
    return _line(
        name,
        runs,
        lambda run, metric: _last_mean(run, metric),
        ratings=float(np.mean(asked)) if asked else None,
        env_steps=min(reached),
        privileged=any(run.experiment.is_told_truth for run in runs),
        complete=all(steps >= run.experiment.total_env_steps for run, steps in zip(runs, reached, strict=True)),
    )


def control_lines(runs: Sequence[RunData]) -> list[Line]:
    """For each task and control one line, over the runs that evaluated it."""
    lines = []
    for task in dict.fromkeys(run.experiment.task.name for run in runs):
        for control in CONTROLS:
            # Runs with one seed evaluate the same random and untrained policies: each seed counts once.
            by_seed = {
                run.experiment.seed: run
                for run in runs
                if run.experiment.task.name == task and run.control(control, _score(run)) is not None
            }
            if by_seed:
                label, _ = CONTROL_STYLES[control]
                # The variable is bound now, since the loop goes on.
                lines.append(
                    _line(label, list(by_seed.values()), lambda run, metric, c=control: run.control(c, metric))
                )
    return lines


def markdown(lines: Sequence[Line]) -> str:
    """The table for people, with what its columns mean."""
    columns = _columns(lines)
    table = markdown_table(list(columns), [[text(line) for text in columns.values()] for line in lines])
    known = any(line.success for line in lines)
    what = "Success is the share of evaluation episodes," if known else "A score is"
    return (
        f"{table}\n\n{what} the mean of the last {LAST_EVALUATIONS} evaluations of each run; a control is evaluated "
        f"once. In brackets the {CONFIDENCE:.0%} interval of a stratified bootstrap over seeds. An "
        "asterisk marks runs that have not come to their end."
        f"{ABOUT_DONE if _tells_done(lines) else ''}{ABOUT_RETURN if any(line.env_return for line in lines) else ''}\n"
    )


def drifts(runs: Sequence[RunData]) -> str:
    """Of which runs the rater answered canaries otherwise than at first, or pictures of known levels wrong, by more
    than was tolerated; empty if of none."""
    text = ""
    for metric, tolerated, said, what in (
        (CANARIES_CHANGED, "tolerated_share", "The rater has drifted", "canaries"),
        (CANARIES_WRONG, "tolerated_wrong_share", "The rater is wrong too often", "pictures of known levels"),
    ):
        told = []
        for run in runs:
            share = run.series(metric)
            if len(share) and share.values.max() > getattr(run.experiment.feedback.canaries, tolerated):
                worst = int(share.values.argmax())
                told.append(
                    f"of the {what} of {run.folder.name}, {share.values[worst]:.0%} were answered otherwise at "
                    f"{share.env_steps[worst]:,} steps"
                )
        text += f"\n{said}: {'; '.join(told)}.\n" if told else ""
    return text


def _columns(lines: Sequence[Line]) -> dict[str, Callable[[Line], str]]:
    """What a table of these lines shows, by header."""
    columns: dict[str, Callable[[Line], str]] = {
        "experiment": lambda line: f"{line.group}{' (privileged)' * line.privileged}{'' if line.complete else '*'}",
        "task": lambda line: line.task,
        "seeds": lambda line: str(line.num_seeds),
    }
    if any(line.success for line in lines):
        counts = " or ".join(dict.fromkeys(line.counts for line in lines if line.success))
        columns[f"success {counts}"] = lambda line: str(line.success or "")
    if any(line.env_return for line in lines):
        columns["return"] = lambda line: str(line.env_return or "")
    columns["worst seed"] = lambda line: f"{line.worst_seed:.2f}"
    if any(line.success for line in lines):
        columns["success at the last step"] = lambda line: str(line.success_last_step or "")
    if _tells_done(lines):
        any_step, last_step = DONE_HEADER
        columns[any_step] = lambda line: str(line.done or "")
        columns[last_step] = lambda line: str(line.done_last_step or "")
    if any(line.anywhere for line in lines):
        columns["success from starts anywhere"] = lambda line: str(line.anywhere or "")
    columns["ratings"] = lambda line: "" if line.ratings is None else f"{line.ratings:,.0f}"
    columns["env steps"] = lambda line: "" if line.env_steps is None else f"{line.env_steps:,}"
    return columns


Score = Callable[[RunData, str], float | None]


def _line(group: str, runs: Sequence[RunData], score: Score, **rest: object) -> Line:
    tasks = list(dict.fromkeys(run.experiment.task.name for run in runs))

    def scores(metric: str) -> list[np.ndarray]:
        found = [
            np.array(
                [
                    value
                    for run in runs
                    if run.experiment.task.name == task and (value := score(run, metric)) is not None
                ]
            )
            for task in tasks
        ]
        return [values for values in found if len(values)]

    def of_every_run(metric: str) -> Interval | None:
        values = [score(run, metric) for run in runs]
        return None if None in values else bootstrap_interval(scores(metric))

    counted, last_step = scores(EVAL_SUCCESS), scores(EVAL_SUCCESS_LAST_STEP)
    # Returns of worlds of which some know success say nothing beside it.
    returns = [] if counted else scores(EVAL_RETURN)
    return Line(
        group=group,
        task=", ".join(tasks),
        num_seeds=len({run.experiment.seed for run in runs}),
        success=bootstrap_interval(counted) if counted else None,
        worst_seed=float(min(values.min() for values in counted or returns)),
        success_last_step=bootstrap_interval(last_step) if last_step else None,
        env_return=bootstrap_interval(returns) if returns else None,
        counts=" or ".join(dict.fromkeys(COUNTS[run.experiment.task.success_counts] for run in runs)),
        done=of_every_run(EVAL_DONE),
        done_last_step=of_every_run(EVAL_DONE_LAST_STEP),
        anywhere=of_every_run(EVAL_ANYWHERE),
        **rest,
    )


def _last_mean(run: RunData, metric: str) -> float | None:
    """The mean over a run's last evaluations; None unless the metric stands in all of them."""
    series, evaluations = run.series(metric), _evaluations(run).env_steps
    if not len(series) or not np.isin(evaluations[-LAST_EVALUATIONS:], series.env_steps).all():
        return None
    return last_mean(series.values)


def _score(run: RunData) -> str:
    return EVAL_SUCCESS if run.experiment.task.knows_success else EVAL_RETURN


def _evaluations(run: RunData) -> Series:
    return run.series(_score(run))


def _tells_done(lines: Sequence[Line]) -> bool:
    return any(line.done is not None for line in lines)


def _record(line: Line, lines: Sequence[Line]) -> dict[str, object]:
    """A row of the table of `lines`, which all have the same columns."""
    done = {"done": line.done, "done_last_step": line.done_last_step} if _tells_done(lines) else {}
    returns = {"env_return": line.env_return} if any(other.env_return for other in lines) else {}
    anywhere = {"anywhere_success": line.anywhere} if any(other.anywhere for other in lines) else {}
    intervals = {"success_last_step": line.success_last_step} | done | anywhere | returns
    return {
        "experiment": line.group,
        "task": line.task,
        "seeds": line.num_seeds,
        **interval_columns({"success": line.success}),
        "worst_seed": line.worst_seed,
        **interval_columns(intervals),
        "ratings": line.ratings,
        "env_steps": line.env_steps,
        **({"privileged": line.privileged} if any(other.privileged for other in lines) else {}),
        "complete": line.complete,
    }
