"""Percentages of completion of shuffled frames: GVL (Ma et al. 2024, arXiv 2411.04549), asked of the rating server.

The paper lets the model describe each frame before it gives the percentage; here it answers with the numbers alone.
"""

from collections.abc import Sequence

import numpy as np

from actors.rating.backend import Needs
from actors.rating.labellers.labeller import Labeller, Labels, generator_of, labels_of_values, whole_frames
from actors.rating.labellers.settings import GvlLabeller
from algorithms.progress import PERCENT, ProgressRequest, interpolated, spread
from algorithms.progress_prompts import percentages_schema
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory


class Gvl(Labeller):
    """A frame's value is its percentage; the first frame, which is the anchor, has 0."""

    full_score = float(PERCENT)

    def __init__(self, settings: GvlLabeller) -> None:
        self._settings = settings

    def questions(self, episode: Trajectory) -> list[ProgressRequest]:
        """One, or none if fewer than two frames can be read."""
        shown = self._shown(episode)
        if len(shown) < 2:
            return []
        note = "in random order" if self._settings.shuffled else "in time order"
        return [ProgressRequest(tuple(episode.frames[i] for i in shown), episode.instruction, "gvl", note)]

    def needs(self) -> Needs:
        """A list of percentages, and as many pictures at once."""
        number = self._settings.num_frames
        return Needs(schema=percentages_schema(number - 1), num_pictures=number)

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """Percentages put back into time order, and read off straight lines between the frames shown."""
        values = np.full(len(episode.frames), np.nan)
        if answers and answers[0] is not None:
            known = sorted(zip(self._shown(episode), (0.0, *answers[0].scores), strict=True))
            line = interpolated([place for place, _ in known], [value for _, value in known], len(values))
            whole = whole_frames(episode)
            values[whole] = line[whole]
        return labels_of_values(values, self._settings.reward)

    def asked_frames(self, num_actions: int) -> list[int]:
        """The frames shown but the anchor."""
        return spread(num_actions + 1, self._settings.num_frames)[1:]

    def _shown(self, episode: Trajectory) -> list[int]:
        """Indices of the frames in the order in which they are shown."""
        whole = whole_frames(episode)
        if not whole:
            return []
        first, *others = [whole[place] for place in spread(len(whole), self._settings.num_frames)]
        if self._settings.shuffled:
            generator_of(self._settings.seed, episode.episode_id).shuffle(others)
        return [first, *others]
