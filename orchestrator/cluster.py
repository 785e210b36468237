"""Ray: connecting to it, checking that everything fits, and turning plain classes into actors. Only here."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import ray

from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.vllm_engine import engine_environment
from actors.reward.learner import RewardLearner
from actors.rollout.worker import RolloutWorker
from orchestrator.errors import SettingsError
from orchestrator.settings import Experiment

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Each process computes on one thread: with more, the processes of one machine fight for its cores."""


def connect(demands: Sequence[dict[str, float]]) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine, and check that `demands` fit.

    On one machine processors are a promise, not a partition, so a local Ray promises at least as many as the actors
    ask for; a small machine then shares its cores among them.
    """
    if not ray.is_initialized():
        for name in ("ray", "ray.rllib", "ray.tune"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # An actor without GPUs keeps the variables that hide them as they are; unsaid, Ray warns of it in each run.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not os.environ.get("RAY_ADDRESS"):
            asked = int(sum(demand.get("CPU", 0.0) for demand in demands)) + 1
            options |= {"num_cpus": max(asked, os.cpu_count() or 1), "include_dashboard": False}
        ray.init(**options)
    check_placement(demands)


def check_placement(demands: Sequence[dict[str, float]]) -> None:
    """Raise SettingsError, naming what is missing, if the cluster's nodes can never hold `demands`."""
    total = ray.cluster_resources()
    for resource in sorted({name for demand in demands for name in demand}):
        asked = sum(demand.get(resource, 0.0) for demand in demands)
        if asked > total.get(resource, 0.0):
            raise SettingsError(
                f"The cluster has {total.get(resource, 0.0):g} {resource}, the settings need {asked:g}: "
                "add nodes, or lower num_workers, num_replicas, num_cpus, num_gpus or resources in the settings"
            )


def worker_demand(experiment: Experiment) -> dict[str, float]:
    """Ray resources of one rollout worker."""
    return {"CPU": experiment.rollout.num_cpus, **experiment.rollout.resources}


def replica_demand(rater: RaterSettings) -> dict[str, float]:
    """Ray resources of one rating server; a client of an endpoint takes a share of a processor only."""
    if rater.endpoint:
        return {"CPU": 0.1}
    num_gpus = rater.num_gpus
    if num_gpus is None:
        num_gpus = float(rater.tensor_parallel_size) if _has_gpus() else 0.0
    return {"CPU": rater.num_cpus, **({"GPU": num_gpus} if num_gpus else {}), **rater.resources}


def learner_demand(experiment: Experiment) -> dict[str, float]:
    """Ray resources of the reward-model learner."""
    num_gpus = experiment.reward_model.num_gpus
    return {"CPU": 1.0, **({"GPU": num_gpus} if num_gpus else {})}


def demands_of(experiment: Experiment) -> list[dict[str, float]]:
    """Everything that a run asks of the cluster beside its driver."""
    return [
        *[worker_demand(experiment)] * experiment.rollout.num_workers,
        *[replica_demand(experiment.rater)] * experiment.rater.num_replicas,
        learner_demand(experiment),
    ]


def start_rollout_workers(experiment: Experiment) -> list[Any]:
    """One actor per rollout worker. A dead one is restarted by Ray; the caller sets its state again."""
    actor = ray.remote(RolloutWorker)
    options = _options(worker_demand(experiment), ONE_THREAD)
    return [
        actor.options(**options, max_restarts=-1).remote(experiment.task, experiment.rollout, experiment.seed, index)
        for index in range(experiment.rollout.num_workers)
    ]


def start_rating_servers(rater: RaterSettings) -> list[Any]:
    """One actor per replica; each starts its engine when `start` is called."""
    actor = ray.remote(RatingServer)
    options = _options(replica_demand(rater), ONE_THREAD | engine_environment())
    # Calls wait inside the server, which bounds the work; the actor itself must accept them all.
    return [
        actor.options(**options, max_concurrency=4 * rater.max_in_flight + 16).remote(rater)
        for _ in range(rater.num_replicas)
    ]


def start_reward_learner(experiment: Experiment, observation_size: int) -> Any:
    """The actor that holds the reward model."""
    actor = ray.remote(RewardLearner)
    return actor.options(**_options(learner_demand(experiment), ONE_THREAD)).remote(
        experiment.reward_model, experiment.feedback.num_ratings, observation_size, experiment.seed
    )


def _has_gpus() -> bool:
    return bool(ray.is_initialized() and ray.cluster_resources().get("GPU", 0.0))


def _options(demand: dict[str, float], environment: dict[str, str]) -> dict[str, Any]:
    custom = {name: amount for name, amount in demand.items() if name not in ("CPU", "GPU")}
    return {
        "num_cpus": demand.get("CPU", 0.0),
        "num_gpus": demand.get("GPU", 0.0),
        "resources": custom or None,
        "runtime_env": {"env_vars": environment},
    }
