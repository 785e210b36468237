"""Which two moments of the collected experience are compared."""

from collections.abc import Sequence

import numpy as np

from algorithms.replay import StoredEpisode
from algorithms.segments import Segment, SegmentDraw
from algorithms.settings import FeedbackSettings


class PairDraw:
    """Draws pairs of single moments of a session, as `SegmentDraw` draws moments; no moment is drawn twice.

    RL-VLM-F draws both moments of a pair uniformly and apart from each other; so they are mostly of different episodes.
    """

    def __init__(
        self, episodes: Sequence[StoredEpisode], settings: FeedbackSettings, since_index: int, rng: np.random.Generator
    ) -> None:
        """As `SegmentDraw`, whose segments are to be single frames."""
        self._moments = SegmentDraw(episodes, settings, since_index, rng)
        self._rng = rng

    def draw(self, num_pairs: int) -> list[Segment]:
        """Pairs that have not been drawn yet, each with the indices of its two moments; fewer than `num_pairs`, or
        none, if there are no more. A pair's episode is that of its second moment."""
        moments = self._moments.draw(2 * num_pairs)
        # Moments come sorted: the newest first, then one of each episode.
        mixed = [moments[place] for place in self._rng.permutation(len(moments))]
        return [
            Segment(second.episode_id, np.concatenate([first.indices, second.indices]))
            for first, second in zip(mixed[0::2], mixed[1::2], strict=False)
        ]
