"""Checks of an offline run made before anything starts."""

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.offline.chain_worlds import world_of
from orchestrator.offline.data import check_labeller
from orchestrator.offline.observation_cache import observation_shape
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.settings.preflight import check_same_run, check_writable

OFFLINE_CHANGEABLE = (
    "total_updates",
    "runs_folder",
    "checkpoint",
    "tracking",
    "evaluation.num_workers",
    "evaluation.thor.build",
    "evaluation.thor.timeout_s",
    "policy.num_gpus",
)
"""Settings that a resumed offline run may change: they move the work or lengthen it, and change no result that is there
already."""


def check_offline(experiment: OfflineExperiment) -> None:
    """Raise SettingsError, with the remedy, if this machine or the data set does not fit `experiment`."""
    check_writable("runs_folder", experiment.runs_folder)
    check_same_run(experiment, OFFLINE_CHANGEABLE)
    dataset = TrajectoryDataset(experiment.data.path)
    check_writable("data.path", experiment.data.path)
    check_labeller(dataset, experiment.data.reward.labeller)
    observation_shape(dataset, experiment.data)
    world_of(experiment, dataset).check()
