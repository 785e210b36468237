"""Starting a run: everything it needs is made here, handed to the loop, and put away again."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import ray
import torch

from actors.rollout.settings import ACTION_SIZE, OBSERVATION_SIZE
from algorithms.policies import build_rated_sac
from orchestrator import cluster, shared_rater
from orchestrator.checkpoints import Checkpoints
from orchestrator.errors import LikertError, SettingsError
from orchestrator.online import OnlineLoop
from orchestrator.placement import as_text, demands_of, learner_demand, worker_demand
from orchestrator.progress import RunProgress
from orchestrator.rating_service import RatingService
from orchestrator.rating_store import RatingStore
from orchestrator.reward_training import RewardTraining
from orchestrator.rollouts import Rollouts
from orchestrator.run_folder import RunFolder
from orchestrator.run_layout import CHECKPOINTS_FOLDER
from orchestrator.sessions import FeedbackSessions
from orchestrator.settings import Experiment
from orchestrator.tracking import ParentRun, open_tracker

log = logging.getLogger(__name__)

_SEGMENTS = 7
"""Sets the random stream that selects segments apart from those of the other parts."""


def run_experiment(experiment: Experiment) -> None:
    """Run an experiment to its end, from its newest checkpoint if there is one.

    Raises SettingsError if the cluster or the model does not fit, and RatingsFailing if the rater fails.
    """
    with RunProgress(experiment.run_folder.name, experiment.total_env_steps) as progress:
        progress.update(phase="starting")
        cluster.connect(demands_of(experiment))
        try:
            run_on_cluster(experiment, progress)
        finally:
            ray.shutdown()


def run_on_cluster(experiment: Experiment, progress: RunProgress, parent: ParentRun | None = None) -> None:
    """`run_experiment` where Ray is connected; with `parent`, as a trial of a sweep that MLflow shows below it."""
    if not experiment.policy.num_gpus:
        # The policy learns in this process, beside the actors: one thread each.
        torch.set_num_threads(1)
    rater = experiment.rater
    servers = shared_rater.attach(rater) if rater.server else cluster.start_rating_servers(rater)
    store = RatingStore(experiment.ratings_folder)
    service = RatingService(store, servers, rater, experiment.run_folder.name)
    try:
        # The model loads while the rest is made.
        service.begin_start()
        loop = _make_loop(experiment, store, service)
        progress.update(phase="loading the rater")
        service.finish_start()
        checkpoints = Checkpoints(experiment.run_folder / CHECKPOINTS_FOLDER, experiment.checkpoint.keep)
        restored = _restore_newest(loop, checkpoints)
        with open_tracker(experiment, loop.progress.env_steps, parent) as tracker:
            folder = RunFolder(experiment, tracker, progress, checkpoints)
            if restored is not None:
                folder.note(f"going on from {restored}")
            loop.run(folder)
            for path in folder.save_figures():
                folder.note(f"figure: {path}")
    finally:
        service.close()


def _make_loop(experiment: Experiment, store: RatingStore, service: RatingService) -> OnlineLoop:
    reward_image_px = experiment.reward_model.image_px if experiment.reward_model.input == "frame" else None
    patience_s = experiment.rollout.lost_timeout_s
    rollouts = Rollouts(
        partial(cluster.start_rollout_worker, experiment),
        experiment.rollout.num_workers,
        reward_image_px,
        as_text(worker_demand(experiment)),
        patience_s,
    )
    rng = np.random.default_rng(np.random.SeedSequence(experiment.seed, spawn_key=(_SEGMENTS,)))
    sessions = FeedbackSessions(experiment, rollouts, service, store, rng)
    learner = RewardTraining(
        partial(cluster.start_reward_learner, experiment, OBSERVATION_SIZE),
        sessions.first_inputs,
        as_text(learner_demand(experiment)),
        patience_s,
    )
    policy = build_rated_sac(experiment.policy, OBSERVATION_SIZE, ACTION_SIZE, experiment.seed)
    return OnlineLoop(experiment, rollouts, policy, learner, sessions)


def _restore_newest(loop: OnlineLoop, checkpoints: Checkpoints) -> Path | None:
    """Go back to the newest checkpoint that can be read, and return it; None if there is none."""
    found = checkpoints.newest_first()
    for folder in found:
        try:
            loop.restore(folder)
        except LikertError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a damaged checkpoint, an older one may do.
            log.warning("checkpoint %s cannot be restored (%s: %s)", folder, type(error).__name__, error)
            continue
        # Else they would count among those kept, and push out one that can be read.
        for damaged in found[: found.index(folder)]:
            checkpoints.set_aside(damaged)
        return folder
    if found:
        raise SettingsError(
            f"none of the checkpoints in {found[0].parent} can be restored; the warnings above say why. "
            "Delete the run's folder to start again: the ratings stay in the store and are not asked again"
        )
    return None
