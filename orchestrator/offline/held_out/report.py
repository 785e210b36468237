"""The table and the figure of runs that held-out episodes judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.errors import SettingsError
from orchestrator.offline.held_out.figures import curve_figure, methods_figure
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.reports.figures import save_figure
from orchestrator.reports.intervals import CONFIDENCE, LAST_EVALUATIONS, Interval, bootstrap_interval, last_mean
from orchestrator.reports.tables import csv_table, grouped, markdown_table
from orchestrator.runs.layout import FIGURES_FOLDER, held_out_metric
from orchestrator.runs.reading import RunData
from orchestrator.storage.writing import write_text

COLUMNS = {
    "action_error": "action error, of range",
    "balanced_accuracy": "right actions, balanced",
    "accuracy": "right actions",
    "object_accuracy": "right objects",
    "log_prob": "log-likelihood",
    "value_start_auroc": "V at start tells success",
    "value_end_auroc": "V at end tells success",
    "value_order": "V rises with time",
    "worth_sparse": "worth, sparse",
    "return_sparse": "recorded return, sparse",
    "worth": "worth",
    "return": "recorded return",
}
"""Metrics that become columns, if a run has them, and their heads."""
CONTROLS = {"untrained": "untrained policy", "constant": "always the same action"}
ONE = 0
"""Values of a run that are one estimate, and no mean over evaluations."""


@dataclass(frozen=True)
class Method:
    """The runs of one experiment, which differ in their seed only, or a control of all runs."""

    name: str
    labels: str
    values: dict[str, np.ndarray]
    """By metric, a value for each seed that has it."""
    num_seeds: int
    complete: bool = True

    def interval(self, metric: str) -> Interval | None:
        """Mean over seeds; None where no seed has the metric."""
        return bootstrap_interval([self.values[metric]]) if len(self.values.get(metric, ())) else None


def write_held_out_report(runs: Sequence[RunData], out: Path) -> list[Path]:
    """Write `held_out.md`, `held_out.csv` and `held_out.png` into `out`, and each run's curve into its folder.

    Raises SettingsError if no run has been evaluated, or some are judged by other episodes.
    """
    score = held_out_metric("agreement")
    evaluated = [run for run in runs if len(run.series(score))]
    if not evaluated:
        raise SettingsError(
            "none of these runs without a simulator has been evaluated yet; let one reach evaluation.interval_updates"
        )
    methods, controls = methods_of(evaluated), controls_of(evaluated)
    write_text(out / "held_out.md", markdown(methods, controls))
    write_text(out / "held_out.csv", table_csv([*methods, *controls]))
    save_figure(methods_figure({one.name: one.interval for one in methods}, {c.name: c.interval for c in controls}),
                out / "held_out.png")  # fmt: skip
    paths = [out / name for name in ("held_out.md", "held_out.csv", "held_out.png")]
    for run in evaluated:
        if isinstance(run.folder, Path):
            paths.append(run.folder / FIGURES_FOLDER / "held_out.png")
            save_figure(curve_figure(run), paths[-1])
    return paths


def methods_of(runs: Sequence[RunData]) -> list[Method]:
    """Runs by experiment, in the order given. Raises SettingsError if they are judged by other episodes."""
    judged = {(str(run.experiment.data.path), run.experiment.held_out.share, run.experiment.held_out.seed)
              for run in runs}  # fmt: skip
    if len(judged) > 1:
        told = "; ".join(f"{path}, share {share:g}, seed {seed}" for path, share, seed in sorted(judged))
        raise SettingsError(
            "these runs are judged by different episodes: data.path, evaluation.share or evaluation.seed differ "
            f"({told}); compare runs of one data set and one split"
        )
    return [_method(name, group) for name, group in grouped(runs).items()]


def controls_of(runs: Sequence[RunData]) -> list[Method]:
    """What no policy would score, and what one scores that has learned nothing."""
    found = []
    for control, name in CONTROLS.items():
        shown = (*COLUMNS, "agreement")
        values = {metric: _of_runs(runs, held_out_metric(metric, control), ONE) for metric in shown}
        number = max(len(one) for one in values.values())
        if number:
            found.append(Method(name, "", values, number))
    return found


def markdown(methods: Sequence[Method], controls: Sequence[Method]) -> str:
    """The table for people, with what its columns mean."""
    shown = [metric for metric in COLUMNS if any(one.interval(metric) for one in methods)]
    rows = []
    for one in (*methods, *controls):
        cells = [str(interval) if (interval := one.interval(metric)) else "" for metric in shown]
        rows.append([one.name + ("" if one.complete else "*"), one.labels, str(one.num_seeds), *cells])
    table = markdown_table(["method", "labels", "seeds", *(COLUMNS[metric] for metric in shown)], rows)
    return (
        f"{table}\n\nOf episodes that were held out. Actions and log-likelihood: the likeliest actions beside the "
        "recorded ones, in episodes that succeeded; the mean of the last "
        f"{LAST_EVALUATIONS} evaluations of each run (fewer if there are fewer). V at start or end tells success: the "
        "chance that it is higher in an episode that succeeded than in one that failed (AUROC; 0.5 is chance). V rises "
        "with time: Spearman's correlation along episodes that succeeded. Worth: the discounted return of the policy's "
        "likeliest actions by fitted-Q evaluation, from the first states of held-out episodes, under the rewards "
        "learned from and under the sparse ones; worth and recorded return of one method compare, worth under the "
        "rewards of different labellers does not. Imitating recorded actions best is not acting best: where "
        "demonstrations are poor, a policy that departs from them may be the better one. In brackets the "
        f"{CONFIDENCE:.0%} interval of a bootstrap over seeds: with one seed it is a point, and says nothing. An "
        "asterisk marks runs that have not come to their end.\n"
    )


def table_csv(methods: Sequence[Method]) -> str:
    """One line for each method or control and metric, for programs."""
    rows = []
    for one in methods:
        for metric in sorted(one.values):
            if (interval := one.interval(metric)) is not None:
                rows.append(
                    {
                        "method": one.name,
                        "labels": one.labels,
                        "metric": metric,
                        "seeds": len(one.values[metric]),
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                    }
                )
    return csv_table(rows)


def labels_of(experiment: OfflineExperiment) -> str:
    """What is learned from, and every setting of it that is not the usual one: `rg_vlm, shift -1`."""
    if experiment.policy.actor_loss == "cloning":
        return "none: behaviour cloning"
    reward = experiment.data.reward
    changed = reward.model_dump(exclude_defaults=True, exclude={"labeller"})
    told = (f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in changed.items())
    return ", ".join([reward.labeller, *told])


def _method(name: str, runs: Sequence[RunData]) -> Method:
    runs = sorted(runs, key=lambda run: run.experiment.seed)
    settings: OfflineExperiment = runs[0].experiment
    prefix = held_out_metric("")
    names = {name.removeprefix(prefix) for run in runs for row in run.rows for name in row if name.startswith(prefix)}
    own = [one for one in names if not one.startswith(tuple(f"{control}_" for control in CONTROLS))]
    fitted = ("worth", "return")
    return Method(
        name=name,
        labels=labels_of(settings),
        values={
            one: _of_runs(runs, held_out_metric(one), ONE if one.startswith(fitted) else LAST_EVALUATIONS)
            for one in own
        },
        num_seeds=len(runs),
        complete=all(run.rows[-1]["env_step"] >= run.experiment.total_updates for run in runs),
    )


def _of_runs(runs: Sequence[RunData], metric: str, num_last: int) -> np.ndarray:
    found = [series.values for run in runs if len(series := run.series(metric))]
    return np.array([values[-1] if num_last == ONE else last_mean(values, num_last) for values in found])
