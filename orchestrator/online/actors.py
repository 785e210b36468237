"""Making the actors of an online run; `demands` says what they ask of the cluster."""

from typing import Any

from actors.rating.similarity.model import SimilarityModel
from actors.reward.learner import RewardLearner
from actors.rollout.worker import RolloutWorker
from actors.worlds.world import WorldSpec
from algorithms.language_networks import policy_shape
from algorithms.pixel_frames import PixelShape
from orchestrator.cluster.actors import actor_class
from orchestrator.cluster.placement import in_bundle
from orchestrator.online.demands import (
    LEARNER,
    SIMILARITY,
    WORKER,
    learner_demand,
    online_demands,
    similarity_demand,
    worker_demand,
)
from orchestrator.online.settings import OnlineExperiment


def start_rollout_worker(experiment: OnlineExperiment, index: int) -> Any:
    """The actor of one rollout worker. It is never restarted: one that dies is replaced by whoever drives it."""
    place = in_bundle(online_demands(experiment), WORKER, index)
    return actor_class(RolloutWorker, worker_demand(experiment), **place).remote(
        experiment.task, experiment.rollout, experiment.seed, index, experiment.policy.pixel_shape
    )


def start_reward_learner(experiment: OnlineExperiment, world: WorldSpec) -> Any:
    """The actor that holds the reward model. It is never restarted: whoever drives it replaces and restores it."""
    place = in_bundle(online_demands(experiment), LEARNER)
    return actor_class(RewardLearner, learner_demand(experiment), **place).remote(
        *reward_learner_arguments(experiment, world)
    )


def start_similarity_model(experiment: OnlineExperiment) -> Any:
    """The actor that compares pictures with sentences. It is never restarted: whoever drives it replaces it."""
    place = in_bundle(online_demands(experiment), SIMILARITY)
    return actor_class(SimilarityModel, similarity_demand(experiment), **place).remote(
        experiment.similarity, experiment.similarity.baseline or experiment.task.scene
    )


def reward_learner_arguments(experiment: OnlineExperiment, world: WorldSpec) -> tuple[Any, ...]:
    """What a `RewardLearner` is made with. Where episodes have instructions of their own it reads them, by the same
    ids of words as the policy."""
    model, policy = experiment.reward_model, experiment.policy
    reads = None
    if world.says_instruction:
        seen = PixelShape(model.image_px, 1, (), 0, 0, sees_state=False) if model.input == "frame" else None
        reads = policy_shape(world, seen, policy.num_words, policy.instruction_length)
    num_ratings = experiment.num_learned
    return model, num_ratings, world.observation_size, experiment.seed, reads, experiment.compares
