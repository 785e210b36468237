"""Which moments of a recording are rated."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from actors.rating.labellers.settings import LikertLabeller
from algorithms.replay_contents import StoredEpisode
from algorithms.segments import SegmentDraw
from algorithms.settings import FeedbackSettings, SegmentSettings
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError

FEWEST_RATINGS = 10
"""Of an instruction; a reward model learns nothing from fewer."""


@dataclass(frozen=True)
class Moment:
    """What one rating looks at: frames of an episode, seen after actions."""

    episode_id: str
    frames: tuple[int, ...]


def lengths_by_instruction(dataset: TrajectoryDataset) -> dict[str, dict[str, int]]:
    """Numbers of actions of all episodes that can be read."""
    found: dict[str, dict[str, int]] = {}
    for one in dataset.episodes(frames=False, symbolic=False, on_problem=lambda _: None):
        found.setdefault(one.instruction, {})[one.episode_id] = len(one)
    return found


def draw_moments(lengths: Mapping[str, Mapping[str, int]], settings: LikertLabeller) -> dict[str, list[Moment]]:
    """Moments by instruction, given the numbers of actions of its episodes by name; whatever the order of either.

    The frame before the first action is not among them: no action led to it. Raises SettingsError if an instruction
    has too few ratings.
    """
    share = settings.budget // max(1, len(lengths))
    if share < FEWEST_RATINGS:
        raise SettingsError(
            f"labeller.budget = {settings.budget}: the set has {len(lengths):,} instructions, each of which needs a "
            f"reward model, and {FEWEST_RATINGS} ratings at least: raise it to {FEWEST_RATINGS * len(lengths):,} or "
            "more, or take a labeller that reads the instruction, such as rg_vlm or gvl"
        )
    return {text: _draw(lengths[text], text, share, settings) for text in sorted(lengths)}


def _draw(lengths: Mapping[str, int], instruction: str, number: int, settings: LikertLabeller) -> list[Moment]:
    rng = np.random.default_rng([settings.seed, *hashlib.sha256(instruction.encode()).digest()])
    names = sorted(lengths)
    if settings.show == "trajectory":
        chosen = [names[index] for index in rng.permutation(len(names))[:number]]
        return [Moment(name, _spread(lengths[name], settings.num_frames)) for name in chosen]
    segment = SegmentSettings()
    if settings.show == "segment":
        segment = SegmentSettings(
            kind="trajectory", num_frames=settings.num_frames, num_agent_steps=settings.num_actions
        )
    feedback = FeedbackSettings(segment=segment, recent_episodes=len(names))
    episodes = [StoredEpisode(name, np.arange(lengths[name])) for name in names]
    try:
        drawn = SegmentDraw(episodes, feedback, 0, rng).draw(number)
    except ValueError:
        raise SettingsError(
            f"labeller.num_actions = {settings.num_actions}: no episode of {instruction!r} is that long; lower it"
        ) from None
    return [Moment(one.episode_id, tuple((one.indices + 1).tolist())) for one in drawn]


def _spread(num_actions: int, num_frames: int) -> tuple[int, ...]:
    """Frames after actions from the first to the last; some twice where there are fewer."""
    return tuple(np.rint(np.linspace(1, num_actions, num_frames)).astype(int).tolist())
