"""Rewards without content: the control that shows whether what a labeller says helps, or only that it says much."""

from collections.abc import Sequence

import numpy as np

from actors.rating.labellers.labeller import Labeller, Labels, generator_of
from actors.rating.labellers.settings import RandomLabeller
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory


class RandomRewards(Labeller):
    """Uniform between 0 and twice another labeller's mean, for the actions which that one labelled."""

    needs_frames = False

    def __init__(self, settings: RandomLabeller, mean: float) -> None:
        """`mean`: of the rewards of `settings.mean_of`."""
        self._settings = settings
        self._mean = mean

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """No question is asked."""
        rewards = 2 * self._mean * generator_of(self._settings.seed, episode.episode_id).random(len(episode))
        rewards[np.isnan(episode.rewards[self._settings.mean_of])] = np.nan
        return Labels(rewards, rewards)
