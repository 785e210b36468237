"""What several runs pay along the same trajectories that succeed, beside true progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.settings import Settings
from orchestrator.errors import SettingsError
from orchestrator.online.consistency.measures import order
from orchestrator.online.consistency.trajectories import (
    Trajectory,
    around_its_start,
    best_acting,
    draw_trajectories,
    has_expert,
)
from orchestrator.online.rewards.afterwards import paying
from orchestrator.reports.intervals import Interval, bootstrap_interval
from orchestrator.runs.kind import Along
from orchestrator.runs.reading import RunData

FRAMES = 40
"""Of each trajectory."""
NUM_BINS = 20
"""Of true progress, in which rewards are averaged."""


@dataclass(frozen=True)
class Paid:
    """What one run's source pays along trajectories."""

    run: RunData
    trajectories: Sequence[Trajectory]
    who: str
    """Who acted in them, in words."""
    rewards: list[np.ndarray]
    """Of each trajectory [F], as the source gives them."""

    @property
    def shows_progress(self) -> bool:
        """Whether true progress is known; else time stands for it."""
        return all(one.progress is not None for one in self.trajectories)

    @property
    def truths(self) -> list[np.ndarray]:
        """Of each trajectory [F], from 0 to 1: true progress, or where that is unknown the share of its time."""
        if self.shows_progress:
            return [one.progress for one in self.trajectories]
        return [one.steps / max(1, one.steps[-1]) for one in self.trajectories]

    @property
    def normalised(self) -> list[np.ndarray]:
        """The rewards, so that the lowest and the highest along all trajectories are 0 and 1; 0 if all are equal."""
        lowest, highest = min(one.min() for one in self.rewards), max(one.max() for one in self.rewards)
        width = float(highest - lowest)
        return [(one - lowest) / width if width else np.zeros(len(one)) for one in self.rewards]

    @property
    def orders(self) -> np.ndarray:
        """Kendall's tau-b between reward and truth, of each trajectory; 0 where the reward does not vary."""
        return np.array([order(rewards, truth) for rewards, truth in zip(self.rewards, self.truths, strict=True)])


@dataclass(frozen=True)
class Curve:
    """Normalised rewards by truth, over the trajectories of runs that differ in their seed only."""

    ends: np.ndarray
    """[B + 1] float64: bounds of the bins of truth, from 0 to 1."""
    means: np.ndarray
    """[B] float64: over trajectories of each one's mean in the bin; NaN where none has a frame."""
    deviations: np.ndarray
    """[B] float64: standard deviation of these."""
    numbers: np.ndarray
    """[B] int64: trajectories that have a frame there."""


def rewards_along(
    runs: Sequence[RunData], wanted: Along, tell: Callable[[int], None]
) -> tuple[list[Paid], dict[str, str]]:
    """Rewards of each run that can say what it pays, and why the others cannot, by the names of their folders.

    Runs of one task share their trajectories. `tell(number)` hears how many runs are done. Raises SettingsError if
    nobody can act, or comes to success too rarely.
    """
    by_task: dict[str, list[RunData]] = {}
    for run in runs:
        by_task.setdefault(_identity(run.experiment.task), []).append(run)
    paid, left_out, done = [], {}, 0
    for own in by_task.values():
        sources = {}
        for run in own:
            try:
                sources[run.folder] = paying(run)
            except SettingsError as error:
                left_out[run.folder.name] = str(error)
        trajectories, who = _drawn(own, wanted) if sources else ([], "")
        for run in own:
            if run.folder in sources:
                rewards = [np.asarray(sources[run.folder](one), dtype=np.float64) for one in trajectories]
                paid.append(Paid(run, trajectories, who, rewards))
            done += 1
            tell(done)
    return paid, left_out


def curve_of(paid: Sequence[Paid]) -> Curve:
    """The curve of runs of one task, which differ in their seed only."""
    ends = np.linspace(0.0, 1.0, NUM_BINS + 1)
    means = []
    for one in paid:
        for rewards, truth in zip(one.normalised, one.truths, strict=True):
            bins = np.clip((truth * NUM_BINS).astype(int), 0, NUM_BINS - 1)
            counts = np.bincount(bins, minlength=NUM_BINS)
            sums = np.bincount(bins, weights=rewards, minlength=NUM_BINS)
            means.append(np.divide(sums, counts, out=np.full(NUM_BINS, np.nan), where=counts > 0))
    stacked = np.array(means)
    numbers = np.isfinite(stacked).sum(axis=0)
    held = numbers > 0
    mean, deviation = np.full(NUM_BINS, np.nan), np.full(NUM_BINS, np.nan)
    mean[held], deviation[held] = np.nanmean(stacked[:, held], axis=0), np.nanstd(stacked[:, held], axis=0)
    return Curve(ends, mean, deviation, numbers)


def order_of(paid: Sequence[Paid]) -> Interval:
    """Mean tau: of one run with its interval over trajectories, of several over the runs' means."""
    return bootstrap_interval([paid[0].orders if len(paid) == 1 else np.array([one.orders.mean() for one in paid])])


def _identity(task: Settings) -> str:
    return task.model_dump_json()


def _drawn(runs: Sequence[RunData], wanted: Along) -> tuple[list[Trajectory], str]:
    """Trajectories of runs of one task, and who acted."""
    task = around_its_start(runs[0].experiment.task)
    if wanted.who == "expert" and has_expert(task):
        return draw_trajectories(task, wanted.trajectories, FRAMES, None, None), "the scripted expert"
    best, weights, reached = None, None, (-np.inf, -np.inf)
    for run in runs:
        try:
            own, about = best_acting(run)
        except SettingsError:
            continue
        score = (about.get("success", -np.inf), about.get("env_return", -np.inf))
        if best is None or score > reached:
            best, weights, reached = run, own, score
    if best is None:
        raise SettingsError(
            f"--along: none of the runs of {task.name} has a policy yet that could act; one is kept with the first "
            "evaluation"
        )
    pixels = best.experiment.policy.pixel_shape
    drawn = draw_trajectories(task, wanted.trajectories, FRAMES, weights, pixels)
    return drawn, f"the best policy of {best.folder.name}"
