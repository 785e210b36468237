"""Checks made before anything starts, so that a run fails in its first seconds or not for a reason known by then."""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.rating.models import resolve_model
from actors.rollout.opengl import chosen_backend
from orchestrator.errors import SettingsError
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.layout import SETTINGS_FILE
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import AnyExperiment, load_stored_experiment
from orchestrator.storage.locations import RemotePath, StorageFailing, working_copy

REPLAY_BYTES_PER_STEP = 2_000
"""An agent step in the replay, and so in a checkpoint, takes at most this much."""
PNG_BYTES_PER_PIXEL = 1.5
"""Size of a lossless frame of these simulators, generously."""

CHANGEABLE = (
    "total_env_steps",
    "runs_folder",
    "ratings_folder",
    "evaluation",
    "checkpoint",
    "tracking",
    "feedback.budget",
    "feedback.tolerated_failure_share",
    "rollout.lost_timeout_s",
    "rollout.num_cpus",
    "rollout.num_gpus",
    "rollout.accelerator_type",
    "rollout.resources",
    "reward_model.frame_cache_gb",
    "reward_model.num_gpus",
    "reward_model.accelerator_type",
    "reward_model.resources",
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


def check_machine(experiment: AnyExperiment) -> None:
    """Raise SettingsError, with the remedy, if this machine cannot run `experiment`."""
    if isinstance(experiment, OfflineExperiment):
        from orchestrator.offline.preflight import check_offline

        check_offline(experiment)
        return
    if experiment.rater.endpoint is None:
        check_model(experiment)
    check_writable("runs_folder", experiment.runs_folder)
    check_writable("ratings_folder", experiment.ratings_folder)
    check_same_run(experiment)
    check_disk(experiment)
    # With a cluster the frames are drawn on other machines, which say themselves what they lack.
    if not os.environ.get("RAY_ADDRESS"):
        check_opengl()


def check_writable(name: str, folder: Path | RemotePath) -> None:
    """Raise SettingsError if `folder` cannot be made, or files in it cannot."""
    probe = folder / f".probe-{uuid.uuid4().hex}.tmp"
    try:
        if isinstance(probe, RemotePath):
            probe.write_bytes(b"")
            probe.unlink()
            return
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"{name} = {str(folder)!r}: must be a folder that can be written to ({error.strerror}); "
            "choose another, or change its rights"
        ) from None
    except StorageFailing as error:
        raise SettingsError(f"{name} = {str(folder)!r}: must be a folder that can be written to: {error}") from None


def check_same_run(experiment: AnyExperiment, changeable: Sequence[str] = CHANGEABLE) -> None:
    """Raise SettingsError if the run's folder was made by other settings: its results would mix two experiments."""
    path = experiment.run_folder / SETTINGS_FILE
    if not path.exists():
        return
    differences = [
        f"{name} was {old!r} and is {new!r}"
        for name, old, new in _differences(load_stored_experiment(path).model_dump(), experiment.model_dump())
        if not any(name == free or name.startswith(f"{free}.") for free in changeable)
    ]
    if differences:
        raise SettingsError(
            f"run folder {experiment.run_folder} belongs to other settings ({'; '.join(differences)}). "
            "Give the experiment another `name`, or delete that folder"
        )


def check_disk(*experiments: Experiment) -> None:
    """Raise SettingsError if a disk has less free space than the run, or several together, may fill."""
    demands: dict[int, tuple[Path, float]] = {}
    sizes = [
        pair
        for experiment in experiments
        for pair in (
            (working_copy(experiment.run_folder).parent, checkpoint_bytes(experiment)),
            (experiment.ratings_folder, rating_bytes(experiment)),
        )
        if isinstance(pair[0], Path)
    ]
    for folder, size in sizes:
        folder.mkdir(parents=True, exist_ok=True)
        # The two folders may share a disk.
        disk = folder.stat().st_dev
        demands[disk] = (folder, size + demands.get(disk, (folder, 0.0))[1])
    for folder, size in demands.values():
        free = shutil.disk_usage(folder).free
        if free < size:
            raise SettingsError(
                f"the disk of {folder} has {free / 1e9:.1f} GB free and this run may write {size / 1e9:.1f} GB: make "
                "room, set runs_folder and ratings_folder to another disk, or lower policy.replay_capacity, "
                "checkpoint.keep or feedback.budget"
            )


def checkpoint_bytes(experiment: Experiment) -> float:
    """What a run's checkpoints take at most: those kept, and the one being written."""
    agent_steps = experiment.total_env_steps / experiment.task.action_repeat
    steps = min(agent_steps, experiment.policy.replay_capacity)
    return REPLAY_BYTES_PER_STEP * steps * (experiment.checkpoint.keep + 1)


def rating_bytes(experiment: Experiment) -> float:
    """What the frames of all ratings take."""
    num_frames = experiment.feedback.budget * experiment.feedback.segment.num_frames
    return PNG_BYTES_PER_PIXEL * num_frames * experiment.task.image_px**2


def check_model(experiment: Experiment) -> None:
    """Raise SettingsError if the rater's weights cannot be found, or are of a kind that is not served."""
    try:
        resolve_model(experiment.rater)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def check_opengl() -> None:
    """Raise SettingsError, naming the packages, if frames cannot be drawn."""
    try:
        chosen_backend()
    except RuntimeError as error:
        raise SettingsError(str(error)) from None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    differences = []
    for name in new:
        before, after = old.get(name), new[name]
        if isinstance(before, Mapping) and isinstance(after, Mapping) and before and after:
            differences += _differences(before, {**dict.fromkeys(before), **after}, f"{prefix}{name}.")
        elif before != after:
            differences.append((f"{prefix}{name}", before, after))
    return differences
