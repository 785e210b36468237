"""From an episode as it was recorded to a trajectory: which frames are kept, and what was done between two of them."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import model_validator

from algorithms.settings import PositiveInt
from algorithms.trajectories import Trajectory
from orchestrator.data.recordings.importing import ImportProblem, ImportSettings
from orchestrator.data.recordings.relative import Evidence, Looks
from orchestrator.data.schema import ActionSpace
from orchestrator.errors import SettingsError

LOOKED_AT = 5
"""Episodes whose actions are looked at before a word is said on them."""


class StepSettings(ImportSettings):
    """What every importer of recorded steps knows."""

    every: PositiveInt = 1
    """Keep every so many frames, counted back from the last: robots are recorded far faster than a model can judge."""
    actions: Literal["absolute", "relative"] | None = None
    """What becomes of the actions between two frames that are kept. `absolute`: the last of them counts, as a target
    does. `relative`: they are added up, as moves are. Absent: as `absolute`, and if they look relative a line says
    so."""
    absolute_entries: tuple[str, ...] | None = None
    """With `relative`: entries of the action that are absolute all the same, such as a gripper's."""

    @model_validator(mode="after")
    def _entries_of_relative_ones(self) -> "StepSettings":
        if self.absolute_entries and self.actions != "relative":
            raise ValueError("absolute_entries are the exceptions of actions=relative: set that too, or leave them out")
        return self


class Steps:
    """How the recorded steps of one import become a trajectory's."""

    def __init__(self, settings: StepSettings, actions: ActionSpace) -> None:
        """Raises SettingsError if the settings do not fit the actions."""
        self._actions = actions
        self._every = settings.every
        self._is_relative = settings.actions == "relative"
        absolute = settings.absolute_entries or ()
        if self._is_relative and actions.kind == "discrete":
            raise SettingsError("actions = relative: these actions are numbers of choices, which cannot be added up")
        unknown = next((name for name in absolute if name not in actions.names), None)
        if unknown is not None:
            raise SettingsError(
                f"absolute_entries: {unknown!r} is no entry of the actions; there are {', '.join(actions.names)}"
            )
        self._is_added = np.array([name not in absolute for name in actions.names])
        is_open = settings.every > 1 and actions.kind == "continuous" and settings.actions != "absolute"
        self._evidence = Evidence(actions.names) if is_open else None

    def kept(self, first: int, last: int) -> list[int]:
        """Numbers of the frames that are kept of those from `first` to `last`. Raises ImportProblem if there is one."""
        frames = list(range(last, first - 1, -self._every))[::-1]
        if len(frames) < 2:
            raise ImportProblem(f"too few frames for one action: {last - first + 1}")
        return frames

    def rows(self, kept: Sequence[int]) -> list[int]:
        """Numbers of the recorded actions that count, for `joined`."""
        return list(range(kept[0], kept[-1])) if self._is_relative else [frame - 1 for frame in kept[1:]]

    def joined(self, recorded: np.ndarray, kept: Sequence[int]) -> np.ndarray:
        """What was done between each two kept frames, of the actions [rows, entries] or [rows] that `rows` names."""
        if not self._is_relative:
            return recorded
        starts = np.array(kept[:-1]) - kept[0]
        ends = np.array(kept[1:]) - kept[0] - 1
        added = np.add.reduceat(recorded.astype(np.float64), starts, axis=0)
        return np.where(self._is_added, added, recorded[ends]).astype(recorded.dtype)

    def words(self, actions: np.ndarray) -> tuple[str, ...]:
        """Each action as a rater is told it."""
        names = self._actions.names
        if self._actions.kind == "discrete":
            return tuple(names[number] for number in actions)
        return tuple(
            ", ".join(f"{name} {value:+.2f}" for name, value in zip(names, action, strict=True)) for action in actions
        )

    @property
    def is_looking(self) -> bool:
        """Whether `look_at` would learn something."""
        return self._evidence is not None

    def look_at(self, recorded: np.ndarray, states: np.ndarray | None) -> ImportProblem | None:
        """Take in all actions [T, entries] of an episode, and its states [T or more, any] where it has such.

        Returns a note if enough was seen, and the actions look otherwise than the settings take them.
        """
        if self._evidence is None:
            return None
        self._evidence.add(recorded, states)
        return self.note() if self._evidence.num_episodes >= LOOKED_AT else None

    def note(self) -> ImportProblem | None:
        """What was seen up to now, if that is worth a word; said once."""
        evidence, self._evidence = self._evidence, None
        if evidence is None or not evidence.num_episodes:
            return None
        seen = evidence.looks()
        relative = [name for name, looks in zip(self._actions.names, seen, strict=True) if looks is Looks.RELATIVE]
        others = [name for name, looks in zip(self._actions.names, seen, strict=True) if looks is Looks.ABSOLUTE]
        if self._is_relative:
            added = [name for name in others if self._is_added[self._actions.names.index(name)]]
            if not added:
                return None
            return ImportProblem(
                f"actions = relative adds up {', '.join(added)} as well, which looks absolute: if it is, "
                f"'absolute_entries=[{', '.join(others)}]' keeps the last value",
                is_note=True,
            )
        if not relative:
            return None
        apart = f" 'absolute_entries=[{', '.join(others)}]'" if others else ""
        return ImportProblem(
            f"every = {self._every} keeps the last of {self._every} actions, and {', '.join(relative)} "
            f"{'looks' if len(relative) == 1 else 'look'} relative ({evidence.reason}): moves, of which the others are "
            f"lost. If so, add them up by actions=relative{apart}; if not, actions=absolute ends this note",
            is_note=True,
        )


def trajectory_of_steps(
    name: str,
    instruction: str,
    actions: np.ndarray,
    words: tuple[str, ...],
    frames: Iterable[bytes],
    succeeded: bool,
    failed_for_good: bool = False,
    rewards: np.ndarray | None = None,
) -> Trajectory:
    """A trajectory of T actions; a success is terminated, and so is an episode that `failed_for_good`.

    Any other failure is truncated: it could have gone on. `rewards` [T] are those that the recording has.
    """
    last = np.arange(len(actions)) == len(actions) - 1
    never = np.zeros(len(actions), dtype=bool)
    is_over = succeeded or failed_for_good
    return Trajectory(
        episode_id=name,
        instruction=instruction,
        actions=actions,
        action_names=words,
        sparse_rewards=(last & succeeded).astype(np.float32),
        terminated=last if is_over else never,
        truncated=never if is_over else last,
        frames=tuple(frames),
        audits={} if rewards is None else {"reward": rewards.astype(np.float32)},
    )
