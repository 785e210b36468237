"""What would ruin learning from a set whose rows are all in order: its actions, its successes and its rewards."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from algorithms.action_scale import ActionScale
from algorithms.trajectories import Trajectory
from orchestrator.data.action_bounds import scale_for
from orchestrator.data.check import Problem
from orchestrator.data.schema import DatasetInfo

MAX_TOLD = 8
"""So many entries are named in one message."""
FEWEST_STEPS = 20
"""What is said of steps on the whole needs so many of them."""
MUCH_BEYOND = 0.01
"""So large a share of values beyond their bounds is no fault of a sensor."""
SQUEEZED, CRUSHED = 0.1, 0.01
"""99 of 100 values within this share of the bounds. Below the second a policy's noise is as wide as all they say: it is
never narrower than 0.007 of half the bounds."""
STILL, STILL_STEPS = 0.01, 0.9
"""No entry moves by this share of its bounds, in this share of the steps."""
JUMP = 0.25
"""A step moves the mean entry by this share of its bounds; actions drawn at random, by a third."""
MOST_CHOICES = 32
"""More whole numbers than this are no choice among a few."""
DEMONSTRATED = ("babyai", "alfred")
"""Sources that hold demonstrations which are known to have succeeded."""

_BOUNDS = "`likert data bounds FOLDER` sets bounds"


class LearningCheck:
    """Gathers, episode by episode, what is to be said of a set as a whole; four bytes for each number of an action."""

    def __init__(self, info: DatasetInfo) -> None:
        self._info = info
        self._continuous = info.actions.kind == "continuous"
        self._episodes: list[np.ndarray] = []
        self._counts: Counter[int] = Counter()
        self._num_actions = self._num_not_finite = self._num_succeeded = self._num_episodes = 0
        self._rewards: dict[str, tuple[float, float, int]] = {}

    def add(self, episode: Trajectory) -> None:
        """Take in an episode; its frames are not looked at."""
        self._num_episodes += 1
        self._num_actions += len(episode)
        self._num_succeeded += bool((episode.sparse_rewards == 1).any())
        if self._continuous:
            finite = np.isfinite(episode.actions).all(axis=1)
            self._num_not_finite += int((~finite).sum())
            self._episodes.append(episode.actions[finite])
        else:
            self._counts.update(episode.actions.tolist())
        for name, values in episode.rewards.items():
            known = values[np.isfinite(values)]
            if len(known):
                low, high, number = self._rewards.get(name, (np.inf, -np.inf, 0))
                self._rewards[name] = (min(low, known.min()), max(high, known.max()), number + len(known))

    def problems(self) -> Iterator[Problem]:
        """Problems and notes, each with what was found, what it means, and what to do."""
        yield from self._of_actions()
        yield from self._of_success()
        yield from self._of_rewards()

    def _of_actions(self) -> Iterator[Problem]:
        if not self._continuous:
            if len(self._counts) == 1 and self._num_actions >= FEWEST_STEPS:
                (action,) = self._counts
                yield _wrong(f"all {self._num_actions:,} actions are {action}: there is nothing to learn")
            return
        if self._num_not_finite:
            yield _wrong(
                f"{self._num_not_finite:,} of {self._num_actions:,} actions are not finite; the set can be labelled, "
                "but not learned from: leave their episodes out"
            )
        actions = np.concatenate(self._episodes) if self._episodes else np.empty((0, len(self._info.actions.names)))
        if len(actions):
            scale, word = scale_for(self._info.actions, actions)
            if word is not None:
                yield _note(word)
            yield from self._of_entries(actions, scale)
            yield from self._of_squeezed(actions, scale)
            yield from self._of_steps(scale)
            yield from _of_choices(actions)

    def _of_entries(self, actions: np.ndarray, scale: ActionScale) -> Iterator[Problem]:
        names = self._info.actions.names
        constant = (actions == actions[0]).all(axis=0) if len(actions) > 1 else np.zeros(len(names), dtype=bool)
        values = [f"{names[i]} is {actions[0, i] + 0.0:.6g}" for i in np.flatnonzero(constant)]
        if constant.all():
            yield _wrong(f"all {len(actions):,} actions are the same ({_some(values)}): there is nothing to learn")
        elif values:
            yield _note(f"{_some(values)} in every action; a policy keeps that")
        beyond = scale.beyond(actions).sum(axis=0)
        much = beyond > MUCH_BEYOND * len(actions)
        told = [
            f"{names[i]} in {beyond[i]:,} of {len(actions):,} ({actions[:, i].min():.6g} to {actions[:, i].max():.6g}, "
            f"bounds {scale.low[i]:.6g} to {scale.high[i]:.6g})"
            for i in range(len(names))
        ]
        text = "actions lie beyond their bounds, and are learned as the nearest: "
        if much.any():
            yield _wrong(
                f"{text}{_some([told[i] for i in np.flatnonzero(much)])}; more than {MUCH_BEYOND:.0%} is no fault of a "
                f"sensor. {_BOUNDS} that hold them"
            )
        few = np.flatnonzero((beyond > 0) & ~much)
        if len(few):
            yield _note(text + _some([told[i] for i in few]))

    def _of_squeezed(self, actions: np.ndarray, scale: ActionScale) -> Iterator[Problem]:
        if len(actions) < FEWEST_STEPS or not scale.size:
            return
        names = [name for name, varies in zip(self._info.actions.names, scale.varies, strict=True) if varies]
        low, high = np.quantile(scale.scale(actions), [0.005, 0.995], axis=0, method="nearest")
        # Of an entry that hardly ever changes, such as a gripper, the rare values are what counts.
        shares = (high.astype(np.float64) - low) / (2.0 * scale.edge)
        ends = [scale.unscale(side)[scale.varies] for side in (low, high, -np.ones_like(low), np.ones_like(low))]
        for say, limit, found in (
            (_wrong, CRUSHED, (shares > 0.0) & (shares < CRUSHED)),
            (_note, SQUEEZED, (shares >= CRUSHED) & (shares < SQUEEZED)),
        ):
            told = [
                f"{names[i]} ({ends[0][i]:.6g} to {ends[1][i]:.6g} of {ends[2][i]:.6g} to {ends[3][i]:.6g})"
                for i in np.flatnonzero(found)
            ]
            if told:
                yield say(
                    f"99 of 100 values lie within {limit:.0%} of the bounds, so a few far ones squeeze all others: "
                    f"{_some(told)}. {_BOUNDS} that leave the far ones out"
                )

    def _of_steps(self, scale: ActionScale) -> Iterator[Problem]:
        moves = [
            np.abs(np.diff(scale.scale(actions), axis=0)) / (2.0 * scale.edge)
            for actions in self._episodes
            if len(actions) > 1
        ]
        steps = np.concatenate(moves) if moves else np.empty((0, scale.size))
        if len(steps) < FEWEST_STEPS or not steps.any():
            return
        largest = steps.max(axis=1)
        still = float((largest < STILL).mean())
        if still > STILL_STEPS:
            yield _note(
                f"in {still:.0%} of the steps no entry moves by {STILL:.0%} of its bounds: frames follow one another "
                "faster than anything happens, if actions are targets. Keep fewer: at the import, every=N with an N "
                f"about {_times(float(largest.mean()))} times as large"
            )
        jump = float(np.median(steps.mean(axis=1)))
        if jump > JUMP:
            yield _note(
                f"half of the steps move the mean entry by {jump:.0%} of its bounds or more: frames lie far apart, or "
                "actions are noise. If they are targets, keep more frames: at the import, every=N with a smaller N"
            )

    def _of_success(self) -> Iterator[Problem]:
        if self._num_episodes < 2 or self._info.source in DEMONSTRATED:
            return
        if self._num_succeeded == self._num_episodes:
            yield _note(
                f"all {self._num_episodes:,} episodes count as successes, as they do where a recording does not say "
                "(LeRobot's do by next.success). If some failed, say so there and import anew; `likert judge` asks a "
                "rater which"
            )
        elif not self._num_succeeded:
            yield _note(f"none of {self._num_episodes:,} episodes counts as a success: the sparse reward is always 0")

    def _of_rewards(self) -> Iterator[Problem]:
        for name, (low, high, number) in self._rewards.items():
            if low == high and number > 1:
                yield _note(
                    f"the reward of {name} is {low:.4g} for all {number:,} actions that have one: it tells none apart, "
                    "and who learns from it imitates all alike. Use another labeller"
                )


def _of_choices(actions: np.ndarray) -> Iterator[Problem]:
    if len(actions) < FEWEST_STEPS or not (actions == np.round(actions)).all():
        return
    size, values = actions.shape[1], np.unique(actions)
    if size == 1 and 1 < len(values) <= MOST_CHOICES:
        yield _note(
            f"its one entry holds whole numbers only, {values[0]:.0f} to {values[-1]:.0f}: if these are choices, store "
            "them as discrete actions; as continuous ones 1 lies between 0 and 2"
        )
    elif size > 1 and set(values.tolist()) == {0.0, 1.0} and (actions.sum(axis=1) == 1).all():
        yield _note(
            f"in every action one of its {size} entries is 1 and the others are 0: that is a choice among {size}. "
            "Store it as discrete actions"
        )


def _wrong(text: str) -> Problem:
    return Problem("all parts", text)


def _note(text: str) -> Problem:
    return Problem("all parts", text, is_note=True)


def _times(move: float) -> int:
    """How many times as far apart frames may be until a step moves some entry by a twentieth of its bounds."""
    return int(np.clip(round(0.05 / max(move, 1e-9)), 2, 100))


def _some(told: list[str]) -> str:
    return ", ".join(told[:MAX_TOLD]) + (f" and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else "")
