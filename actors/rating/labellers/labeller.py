"""The interface of labellers: a trajectory in, a score and a dense reward for each of its actions out."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from actors.rating.backend import Needs
from algorithms.progress import ProgressRequest, ValueUse, paid
from algorithms.ratings import RaterIdentity
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory

BROKEN_FRAME = b""
"""Stands in an episode's frames for one that cannot be read."""


@dataclass(frozen=True)
class Labels:
    """What a labeller says of a trajectory. NaN where it says nothing."""

    scores: np.ndarray
    """float64 [T], on its own scale: the column `score_<name>`."""
    dense: np.ndarray
    """float64 [T]: what rewards are made of."""


class Labeller(ABC):
    """Labels one trajectory after the other. Equal episodes and answers give equal labels."""

    full_score: float = 1.0
    """What a reward of normalisation `unit` is divided by: the top of the labeller's scale."""
    needs_frames: bool = True
    """Whether `label` looks at the episode's frames."""

    def identity(self) -> RaterIdentity | None:
        """Which weights of its own it uses; None if it has none."""
        return None

    def questions(self, episode: Trajectory) -> list[ProgressRequest]:
        """What the rating server is to be asked about an episode; nothing if the labeller does not need it.

        Frames may be BROKEN_FRAME.
        """
        return []

    def needs(self) -> Needs:
        """What its questions ask of a rating server."""
        return Needs()

    @abstractmethod
    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """Labels of an episode, given the answers to its questions; None for a question that failed."""

    def asked_frames(self, num_actions: int) -> list[int]:
        """Frames of a trajectory without damage whose values are the labeller's own, and not read off a line between
        two others: those that an order correlation counts. Empty for labellers that estimate no progress."""
        return []


def labels_of_values(values: np.ndarray, use: ValueUse) -> Labels:
    """Labels from a value of each frame, float64 [T + 1]: an action's score is the value of the frame it led to."""
    return Labels(values[1:], paid(values, use))


def labels_of_whole(episode: Trajectory, similarity: Callable[[Trajectory], float]) -> Labels:
    """Labels from one value of the trajectory: the last action earns it, all others 0 and no score.

    A trajectory with a broken frame has no labels.
    """
    scores = np.full(len(episode), np.nan)
    if len(whole_frames(episode)) < len(episode.frames):
        return Labels(scores, scores.copy())
    scores[-1] = similarity(episode)
    return Labels(scores, np.nan_to_num(scores))


def whole_frames(episode: Trajectory) -> list[int]:
    """Indices of the frames that can be read."""
    return [index for index, png in enumerate(episode.frames) if png != BROKEN_FRAME]


def generator_of(seed: int, episode_id: str) -> np.random.Generator:
    """A generator of an episode's own, so that its labels do not depend on what was labelled before."""
    digest = hashlib.sha256(f"{seed} {episode_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
