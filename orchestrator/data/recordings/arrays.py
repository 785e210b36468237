"""What importers share that read arrays: settings, success, instructions, and an episode's way to a trajectory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from algorithms.trajectories import Trajectory
from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.pictures import PictureError, stored_frames
from orchestrator.data.recordings.steps import Steps, StepSettings, trajectory_of_steps
from orchestrator.data.schema import ActionSpace
from orchestrator.errors import SettingsError
from orchestrator.screen.counts import counted

Success = Literal["recorded", "reward", "terminated", "all"]
"""What makes an episode a success: a flag of the recording, any reward above 0, that it terminated, or that it is."""
SMALLEST_PX = 32
"""Smaller arrays of bytes are codes of a grid, not pictures, unless somebody says so."""


class ArraySettings(StepSettings):
    """Settings of importers of arrays."""

    camera: str | None = None
    """The observation that has the pictures; absent: the only one there is."""
    instruction: str | None = None
    """What every episode was to achieve, in words; absent: as the recording says."""
    action_keys: tuple[str, ...] | None = None
    """Where actions are in several pieces, those that count, one behind the other."""
    action_names: tuple[str, ...] | None = None
    """Names of the entries of an action, or of the choices that it is the number of, as a rater is told them."""
    success: Success | None = None
    """Which episodes are successes: `recorded`, by a flag of their own; `reward`, with a reward above 0; `terminated`;
    or `all`. Absent: what the recording tells, in that order, as far as its format says it."""


@dataclass(frozen=True)
class Recorded:
    """An episode as it was recorded."""

    name: str
    instruction: str
    actions: np.ndarray
    """[T, entries] or [T]."""
    num_frames: int
    """T, if what the last action led to was not seen, or T + 1."""
    pictures: Callable[[Sequence[int]], Iterable[Image.Image | bytes]]
    """Pictures by number."""
    succeeded: bool
    failed_for_good: bool = False
    rewards: np.ndarray | None = None
    """[T]."""
    states: np.ndarray | None = None
    """[T or more, any]: what the robot itself knew, to tell moves from targets."""


class ArrayEpisodes:
    """Makes trajectories of recorded episodes, and words on all of them."""

    def __init__(self, settings: ArraySettings, actions: ActionSpace) -> None:
        """Raises SettingsError if the settings do not fit the actions."""
        self._settings = settings
        self._space = actions
        self._steps = Steps(settings, actions)
        self._num_seen = self._num_successes = 0

    def trajectory(self, recorded: Recorded) -> Trajectory:
        """Raises ImportProblem if the episode has something wrong with it."""
        length = len(recorded.actions)
        if recorded.num_frames not in (length, length + 1):
            raise ImportProblem(f"it has {counted(recorded.num_frames, 'picture')} for {counted(length, 'action')}")
        kept = self._steps.kept(0, recorded.num_frames - 1)
        rows = self._steps.rows(kept)
        actions = self._steps.joined(self._valid(recorded.actions[rows], rows), kept)
        rewards = recorded.rewards
        if rewards is not None:
            starts = np.array(kept[:-1]) - kept[0]
            rewards = np.add.reduceat(np.asarray(rewards, np.float64)[kept[0] : kept[-1]], starts)
            if not np.isfinite(rewards).all():
                raise ImportProblem("a reward is no finite number")
        try:
            frames = tuple(stored_frames(recorded.pictures(kept), self._settings.frame_px))
        except PictureError as error:
            raise ImportProblem(f"a picture cannot be read: {error}") from error
        self._num_seen += 1
        self._num_successes += recorded.succeeded
        return trajectory_of_steps(
            recorded.name,
            recorded.instruction,
            actions,
            self._steps.words(actions),
            frames,
            recorded.succeeded,
            recorded.failed_for_good,
            rewards,
        )

    def look_at(self, recorded: Recorded) -> ImportProblem | None:
        """A note on actions that look otherwise than they are taken, once enough was seen."""
        if not self._steps.is_looking or not len(recorded.actions) or not np.isfinite(recorded.actions).all():
            return None
        return self._steps.look_at(recorded.actions, recorded.states)

    def last_words(self) -> Iterable[ImportProblem]:
        """Notes at the end."""
        note = self._steps.note()
        if note is not None:
            yield note
        if self._num_seen and not self._num_successes:
            yield ImportProblem(
                f"none of the {self._num_seen:,} episodes is a success by what the recording tells; if all of them "
                "are, import with success=all",
                is_note=True,
            )

    def _valid(self, actions: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """float32 [rows, entries], or int64 [rows]. Raises ImportProblem."""
        size = len(self._space.names)
        if self._space.kind == "discrete":
            unknown = next((number for number in actions.tolist() if not 0 <= number < size), None)
            if unknown is not None:
                raise ImportProblem(f"action {unknown} is unknown: there are 0 to {size - 1}")
            return actions.astype(np.int64)
        if actions.shape[1] != size:
            raise ImportProblem(f"its actions have {actions.shape[1]} entries, but must have {size}")
        with np.errstate(over="ignore"):
            actions = actions.astype(np.float32)
        wrong = np.argwhere(~np.isfinite(actions))
        if len(wrong):
            row, entry = wrong[0]
            raise ImportProblem(
                f"action {rows[row]}, entry {entry} is {actions[row, entry]}, which is no finite number"
            )
        return actions


def succeeded(
    rule: Success | None, flags: Any = None, rewards: np.ndarray | None = None, terminated: bool | None = None
) -> bool:
    """Whether an episode is a success; None stands for what a recording does not tell.

    Raises ImportProblem if it does not tell what `rule` asks for.
    """
    told: Mapping[str, Any] = {
        "recorded": None if flags is None else bool(np.any(np.asarray(flags, dtype=bool))),
        "reward": None if rewards is None else bool((np.asarray(rewards) > 0).any()),
        "terminated": terminated,
    }
    if rule == "all":
        return True
    if rule is not None:
        if told[rule] is None:
            raise ImportProblem(f"success = {rule}: the recording does not tell it")
        return told[rule]
    return next((value for value in told.values() if value is not None), True)


def action_space(
    kind: Literal["discrete", "continuous"], size: int, given: Sequence[str] | None, known: Sequence[str] | None = None
) -> tuple[ActionSpace, ImportProblem | None]:
    """Actions of `size` entries or choices, with names, and a note where there are none. Raises SettingsError."""
    what = "choices" if kind == "discrete" else "entries"
    if given is not None and (len(given) != size or len(set(given)) != size or not all(map(str.strip, given))):
        raise SettingsError(f"action_names: must be {size} different names, one for each of the {what} of an action")
    fits = known is not None and len(known) == size == len(set(known)) and all(map(str.strip, known))
    names = given or (known if fits else None)
    note = None
    if names is None:
        names = [f"choice {n}" if kind == "discrete" else f"a{n}" for n in range(size)]
        note = ImportProblem(
            f"the {size} {what} of its actions have no names, and a rater is told {names[0]!r} and so on; name them by "
            "'action_names=[...]'",
            is_note=True,
        )
    return ActionSpace(kind=kind, names=tuple(names)), note


def chosen(what: str, setting: str, wanted: str | None, found: Sequence[str], others: Sequence[str] = ()) -> str:
    """One of `found`, or of `others` if it is named. Raises SettingsError that lists them."""
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted is not None and wanted in (*found, *others):
        return wanted
    rest = f"; also there, though smaller than {SMALLEST_PX} pixels: {', '.join(others)}" if others else ""
    raise SettingsError(
        f"{setting} = {wanted}: must be one of the {what} of the recording: {', '.join(found) or 'it has none'}{rest}"
    )


def one_instruction(texts: Sequence[Any], given: str | None) -> str:
    """What an episode was to achieve, of the text in each of its steps. Raises ImportProblem unless it is one."""
    if given is not None:
        return " ".join(given.split())
    found = {" ".join(text.split()) for text in texts}
    if len(found) != 1:
        raise ImportProblem(f"its instruction changes within it: {', '.join(map(repr, sorted(found)[:3]))}")
    (instruction,) = found
    if not instruction:
        raise ImportProblem("its instruction has no words")
    return instruction


def as_picture(pixels: np.ndarray) -> Image.Image:
    """The picture of pixels uint8 [H, W], [H, W, 1 or 3] or [3, H, W]. Raises PictureError."""
    if pixels.dtype != np.uint8:
        raise PictureError(f"its pixels are {pixels.dtype}, but must be uint8 from 0 to 255")
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise PictureError(f"it has the shape {pixels.shape}, but must be height x width x 3")
    return Image.fromarray(np.ascontiguousarray(pixels))


def is_picture(shape: Sequence[int], dtype: Any) -> bool:
    """Whether arrays of this shape may be pictures at all; `is_large` tells them from codes of a grid."""
    return np.dtype(dtype) == np.uint8 and (
        len(shape) == 2 or (len(shape) == 3 and bool({1, 3} & {shape[0], shape[2]}))
    )


def is_large(shape: Sequence[int]) -> bool:
    """Whether both sides have at least SMALLEST_PX pixels."""
    return sorted(shape)[-2] >= SMALLEST_PX
