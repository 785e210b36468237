"""What the pocket rater says about an episode: what the pictures show, and which sub-tasks are done."""

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("key", "ball", "box", "door")
THINGS = tuple(f"{colour} {kind}" for kind in KINDS for colour in COLOURS)
"""Numbered; doors last, since they cannot be carried."""
NUM_PORTABLE = len(THINGS) - len(COLOURS)
THEN = ", then "
"""Joins the sub-tasks of a chain in words."""
NOTHING = -1
"""In place of a thing's number."""


@dataclass(frozen=True)
class Sights:
    """What an episode's pictures show, whatever the task."""

    in_hand: tuple[int, ...]
    """What is carried in each picture."""
    beside: tuple[tuple[int, int], ...]
    """Things that lie side by side in the last picture, and did not in the first."""
    opened: tuple[int, ...]
    """Doors that are open in the last picture, and were not in the first."""


def analysis_of(sights: Sights, num_done: int, num_subtasks: int) -> str:
    """The analysis: what is seen, and then sub-task by sub-task whether it is done. The first `num_done` are.

    What pictures show is written down first, so that words need to be compared with words alone.
    """
    held = ", ".join("nothing" if thing == NOTHING else THINGS[thing] for thing in sights.in_hand)
    beside = ", ".join(f"{THINGS[one]} and {THINGS[other]}" for one, other in sights.beside) or "none"
    opened = ", ".join(THINGS[door] for door in sights.opened) or "none"
    marks = (f"{number} {'done' if number <= num_done else 'not done'}" for number in range(1, num_subtasks + 1))
    return f"In hand: {held}. Now side by side: {beside}. Now open: {opened}. Sub-tasks: {', '.join(marks)}."


def subtask_in_words(kind: str, named: Sequence[str]) -> str:
    """A sub-task as BabyAI words it, of the words for the things that it names."""
    return {"pickup": "pick up {}", "goto": "go to {}", "open": "open {}", "putnext": "put {} next to {}"}[kind].format(
        *named
    )


def thing_named(colour: str | None, kind: str) -> frozenset[int]:
    """Numbers of the things that a colour, or any, and a kind mean."""
    return frozenset(THINGS.index(f"{one} {kind}") for one in ((colour,) if colour else COLOURS))
