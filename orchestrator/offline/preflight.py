"""Checks of an offline run made before anything starts."""

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.offline.chains.chain_worlds import world_of
from orchestrator.offline.data import check_actions, check_labeller
from orchestrator.offline.held_out.split import draw_held_out, read_successes
from orchestrator.offline.observation_cache import observation_shape
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.settings.preflight import check_writable


def check_offline(experiment: OfflineExperiment) -> None:
    """Raise SettingsError, with the remedy, if this machine or the data set does not fit `experiment`."""
    check_writable("runs_folder", experiment.runs_folder)
    dataset = TrajectoryDataset(experiment.data.path)
    check_writable("data.path", experiment.data.path)
    check_labeller(dataset, experiment.data.reward.labeller)
    # First, since a set of another source is to be seen in another way too.
    world = world_of(experiment, dataset) if experiment.chains is not None else None
    observation_shape(dataset, experiment.data)
    if world is not None:
        world.check()
    check_actions(dataset)
    if experiment.held_out is not None:
        draw_held_out(dataset.folder, dataset.info.source, read_successes(dataset), experiment.held_out)
