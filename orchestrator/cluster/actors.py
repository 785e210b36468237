"""Ray: connecting to it, and turning plain classes into actors. Only in this package are actors made."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import ray

from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.vllm_engine import engine_environment
from actors.reward.learner import RewardLearner
from actors.rollout.worker import RolloutWorker
from orchestrator.cluster.placement import (
    ACCELERATOR_TYPE,
    ONE_THREAD,
    Demand,
    actor_options,
    check_placement,
    demands_of,
    in_bundle,
    learner_demand,
    replica_demand,
    worker_demand,
)
from orchestrator.errors import SettingsError
from orchestrator.settings.experiment import Experiment

START_ATTEMPTS = 3
"""Ray gives up on a node whose agents need more than 15 s to start, which no setting changes (ray#65983); the machine
may be busy with something else just then.
"""
TOO_SLOW = "timed out during startup"
"""What Ray says then; it has no type of its own for it."""


def connect(demands: Sequence[Demand]) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine, and check that `demands` fit.

    On one machine processors and custom resources are promises, so a Ray of our own promises what the actors ask for:
    a small machine then shares its cores among them, and settings made for a cluster run unchanged.
    """
    if not ray.is_initialized():
        for name in ("ray", "ray.rllib", "ray.tune"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # An actor without GPUs keeps the variables that hide them as they are; unsaid, Ray warns of it in each run.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not os.environ.get("RAY_ADDRESS"):
            promised = _sum(demands)
            asked = math.ceil(promised.pop("CPU", 0.0)) + 1
            promised = {name: amount for name, amount in promised.items() if _is_promise(name)}
            own = {"num_cpus": max(asked, os.cpu_count() or 1), "resources": promised, "include_dashboard": False}
            # Unsaid, Ray would join one that somebody else has started on this machine.
            options |= own | {"address": "local"}
        patiently(ray.init, **options)
    check_placement(demands)


def start_rollout_worker(experiment: Experiment, index: int) -> Any:
    """The actor of one rollout worker. It is never restarted: one that dies is replaced by whoever drives it."""
    place = in_bundle(demands_of(experiment), "rollout worker", index)
    options = actor_options(worker_demand(experiment), ONE_THREAD) | place
    return (
        ray.remote(RolloutWorker).options(**options).remote(experiment.task, experiment.rollout, experiment.seed, index)
    )


def start_rating_servers(rater: RaterSettings) -> list[Any]:
    """One actor per replica, of a run's own; each starts its engine when `start` is called. Ray restarts dead ones."""
    actor = ray.remote(RatingServer)
    options = actor_options(replica_demand(rater), ONE_THREAD | engine_environment())
    # Calls wait inside the server, which bounds the work; the actor itself must accept them all.
    return [
        actor.options(**options, max_restarts=-1, max_concurrency=4 * rater.max_in_flight + 16).remote(rater)
        for _ in range(rater.num_replicas)
    ]


def start_reward_learner(experiment: Experiment, observation_size: int) -> Any:
    """The actor that holds the reward model. It is never restarted: whoever drives it replaces and restores it."""
    actor = ray.remote(RewardLearner)
    place = in_bundle(demands_of(experiment), "reward learner")
    return actor.options(**actor_options(learner_demand(experiment), ONE_THREAD), **place).remote(
        experiment.reward_model, experiment.feedback.num_ratings, observation_size, experiment.seed
    )


def patiently(init: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What `init`, which is `ray.init`, returns. What an attempt that failed has started ends with this process.

    Raises:
        SettingsError: Ray's agents were too slow in every attempt.
    """
    for _ in range(START_ATTEMPTS):
        try:
            return init(*arguments, **options)
        except Exception as error:
            if TOO_SLOW not in str(error):
                raise
    raise SettingsError(
        f"Ray did not start on this machine in {START_ATTEMPTS} attempts: its agents took too long. If the machine is "
        "busy, try again later; else raylet.err, among the logs of Ray's latest session, says more"
    )


def _sum(demands: Sequence[Demand]) -> dict[str, float]:
    total: dict[str, float] = {}
    for demand in demands:
        for name, amount in demand.resources.items():
            total[name] = total.get(name, 0.0) + demand.count * amount
    return total


def _is_promise(name: str) -> bool:
    """GPUs and their kinds are there or not; all else is a name."""
    return name != "GPU" and not name.startswith(ACCELERATOR_TYPE)
