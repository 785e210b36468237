"""Tables and figures of rewards along trajectories: of each run, and of all beside one another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.errors import SettingsError
from orchestrator.online.pictures.along import Paid, curve_of, order_of, rewards_along
from orchestrator.reports.figures import COLOURS, dress, legend_outside, one_axes, save_figure
from orchestrator.reports.intervals import CONFIDENCE, Interval, interval_columns
from orchestrator.reports.tables import csv_table, markdown_table
from orchestrator.runs.kind import Along
from orchestrator.runs.layout import FIGURES_FOLDER
from orchestrator.runs.reading import RunData
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.storage.writing import write_text

NAME = "reward_along"
ORDERS = "rank_correlation"
_STYLES = ("-", "--", "-.", ":")
_PROGRESS = "true progress (0 at the start, 1 when the task is done)"
_TIME = "share of the trajectory's time"

Groups = dict[tuple[str, str], list[Paid]]
"""By task, and experiment, whose runs differ in their seed only."""


def write_along(runs: Sequence[RunData], wanted: Along, out: Path) -> list[Path]:
    """Draw what each run pays along trajectories into its folder, and all beside one another into `out`; with the
    numbers drawn, and how far rewards rise with progress. Returns the paths.

    Raises SettingsError if no run can say what it pays, or nobody can act.
    """
    with WorkProgress("rewards along trajectories", len(runs), "runs") as progress:
        paid, left_out = rewards_along(runs, wanted, progress.update)
        for name, why in left_out.items():
            progress.note(f"{name} is left out: {why}")
    if not paid:
        raise SettingsError("--along: none of these runs says what it pays along trajectories: " + _first(left_out))
    groups: Groups = {}
    for one in paid:
        groups.setdefault((one.run.experiment.task.name, one.run.group), []).append(one)
    paths = [path for one in paid for path in _write_own(one)]
    save_figure(along_figure(groups), out / f"{NAME}.png")
    write_text(out / f"{NAME}.csv", csv_table(_curve_rows(groups)))
    write_text(out / f"{ORDERS}.md", _page(groups, left_out))
    write_text(out / f"{ORDERS}.csv", csv_table(_order_rows(groups)))
    return paths + [out / name for name in (f"{NAME}.png", f"{NAME}.csv", f"{ORDERS}.md", f"{ORDERS}.csv")]


def own_figure(one: Paid) -> Figure:
    """One run's rewards as they are: a line for each trajectory."""
    figure, axes = one_axes(f"{_title(one)}: reward along {len(one.rewards)} trajectories of {one.who}")
    for place, (truth, rewards) in enumerate(zip(one.truths, one.rewards, strict=True)):
        axes.plot(truth, rewards, "-o", color=COLOURS[0], alpha=0.35, linewidth=1, markersize=2.5,
                  label="a trajectory" if not place else None)  # fmt: skip
    axes.plot([], [], " ", label=f"Kendall's tau {order_of([one])}")
    axes.set_xlabel(_x_label([one]))
    axes.set_ylabel("reward, in the run's own scale")
    axes.legend(frameon=False, loc="best")
    return figure


def along_figure(groups: Groups) -> Figure:
    """A panel for each task: normalised rewards of each experiment by true progress."""
    tasks = list(dict.fromkeys(task for task, _ in groups))
    figure = Figure(figsize=(9.5, 4.0 * len(tasks)), dpi=120, layout="constrained")
    for task, axes in zip(tasks, figure.subplots(len(tasks), squeeze=False)[:, 0], strict=True):
        _panel(axes, task, {group: paid for (of_task, group), paid in groups.items() if of_task == task})
    return figure


