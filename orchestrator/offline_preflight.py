"""Checks of an offline run made before anything starts."""

from orchestrator.chain_tasks import babyai_settings
from orchestrator.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.observation_cache import observation_shape
from orchestrator.offline_data import check_labeller
from orchestrator.offline_settings import OfflineExperiment
from orchestrator.preflight import check_same_run, check_writable

OFFLINE_CHANGEABLE = (
    "total_updates",
    "runs_folder",
    "checkpoint",
    "tracking",
    "evaluation.num_workers",
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
    made = babyai_settings(dataset.info)
    if experiment.evaluation.split == made.split:
        missing = set(experiment.evaluation.chain_lengths) - set(made.chain_lengths)
        if missing:
            raise SettingsError(
                f"evaluation.chain_lengths has {', '.join(map(str, sorted(missing)))}: the data set has chains of "
                f"{', '.join(map(str, sorted(set(made.chain_lengths))))}; leave them out, or set evaluation.split to "
                "held_out"
            )
