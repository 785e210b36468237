"""What the pocket rater says about an action, and the score that follows from it."""

from collections.abc import Sequence

import numpy as np

EFFECTS = ("farther", "no change", "no help", "closer", "completes")
"""What an action did: lengthened the way to the current sub-goal; left all as it was; changed something, but not the
way; shortened the way; ended the sub-task."""
FARTHER, NO_CHANGE, NO_HELP, CLOSER, COMPLETES = range(len(EFFECTS))

SCORE_OF = (0, 1, 1, 9, 9)
"""Turn two is a function of what turn one said. An action that shortens the way is given most, and so is one that ends
it: 9 and not 10, for where each score is one digit, so small a model does not lose count of them."""

SIGHTS = ("nothing", "moved", "turned left", "turned right", "changed things")
"""What two successive frames show of the action between them, whatever the goal."""
NOTHING, MOVED, TURNED_LEFT, TURNED_RIGHT, CHANGED_THINGS = range(len(SIGHTS))


def sights_of(places: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Which of SIGHTS each action shows, int64 [T], of the agent's places [T + 1, 3] and whether frames differ [T]."""
    moved = (places[1:, :2] != places[:-1, :2]).any(axis=1)
    turned = (places[1:, 2] - places[:-1, 2]) % 4
    return np.select(
        [moved, turned == 3, turned == 1, changed], [MOVED, TURNED_LEFT, TURNED_RIGHT, CHANGED_THINGS], NOTHING
    )


def effect_of(contribution: int, completed: bool, changed: bool) -> int:
    """The effect of an action with this true contribution, 1, 0 or -1."""
    if completed:
        return COMPLETES
    if contribution:
        return CLOSER if contribution > 0 else FARTHER
    return NO_HELP if changed else NO_CHANGE


def analysis_of(sights: Sequence[int], effects: Sequence[int]) -> str:
    """The analysis: what is seen of each action, then what each did for the goal.

    Whether an action helped shows in those around it, those that come after it too: a turn that is taken back did not.
    Written down first, all of them are at hand when the first is judged.
    """
    seen = ", ".join(f"{number} {SIGHTS[sight]}" for number, sight in enumerate(sights, start=1))
    judged = " ".join(f"{number}: {EFFECTS[effect]}." for number, effect in enumerate(effects, start=1))
    return f"{seen}. {judged}"