def _panel(axes: Axes, task: str, groups: dict[str, list[Paid]]) -> None:
    together = [one for paid in groups.values() for one in paid]
    acted = ", ".join(dict.fromkeys(one.who for one in together))
    dress(axes, f"{task}: reward along trajectories of {acted}")
    if all(one.shows_progress for one in together):
        axes.plot([0, 1], [0, 1], ":", color="0.6", linewidth=1, label="true progress itself")
    for index, (group, paid) in enumerate(groups.items()):
        curve, colour = curve_of(paid), COLOURS[index % len(COLOURS)]
        held = np.flatnonzero(curve.numbers)
        centres = (curve.ends[held] + curve.ends[held + 1]) / 2
        mean, deviation = curve.means[held], curve.deviations[held]
        style = _STYLES[index // len(COLOURS) % len(_STYLES)]
        seeds = "" if len(paid) == 1 else f", {len(paid)} seeds"
        label = f"{_called(group, paid)}{seeds}: tau {order_of(paid).mean:.2f}"
        axes.plot(centres, mean, style, marker="o", color=colour, markersize=4, label=label)
        low, high = (mean - deviation).clip(0.0), (mean + deviation).clip(max=1.0)
        axes.fill_between(centres, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xlabel(_x_label(together))
    axes.set_ylabel("reward, lowest to highest as 0 to 1")
    axes.set_ylim(-0.03, 1.03)
    legend_outside(axes)


def _write_own(one: Paid) -> list[Path]:
    folder = one.run.folder / FIGURES_FOLDER
    save_figure(own_figure(one), folder / f"{NAME}.png")
    rows = [
        {
            "trajectory": number + 1,
            "agent_step": int(step),
            "progress" if one.shows_progress else "share_of_time": float(true),
            "reward": float(reward),
        }
        for number, (trajectory, truth, rewards) in enumerate(
            zip(one.trajectories, one.truths, one.rewards, strict=True)
        )
        for step, true, reward in zip(trajectory.steps, truth, rewards, strict=True)
    ]
    write_text(folder / f"{NAME}.csv", csv_table(rows))
    return [folder / f"{NAME}.png", folder / f"{NAME}.csv"]


def _curve_rows(groups: Groups) -> list[dict[str, object]]:
    rows = []
    for (task, group), paid in groups.items():
        curve = curve_of(paid)
        rows += [
            {
                "task": task,
                "experiment": group,
                "from_progress": float(curve.ends[place]),
                "to_progress": float(curve.ends[place + 1]),
                "reward": float(curve.means[place]),
                "deviation": float(curve.deviations[place]),
                "trajectories": int(curve.numbers[place]),
            }
            for place in np.flatnonzero(curve.numbers)
        ]
    return rows


def _lines(groups: Groups) -> list[tuple[str, str, list[Paid], Interval]]:
    """Task, experiment, runs and tau: of each experiment all its runs, and if they are several each alone, too."""
    lines = []
    for (task, group), paid in groups.items():
        for runs in [paid, *([one] for one in paid if len(paid) > 1)]:
            lines.append((task, group, runs, order_of(runs)))
    return lines


def _page(groups: Groups, left_out: dict[str, str]) -> str:
    header = ["task", "experiment", "reward from", "seed", "trajectories of", "Kendall's tau with true progress"]
    rows = [
        [
            task,
            _called(group, runs),
            runs[0].run.experiment.reward.source,
            ", ".join(str(one.run.experiment.seed) for one in runs),
            f"{runs[0].who} ({len(runs[0].rewards)})",
            str(tau),
        ]
        for task, group, runs, tau in _lines(groups)
    ]
    unknown = sorted({task for (task, _), paid in groups.items() if not paid[0].shows_progress})
    notes = [
        "Tau is Kendall's tau-b between the reward of a frame and the true progress that it shows, the mean over "
        "trajectories: 1 if of any two frames the one that is further on is paid more, 0 too where all are paid alike. "
        f"In brackets intervals of {CONFIDENCE:.0%}, a bootstrap over the trajectories of one run, or over the means "
        "of several runs. Every run of a task is asked about the same frames."
    ]
    if unknown:
        notes.append(f"Of {', '.join(unknown)} true progress is not known, and time stands for it.")
    notes += [f"{name} is left out: {why}." for name, why in left_out.items()]
    return "\n\n".join([markdown_table(header, rows), *notes]) + "\n"


def _order_rows(groups: Groups) -> list[dict[str, object]]:
    return [
        {
            "task": task,
            "experiment": group,
            "source": runs[0].run.experiment.reward.source,
            "seeds": " ".join(str(one.run.experiment.seed) for one in runs),
            "acted": runs[0].who,
            "trajectories": len(runs[0].rewards),
            "against": "progress" if runs[0].shows_progress else "time",
            **interval_columns({"tau": tau}),
        }
        for task, group, runs, tau in _lines(groups)
    ]


def _called(group: str, paid: Sequence[Paid]) -> str:
    """An experiment's name, with a mark where the reward is what outside of a comparison nobody has."""
    return group + " (privileged)" * any(one.run.experiment.is_told_truth for one in paid)


def _x_label(paid: Sequence[Paid]) -> str:
    return _PROGRESS if all(one.shows_progress for one in paid) else _TIME


def _title(one: Paid) -> str:
    return f"{one.run.experiment.task.name}, {one.run.folder.name}"


def _first(left_out: dict[str, str]) -> str:
    return next((f"{name}: {why}" for name, why in left_out.items()), "there is none")
