"""Scores by the simulator's own account: what a rater that is always right, or wrong so often, would say."""

from collections.abc import Sequence

import numpy as np

from actors.rating.labellers.labeller import Labeller, Labels, generator_of
from actors.rating.labellers.settings import TruthLabeller
from algorithms.scores import MAX_SCORE, Scores
from algorithms.trajectories import Trajectory

AUDIT = "contribution"
"""The audit column that it reads: 1, 0 or -1 for an action that helped, did neither, or led away."""
SCALES = {"binary": (0, MAX_SCORE), "graded": (0, MAX_SCORE / 2, MAX_SCORE)}


class TruthScores(Labeller):
    """What each action did, as scores from 0 to 10."""

    full_score = MAX_SCORE
    needs_frames = False

    def __init__(self, settings: TruthLabeller) -> None:
        self._settings = settings
        self._scale = np.array(SCALES[settings.scale], dtype=np.float64)

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """No question is asked. The same actions are wrong for a larger share as for a smaller one, and more."""
        helped = episode.audits[AUDIT].astype(np.int64)
        places = helped + 1 if len(self._scale) == 3 else (helped > 0).astype(np.int64)
        rng = generator_of(self._settings.seed, episode.episode_id)
        drawn, steps = rng.random(len(episode)), rng.integers(1, len(self._scale), len(episode))
        wrong = drawn < self._settings.wrong_share
        scores = self._scale[np.where(wrong, (places + steps) % len(self._scale), places)]
        return Labels(scores, scores)
