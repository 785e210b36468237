"""Which moments of the collected experience are shown to the rater.

ERL-VLM draws an episode uniformly from the latest ones, then a time uniformly in it (appendix; reference code). Here
the last frame of an episode can be drawn like any other, and no segment is drawn twice in one session.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.replay_contents import StoredEpisode
from algorithms.settings import FeedbackSettings, SegmentSettings


@dataclass(frozen=True)
class Segment:
    """What one question looks at: the frames seen after these agent steps."""

    episode_id: str
    indices: np.ndarray
    """[F] int64: global indices of the steps, in time order; or of the two moments of a pair."""


def frame_offsets(num_agent_steps: int, num_frames: int) -> np.ndarray:
    """[num_frames] int64: the steps of a segment whose frames are shown, from its first to its last.

    A single one is the last; where there are fewer steps than frames, some are shown twice.
    """
    first = 0 if num_frames > 1 else num_agent_steps - 1
    return np.rint(np.linspace(first, num_agent_steps - 1, num_frames)).astype(np.int64)


def segment_length(settings: SegmentSettings, episode: StoredEpisode) -> int | None:
    """Agent steps of a segment of this episode; None if it holds none."""
    if settings.kind != "episode":
        return settings.num_agent_steps if len(episode) >= settings.num_agent_steps else None
    wanted = settings.last_agent_steps
    if not episode.ended or not (episode.whole or (wanted and len(episode) >= wanted)):
        return None
    return min(len(episode), wanted or len(episode))


class SegmentDraw:
    """Draws segments of a session, as many as are asked for at a time; none is drawn twice.

    Episodes take turns in random order, so that all of them are seen before any is seen again; the time in an episode
    is uniform.
    """

    def __init__(
        self, episodes: Sequence[StoredEpisode], settings: FeedbackSettings, since_index: int, rng: np.random.Generator
    ) -> None:
        """Raises ValueError if no episode holds a segment.

        Args:
            episodes: Finished episodes, oldest first; those beyond the latest `settings.recent_episodes` are left out.
            settings: What a segment is, and how sessions are drawn.
            since_index: Episodes whose first step has at least this global index count as collected since the last
                session; `settings.newest_share` of what is drawn comes from them first.
            rng: Advances with each draw.
        """
        segment, recent = settings.segment, episodes[-settings.recent_episodes :]
        lengths = [segment_length(segment, episode) for episode in recent]
        self._usable = [episode for episode, length in zip(recent, lengths, strict=True) if length]
        lengths = [length for length in lengths if length]
        if not self._usable:
            raise ValueError(_none_holds_one(segment, len(episodes)))
        # A draw pops from these, so nothing can be drawn twice. Of an episode only its end is a segment.
        self._starts = [
            [len(episode) - length]
            if segment.kind == "episode"
            else rng.permutation(len(episode) - length + 1).tolist()
            for episode, length in zip(self._usable, lengths, strict=True)
        ]
        self._offsets = [frame_offsets(length, segment.num_frames) for length in lengths]
        self._newest = [number for number, episode in enumerate(self._usable) if episode.indices[0] >= since_index]
        self._newest_share = settings.newest_share
        self._rng = rng

    def draw(self, num_segments: int) -> list[Segment]:
        """Segments that have not been drawn yet; fewer than `num_segments`, or none, if there are no more."""
        newest = round(self._newest_share * num_segments)
        drawn = _take_turns(self._newest, self._starts, newest, self._rng)
        drawn += _take_turns(range(len(self._usable)), self._starts, num_segments - len(drawn), self._rng)
        return [
            Segment(self._usable[number].episode_id, self._usable[number].indices[start + self._offsets[number]])
            for number, start in drawn
        ]


def _none_holds_one(segment: SegmentSettings, num_episodes: int) -> str:
    if segment.kind == "episode":
        return (
            f"feedback.segment.kind 'episode': none of {num_episodes} episodes has ended and is still held whole; "
            "collect more before the first session, or raise policy.replay_capacity"
        )
    return (
        f"feedback.segment.num_agent_steps {segment.num_agent_steps}: none of {num_episodes} episodes is that long; "
        "shorten the segment, or collect longer episodes before the first session"
    )


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
