"""Checks of an offline run made before anything starts."""

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.offline.chains.chain_worlds import world_of
from orchestrator.offline.data import check_actions, check_labeller
from orchestrator.offline.observation_cache import observation_shape
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.settings.preflight import check_writable


def check_offline(experiment: OfflineExperiment) -> None:
    """Raise SettingsError, with the remedy, if this machine or the data set does not fit `experiment`."""
    check_writable("runs_folder", experiment.runs_folder)
    dataset = TrajectoryDataset(experiment.data.path)
    check_writable("data.path", experiment.data.path)
    check_labeller(dataset, experiment.data.reward.labeller)
    observation_shape(dataset, experiment.data)
    world_of(experiment, dataset).check()
    check_actions(dataset)
