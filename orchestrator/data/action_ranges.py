"""The range of each entry of a set's continuous actions, and whether a policy can express them."""

import numpy as np

from algorithms.transitions import ACTION_LIMIT
from orchestrator.data.schema import ActionSpace

MAX_TOLD = 8
"""So many entries are named in one message."""


class ActionRanges:
    """Lowest and highest value of each entry, gathered episode by episode; nothing where actions are numbers."""

    def __init__(self, actions: ActionSpace) -> None:
        self._names = actions.names if actions.kind == "continuous" else ()
        self._low = np.full(len(self._names), np.inf)
        self._high = np.full(len(self._names), -np.inf)
        self._num_actions = 0
        self._num_not_finite = 0

    def add(self, actions: np.ndarray) -> None:
        """Take in actions [T, entries]; the ranges are of those that are finite."""
        if not self._names or not len(actions):
            return
        finite = np.isfinite(actions).all(axis=1)
        self._num_actions += len(actions)
        self._num_not_finite += int((~finite).sum())
        self._low = np.minimum(self._low, actions.min(axis=0, where=finite[:, None], initial=np.inf))
        self._high = np.maximum(self._high, actions.max(axis=0, where=finite[:, None], initial=-np.inf))

    @property
    def beyond_policy(self) -> str | None:
        """Why no policy can learn these actions, or None."""
        found = []
        if self._num_not_finite:
            found.append(f"{self._num_not_finite:,} of {self._num_actions:,} actions are not finite")
        outside = np.flatnonzero((self._low < -ACTION_LIMIT) | (self._high > ACTION_LIMIT))
        # Where no action is finite, there is no range.
        outside = [index for index in outside if np.isfinite(self._low[index])]
        if outside:
            told = [f"{self._names[i]} from {self._low[i] + 0.0:.4g} to {self._high[i] + 0.0:.4g}" for i in outside]
            more = f" and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
            found.append(
                f"actions lie outside [-1, 1], which is all that a policy can do: {', '.join(told[:MAX_TOLD])}{more}"
            )
        return "; ".join(found) or None

    @property
    def constant(self) -> list[str]:
        """Entries that never change, with their value; none of a single action."""
        if self._num_actions < 2:
            return []
        same = np.flatnonzero(self._low == self._high)
        return [f"{self._names[i]} is {self._low[i]:.4g}" for i in same]
