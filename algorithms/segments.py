"""Which moments of the collected experience are shown to the rater.

ERL-VLM draws an episode uniformly from the latest ones, then a time uniformly in it (appendix; reference code). Here
the last frame of an episode can be drawn like any other, and no segment is drawn twice in one session.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.replay import StoredEpisode
from algorithms.settings import FeedbackSettings, SegmentSettings


@dataclass(frozen=True)
class Segment:
    """What one rating looks at: the frames seen after these agent steps."""

    episode_id: str
    indices: np.ndarray
    """[F] int64: global indices of the steps, in time order."""


def frame_offsets(settings: SegmentSettings) -> np.ndarray:
    """[num_frames] int64: the steps of a segment whose frames are shown, from its first to its last."""
    return np.rint(np.linspace(0, settings.num_agent_steps - 1, settings.num_frames)).astype(np.int64)


def select_segments(
    episodes: Sequence[StoredEpisode],
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
        since_index: Episodes whose first step has at least this global index count as collected since the last
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
    return [Segment(usable[number].episode_id, usable[number].indices[start + offsets]) for number, start in drawn]


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
