"""What a study puts in the place of a rater's answers: the true stage, and mistakes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from actors.worlds.families import family_of
from algorithms.mistakes import mistaken
from algorithms.ratings import Rating, RatingFailure
from algorithms.scales import CANNOT_TELL
from orchestrator.online.settings import OnlineExperiment


def altered(
    experiment: OnlineExperiment,
    outcomes: Sequence[Rating | RatingFailure],
    observations: np.ndarray,
    env_returns: np.ndarray,
) -> list[Rating | RatingFailure]:
    """`outcomes` as the run is to take them; what was answered is in the store as it was.

    `observations` [N, F, observation] are what was seen at each answer's frames, and `env_returns` float32 [N, F] what
    the episode had been paid by then. Failures stay failures.
    """
    feedback = experiment.feedback
    told = list(outcomes)
    if feedback.control == "true_stage":
        levels = family_of(experiment.task).levels(
            experiment.task, observations[:, -1], env_returns[:, -1], feedback.num_asked
        )
        assert levels is not None, "the settings refuse a task whose stages are not known"
        told = [
            replace(one, rating=int(level), probabilities=()) if isinstance(one, Rating) and level >= 0 else one
            for one, level in zip(told, levels, strict=True)
        ]
    if feedback.mistakes.share:
        num_levels = CANNOT_TELL if experiment.compares else feedback.num_asked
        told = [
            mistaken(one, feedback.mistakes, num_levels, experiment.seed) if isinstance(one, Rating) else one
            for one in told
        ]
    return told
