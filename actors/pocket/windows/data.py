"""What the pocket rater learns windows from: trajectories drawn of tiles, with the true effect of each action."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from actors.pocket.windows import NUM_FRAMES
from actors.pocket.windows.words import sights_of
from algorithms.label_settings import WindowSettings
from algorithms.scores import ScoreRequest, ScoringMode
from algorithms.windows import Window, frame_note, join_window, windows_of

SETTINGS = WindowSettings()
"""The questions that it learns: the defaults of labelling."""


@dataclass(frozen=True)
class TiledTrajectory:
    """T actions, and the T + 1 frames around them as codes of tiles."""

    instruction: str
    action_names: tuple[str, ...]
    codes: np.ndarray
    """int16 [T + 1, 12, 12]."""
    places: np.ndarray
    """int64 [T + 1, 3]: row, column and direction of the agent."""
    effects: np.ndarray
    """int64 [T]: see `words.EFFECTS`."""
    contributions: np.ndarray
    """int64 [T]: 1, 0 or -1; for judging."""

    @cached_property
    def sights(self) -> np.ndarray:
        """int64 [T]: see `words.SIGHTS`."""
        return sights_of(self.places, (self.codes[1:] != self.codes[:-1]).any(axis=(1, 2)))

    def __len__(self) -> int:
        return len(self.effects)

    def without(self, num_actions: int) -> "TiledTrajectory":
        """The trajectory without its first actions."""
        part = slice(num_actions, None)
        return TiledTrajectory(
            self.instruction,
            self.action_names[part],
            self.codes[part],
            self.places[part],
            self.effects[part],
            self.contributions[part],
        )


@dataclass(frozen=True)
class Levels:
    """What is learnt from."""

    trajectories: list[TiledTrajectory]
    pixels: np.ndarray
    """uint8 [codes, 7, 7, 3]: what a tile looks like."""
    contents: np.ndarray
    """int64 [codes]: what a tile holds."""


@dataclass(frozen=True)
class TiledWindow:
    """One window of a trajectory."""

    trajectory: TiledTrajectory
    window: Window

    @property
    def actions(self) -> list[int]:
        """Indices of its actions; none is padded here."""
        return [index for index in self.window.actions if index is not None]

    @property
    def frames(self) -> np.ndarray:
        """Codes of its frames."""
        return self.trajectory.codes[list(self.window.frames)]

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called."""
        return tuple(self.trajectory.action_names[index] for index in self.actions)

    @property
    def sights(self) -> list[int]:
        """What is seen of each action."""
        return self.trajectory.sights[self.actions].tolist()

    @property
    def effects(self) -> list[int]:
        """What each action truly did."""
        return self.trajectory.effects[self.actions].tolist()

    def request(self, mode: ScoringMode) -> ScoreRequest:
        """The question about it, without its picture."""
        note = frame_note(len(self.window.frames), SETTINGS)
        return ScoreRequest((), self.trajectory.instruction, self.action_names, mode, note)


def windows_in(trajectory: TiledTrajectory) -> list[TiledWindow]:
    """The windows that labelling asks about."""
    return [TiledWindow(trajectory, window) for window in windows_of(len(trajectory), SETTINGS)]


def picture(frames: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The joined picture, uint8 [252, 252, 3], of up to nine frames of codes [F, 12, 12] and tiles' `pixels`."""
    assert len(frames) <= NUM_FRAMES
    rows = pixels[frames].swapaxes(2, 3)
    num_frames, height, px, width, _, _ = rows.shape
    return join_window(list(rows.reshape(num_frames, height * px, width * px, 3)), SETTINGS)
