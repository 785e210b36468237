"""Checks of an online run made before anything starts."""

from collections.abc import Sequence

import numpy as np

from actors.worlds.families import family_of
from actors.worlds.probing import probe_apart
from actors.worlds.world import WorldError, WorldSpec
from algorithms.images import encode_png
from algorithms.ratings import RatingRequest
from orchestrator.cluster.address import ray_address
from orchestrator.errors import SettingsError
from orchestrator.online.asking.known import known_canaries
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.rewards.functions import reward_function
from orchestrator.online.settings import OnlineExperiment
from orchestrator.settings import preflight
from orchestrator.settings.preflight import (
    check_context,
    check_model,
    check_opengl,
    check_similarity_model,
    check_writable,
)
from orchestrator.storage.locations import working_copy

REPLAY_BYTES_PER_STEP = 2_000
"""An agent step in the replay, and so in a checkpoint, takes at most this much."""
BLOCK_BYTES_PER_PIXEL = 0.4
"""Size of a step's frame in a block, generously: a running cheetah's takes 0.33."""
PNG_BYTES_PER_PIXEL = 1.5
"""Size of a lossless frame of these simulators, generously."""

ONLINE_CHANGEABLE = (
    "total_env_steps",
    "runs_folder",
    "ratings_folder",
    "evaluation",
    "checkpoint",
    "tracking",
    "feedback.budget",
    "feedback.canaries",
    "feedback.people",
    "feedback.tolerated_failure_share",
    "rollout.frames_memory_gb",
    "rollout.lost_timeout_s",
    "rollout.num_cpus",
    "rollout.num_gpus",
    "rollout.accelerator_type",
    "rollout.resources",
    "reward_model.frame_cache_gb",
    "reward_model.num_gpus",
    "reward_model.accelerator_type",
    "reward_model.resources",
    "similarity.num_gpus",
    "similarity.accelerator_type",
    "similarity.resources",
    "policy.num_gpus",
    "policy.accelerator_type",
    "policy.resources",
    "rater.endpoint",
    "rater.server",
    "rater.server_weight",
    "rater.num_replicas",
    "rater.max_in_flight",
    "rater.deadline_s",
    "rater.max_attempts",
    "rater.stall_timeout_s",
    "rater.start",
    "rater.start_timeout_s",
    "rater.tensor_parallel_size",
    "rater.gpu_memory_fraction",
    "rater.max_model_len",
    "rater.enforce_eager",
    "rater.cpu_kv_cache_gb",
    "rater.num_cpus",
    "rater.num_gpus",
    "rater.accelerator_type",
    "rater.resources",
)
"""Settings, or blocks of them, that a resumed run may change: they move the work or lengthen it, and change no result
that is there already."""

ONLINE_TAKEN_OVER = tuple(
    f"policy.{name}"
    for name in (
        "actor_learning_rate", "critic_learning_rate", "temperature_learning_rate", "discount", "tau", "batch_size",
        "target_update_interval", "updates_per_agent_step",
    )
) + tuple(
    f"reward_model.{name}"
    for name in (
        "loss", "preference_loss", "label_smoothing", "sharpness", "boundaries", "class_weights", "stratified",
        "learning_rate", "batch_size", "max_epochs", "min_epochs", "target_accuracy",
    )
)  # fmt: skip
"""Fields that a run can change when it goes on from a checkpoint; others shape networks or data."""


def check_online(experiments: Sequence[OnlineExperiment]) -> None:
    """Raise SettingsError, with the remedy, if this machine cannot run these, which share their folders."""
    check_raters(experiments)
    for experiment in experiments:
        known_canaries(experiment)
    for experiment in filter(lambda one: one.by_similarity, experiments):
        check_similarity_model(experiment.similarity)
    check_writable("runs_folder", experiments[0].runs_folder)
    if any(experiment.asks_rater for experiment in experiments):
        check_writable("ratings_folder", experiments[0].ratings_folder)
    check_disk(experiments)
    check_reward_functions(experiments)
    # With a cluster worlds are made and frames drawn on other machines, which say themselves what they lack.
    if not ray_address():
        check_worlds(experiments)


