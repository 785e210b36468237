"""Which moments of the collected experience are shown to the rater.

ERL-VLM draws an episode uniformly from the latest ones, then a time uniformly in it (appendix; reference code). Here
the last frame of an episode can be drawn like any other, and no segment is drawn twice in one session.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.settings import FeedbackSettings, SegmentSettings


@dataclass(frozen=True)
class EpisodeSteps:
    """The agent steps of one episode that are still remembered. No observations and no pixels."""

    episode_id: str
    indices: np.ndarray
    """[T] int64: number of each step's transition in the run, in time order. Need not be consecutive."""
    first_step: int = 0
    """Agent step of the episode that `indices[0]` is; above 0 if older steps were overwritten."""

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Segment:
    """What one rating looks at: the frame seen after each of these agent steps."""

    episode_id: str
    steps: np.ndarray
    """[F] int64: agent steps of the episode, counted from 0; the frame after step t is that of observation t + 1."""
    indices: np.ndarray
    """[F] int64: the same steps as numbers of transitions."""


def frame_offsets(settings: SegmentSettings) -> np.ndarray:
    """[num_frames] int64: the steps of a segment whose frames are shown, from its first to its last."""
    return np.rint(np.linspace(0, settings.num_agent_steps - 1, settings.num_frames)).astype(np.int64)


def select_segments(
    episodes: Sequence[EpisodeSteps],
    num_segments: int,
    settings: FeedbackSettings,
    since_index: int,
    rng: np.random.Generator,
) -> list[Segment]:
    """Draw a session's segments, all different.

    Episodes take turns in random order, so that all of them are seen before any is seen again; the time in an episode
    is uniform. Fewer than `num_segments` are returned if there are no more. Raises ValueError if no episode holds one.

    Args:
        episodes: Finished episodes, oldest first; those beyond the latest `settings.recent_episodes` are left out.
        since_index: Episodes whose first transition has at least this number count as collected since the last
            session; `settings.newest_share` of the session is drawn from them first.
    """
    offsets = frame_offsets(settings.segment)
    length = settings.segment.num_agent_steps
    usable = [episode for episode in episodes[-settings.recent_episodes :] if len(episode) >= length]
    if not usable:
        raise ValueError(
            f"feedback.segment.num_agent_steps {length}: none of {len(episodes)} episodes is that long; "
            "shorten the segment, or collect longer episodes before the first session"
        )
    # A draw pops from these, so nothing can be drawn twice.
    starts = [rng.permutation(len(episode) - length + 1).tolist() for episode in usable]
    newest = [number for number, episode in enumerate(usable) if episode.indices[0] >= since_index]
    drawn = _take_turns(newest, starts, round(settings.newest_share * num_segments), rng)
    drawn += _take_turns(range(len(usable)), starts, num_segments - len(drawn), rng)
    return [_segment(usable[number], start + offsets) for number, start in drawn]


def _take_turns(
    numbers: Sequence[int], starts: list[list[int]], num_segments: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Up to `num_segments` pairs of an episode's number and a start popped from its list."""
    drawn: list[tuple[int, int]] = []
    while len(drawn) < num_segments:
        ready = [number for number in numbers if starts[number]]
        if not ready:
            break
        order = rng.permutation(ready)[: num_segments - len(drawn)]
        drawn += [(int(number), starts[number].pop()) for number in order]
    return drawn


def _segment(episode: EpisodeSteps, positions: np.ndarray) -> Segment:
    return Segment(episode.episode_id, episode.first_step + positions, episode.indices[positions])
