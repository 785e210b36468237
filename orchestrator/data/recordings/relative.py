"""Whether the entries of recorded actions look relative, as moves are, or absolute, as targets are."""

import enum
import re
from collections.abc import Sequence

import numpy as np

NAMED_RELATIVE = re.compile(r"(^|[^a-z])(d|delta|diff|rel|relative|vel|velocity)($|[^a-z])|^d(x|y|z|rx|ry|rz)$")
"""Of names in small letters, with `_`, `.` and numbers between words."""
NAMED_ABSOLUTE = re.compile(r"grip|grasp|finger|suction|vacuum|terminate|abs(olute)?($|[^a-z])")
FEW_VALUES = 3
"""So many different values at most are those of a switch."""
FOLLOWS = 0.5
"""Correlation above which an entry follows a state, or its change."""
OFF_CENTRE = 0.5
"""Standard deviations that a mean may lie off zero for values that fluctuate about it."""
CHANGES_SIGN = 0.1
"""In so many steps the sign changes, where nothing says what the state was."""
FEWEST = 10
"""Steps; of fewer nothing is said."""
MOST = 2_000
"""Steps of an episode that are looked at."""


class Looks(enum.Enum):
    """What an entry looks like."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    UNKNOWN = "unknown"


class Evidence:
    """What was seen of the actions of some episodes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._actions: list[np.ndarray] = []
        self._states: list[np.ndarray | None] = []
        self.reason = "by their names"
        """Why `looks` says so of the last entry that it took for relative."""

    @property
    def num_episodes(self) -> int:
        """Episodes that were seen."""
        return len(self._actions)

    def add(self, actions: np.ndarray, states: np.ndarray | None) -> None:
        """Take in actions [T, entries] of an episode, and the states [T or more, any] that they began from, if any."""
        self._actions.append(actions[:MOST].astype(np.float64))
        fits = states is not None and len(states) >= len(actions)
        self._states.append(states[: len(actions)][:MOST].astype(np.float64) if fits and states is not None else None)

    def looks(self) -> list[Looks]:
        """What each entry looks like."""
        return [self._looks(index, name.lower()) for index, name in enumerate(self._names)]

    def _looks(self, index: int, name: str) -> Looks:
        values = np.concatenate([actions[:, index] for actions in self._actions])
        if NAMED_ABSOLUTE.search(name):
            return Looks.ABSOLUTE
        if NAMED_RELATIVE.search(name):
            self.reason = "by their names"
            return Looks.RELATIVE
        if len(values) < FEWEST or np.ptp(values) == 0:
            return Looks.UNKNOWN
        if len(np.unique(values)) <= FEW_VALUES:
            return Looks.ABSOLUTE
        if abs(values.mean()) > OFF_CENTRE * values.std():
            return Looks.UNKNOWN
        if any(states is not None for states in self._states):
            if self._follows(index, changes=True) <= max(FOLLOWS, self._follows(index, changes=False)):
                return Looks.UNKNOWN
            self.reason = "they go with the state's changes more than with the state"
            return Looks.RELATIVE
        signs = [np.sign(actions[:, index]) for actions in self._actions]
        changed = sum(int((one[1:] * one[:-1] < 0).sum()) for one in signs)
        if changed < CHANGES_SIGN * len(values):
            return Looks.UNKNOWN
        self.reason = "they fluctuate about zero"
        return Looks.RELATIVE

    def _follows(self, index: int, changes: bool) -> float:
        """The highest correlation of an entry with an entry of the state that it led to, or with that one's change."""
        pairs = [
            (actions[:-1, index], np.diff(states, axis=0) if changes else states[1:])
            for actions, states in zip(self._actions, self._states, strict=True)
            if states is not None and states.shape[1] == self._width
        ]
        ours, theirs = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
        ours = ours - ours.mean()
        theirs = theirs - theirs.mean(axis=0)
        scale = np.sqrt((ours**2).sum() * (theirs**2).sum(axis=0))
        moving = scale > 0
        return float(np.abs((ours @ theirs)[moving] / scale[moving]).max(initial=0.0))

    @property
    def _width(self) -> int:
        return next(states.shape[1] for states in self._states if states is not None)
