"""Making a run's source of rewards: the only place that knows all of them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from actors.worlds.world import WorldSpec
from orchestrator.online.asking.rater import Ratings
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.reward_training import RewardTraining
from orchestrator.online.rewards.comparing import Comparing
from orchestrator.online.rewards.functions import reward_function
from orchestrator.online.rewards.given import GivenReward
from orchestrator.online.rewards.rated import RatedReward
from orchestrator.online.rewards.scored import ScoredReward
from orchestrator.online.rewards.similar import similarity_reward
from orchestrator.online.rewards.source import RewardSource
from orchestrator.online.rollouts import Rollouts
from orchestrator.online.sessions import FeedbackSessions
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.frame_archive import FrameArchive
from orchestrator.runs.layout import STEP_FRAMES_FOLDER

_SEGMENTS = 7
"""Sets the random stream that selects segments apart from those of the other parts."""


def make_reward(
    experiment: OnlineExperiment,
    start_learner: Callable[[], Any],
    world: WorldSpec,
    rollouts: Rollouts,
    ratings: Ratings | None,
    learner_needs: str = "a processor",
    start_model: Callable[[], Any] | None = None,
) -> RewardSource:
    """The source that `experiment.reward` names. `start_learner()` makes a new actor if a reward model learns, and
    `start_model()` if a model compares; `learner_needs` says in words what either needs of a node.

    Raises SettingsError if a model that compares cannot be loaded.
    """
    if experiment.is_privileged:
        return GivenReward(reward_function(experiment.reward.source))
    frames = StepFrames(world, rollouts, experiment.reward_px, step_archive(experiment))
    if experiment.by_similarity:
        assert start_model is not None, "whoever compares says how its model is started"
        return similarity_reward(
            experiment, frames, Comparing(start_model, learner_needs, experiment.rollout.lost_timeout_s)
        )
    assert ratings is not None, "whoever asks a rater has one"
    if experiment.reward.source == "scores":
        return ScoredReward(experiment, frames, ratings.service)
    rng = np.random.default_rng(np.random.SeedSequence(experiment.seed, spawn_key=(_SEGMENTS,)))
    sessions = FeedbackSessions(experiment, frames, ratings.service, ratings.store, rng)
    learner = RewardTraining(start_learner, sessions.first_inputs, learner_needs, experiment.rollout.lost_timeout_s)
    return RatedReward(experiment, world, frames, learner, sessions)


def step_archive(experiment: OnlineExperiment) -> FrameArchive:
    """Where the run keeps frames that its world cannot draw again. Nothing is written before there are some."""
    settings = experiment.rollout
    return FrameArchive(
        experiment.working_folder / STEP_FRAMES_FOLDER,
        memory_bytes=int(settings.frames_memory_gb * 1e9),
        disk_bytes=int(settings.frames_disk_gb * 1e9),
        checkpoints_kept=experiment.checkpoint.keep,
    )
