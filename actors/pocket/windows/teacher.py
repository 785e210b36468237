"""What the pocket rater should say of an action: the likeliest effect, given what can be seen of it.

Whether an action shortened the way follows from the whole level, of which a model this small sees little. Taught the
true effects it would have to tell chance from rule by itself. Boosted trees do that in seconds, on the facts that it
writes down first; what they say is a function of those facts, and that it can learn to the letter.
"""

from collections.abc import Sequence

import numpy as np

from actors.pocket.windows.data import TiledWindow

NEIGHBOURS = (-2, -1, 0, 1, 2)
"""The actions by which one is judged, counted from it: a turn that the next one takes back did not help. More of them
tell no more (docs/pocket_windows.md)."""
ABSENT = -100
"""In place of facts of an action that the window does not have."""
NUM_TREES = 120
"""For each effect."""


def facts_of(window: TiledWindow, action_names: Sequence[str]) -> np.ndarray:
    """What each action is judged by, int64 [A, 2 * NEIGHBOURS]: of each neighbour what is seen of it, and its name.

    `action_names` are all that an action may have.
    """
    names = [action_names.index(name) for name in window.action_names]
    own = np.stack([window.sights, names], axis=1)
    reach = max(NEIGHBOURS)
    padded = np.pad(own, ((reach, reach), (0, 0)), constant_values=ABSENT)
    return np.concatenate([padded[reach + off : reach + off + len(own)] for off in NEIGHBOURS], axis=1)


class Teacher:
    """Knows the likeliest effect of an action by its facts, from windows whose true effects it has seen."""

    def __init__(self, windows: Sequence[TiledWindow], action_names: Sequence[str]) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        self.action_names = tuple(action_names)
        facts = np.concatenate([facts_of(window, action_names) for window in windows])
        effects = np.concatenate([window.effects for window in windows])
        # A negative category is a missing one to the trees, as ABSENT is meant.
        every = list(range(facts.shape[1]))
        self._trees = HistGradientBoostingClassifier(
            categorical_features=every, max_iter=NUM_TREES, early_stopping=False
        ).fit(facts, effects)

    def judge(self, windows: Sequence[TiledWindow]) -> list[list[int]]:
        """The likeliest effect of every action of each window."""
        said = self._trees.predict(np.concatenate([facts_of(window, self.action_names) for window in windows]))
        ends = np.cumsum([len(window.actions) for window in windows])
        return [part.tolist() for part in np.split(said, ends[:-1])]