def check_worlds(experiments: Sequence[OnlineExperiment]) -> None:
    """Raise SettingsError, with the remedy, if a task's world cannot be had here, or does not fit the other settings.

    A world that its settings do not tell all about is tried for an episode, once for each task.
    """
    tried: dict[str, WorldSpec] = {}
    for experiment in experiments:
        task = experiment.task
        family, key = family_of(task), task.model_dump_json()
        if family.uses_opengl:
            check_opengl()
        if family.known_spec(task) is not None and not family.tried_first:
            continue
        if key not in tried:
            try:
                tried[key] = probe_apart(task)
            except WorldError as error:
                raise SettingsError(str(error)) from error
        problem = experiment.misfit(tried[key])
        if problem:
            raise SettingsError(problem)


def check_reward_functions(experiments: Sequence[OnlineExperiment]) -> None:
    """Raise SettingsError, with the remedy, if a reward's function cannot be imported."""
    for source in {experiment.reward.source for experiment in experiments if experiment.is_privileged}:
        try:
            reward_function(source)
        except WorldError as error:
            raise SettingsError(str(error)) from error


def check_raters(experiments: Sequence[OnlineExperiment]) -> None:
    """Raise SettingsError, with the remedy, if a model is not there, or cannot hold a question. Writes nothing."""
    experiments = [experiment for experiment in experiments if experiment.asks_rater]
    for rater in {experiment.rater.model_dump_json(): experiment.rater for experiment in experiments}.values():
        if rater.endpoint is None:
            check_model(rater)
    for experiment in experiments:
        less = ", task.image_px or feedback.segment.num_frames"
        check_context(experiment.rater, [a_question(experiment)], "questions", less)


def a_question(experiment: OnlineExperiment) -> RatingRequest:
    """As all that the run will ask, but for the pixels."""
    maker = QuestionMaker(experiment)
    blank = encode_png(np.zeros((experiment.task.image_px, experiment.task.image_px, 3), dtype=np.uint8))
    return maker.question([blank] * experiment.num_shown, 0, None).request


def check_disk(experiments: Sequence[OnlineExperiment]) -> None:
    """Raise SettingsError if a disk has less free space than the run, or several together, may fill."""
    preflight.check_disk(
        (
            size
            for experiment in experiments
            for size in (
                (working_copy(experiment.run_folder).parent, checkpoint_bytes(experiment)),
                (working_copy(experiment.run_folder).parent, step_frame_bytes(experiment)),
                (experiment.ratings_folder, rating_bytes(experiment)),
            )
        ),
        "set runs_folder and ratings_folder to another disk, or lower policy.replay_capacity, checkpoint.keep or "
        "feedback.budget",
    )


def checkpoint_bytes(experiment: OnlineExperiment) -> float:
    """What a run's checkpoints take at most: those kept, and the one being written."""
    agent_steps = experiment.total_env_steps / experiment.task.action_repeat
    steps = min(agent_steps, experiment.policy.replay_capacity)
    shape = experiment.policy.pixel_shape
    # Pictures of a policy that sees them are kept as they are.
    per_step = REPLAY_BYTES_PER_STEP + (0 if shape is None else shape.frame_bytes)
    return per_step * steps * (experiment.checkpoint.keep + 1)


def step_frame_bytes(experiment: OnlineExperiment) -> float:
    """What the frames of steps take at most, of worlds that may not be able to draw them again."""
    known = family_of(experiment.task).known_spec(experiment.task)
    if not experiment.learns_reward or (known is not None and known.draws_again):
        return 0.0
    steps = min(experiment.total_env_steps / experiment.task.action_repeat, experiment.policy.replay_capacity)
    return min(1e9 * experiment.rollout.frames_disk_gb, BLOCK_BYTES_PER_PIXEL * steps * experiment.task.image_px**2)


def rating_bytes(experiment: OnlineExperiment) -> float:
    """What the frames of all ratings take."""
    if not experiment.asks_rater:
        return 0.0
    num_frames = experiment.feedback.budget * experiment.num_shown
    return PNG_BYTES_PER_PIXEL * num_frames * experiment.task.image_px**2
