"""The simulators that an offline run's policy can be judged in, and how tasks of each come about."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import gymnasium

from actors.babyai.environment import ChainEnvironment
from actors.thor.controller import ThorUnavailable, check_thor
from actors.thor.environment import ThorEnvironment
from actors.thor.settings import ACTION_NAMES, FRAME_PX
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.offline.chains.alfred_tasks import demonstration_files, plan_thor_tasks
from orchestrator.offline.chains.chain_tasks import ChainTasks, babyai_settings, plan_tasks
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings
from orchestrator.offline.observation_cache import observation_shape
from orchestrator.offline.settings import OfflineExperiment


class ChainWorld(Protocol):
    """A simulator with chains of sub-tasks."""

    at_once: int | None
    """Environments that one worker may hold; None for any number."""

    def check(self) -> None:
        """Raise SettingsError, with the remedy, if the simulator cannot run here or does not fit the experiment."""

    def plan(self, episode_ids: tuple[str, ...]) -> ChainTasks:
        """Draw the tasks; `episode_ids` are those learned from. Raises SettingsError if there are too few."""

    def maker(self, objects: tuple[str, ...]) -> Callable[[], gymnasium.Env]:
        """What makes an environment; it can be sent to another process. `objects` are the policy's object classes."""


def world_of(experiment: OfflineExperiment, dataset: TrajectoryDataset) -> ChainWorld:
    """The simulator that `evaluation.environment` names. Raises SettingsError if the data set is of another."""
    settings = experiment.chains
    assert settings is not None
    if settings.environment == "thor":
        return AlfredWorld(experiment, settings, dataset)
    return BabyAIWorld(experiment, settings, dataset.info)


class BabyAIWorld:
    """The levels of the data set, entered again."""

    at_once = None

    def __init__(self, experiment: OfflineExperiment, settings: ChainEvaluationSettings, info: DatasetInfo) -> None:
        self._experiment = experiment
        self._settings = settings
        self._made = babyai_settings(info)

    def check(self) -> None:
        settings = self._settings
        missing = set(settings.chain_lengths) - set(self._made.chain_lengths)
        if settings.split == self._made.split and missing:
            raise SettingsError(
                f"evaluation.chain_lengths has {', '.join(map(str, sorted(missing)))}: the data set has chains of "
                f"{', '.join(map(str, sorted(set(self._made.chain_lengths))))}; leave them out, or set "
                "evaluation.split to held_out"
            )

    def plan(self, episode_ids: tuple[str, ...]) -> ChainTasks:
        return plan_tasks(self._made, episode_ids, self._settings)

    def maker(self, objects: tuple[str, ...]) -> Callable[[], gymnasium.Env]:
        frames = self._experiment.data.observation == "frame"
        return partial(ChainEnvironment, self._made.babyai, self._made.seed, with_frames=frames, measures=False)


class AlfredWorld:
    """Scenes of ALFRED's demonstrations in AI2-THOR. A worker holds one: each is a process that draws."""

    at_once = 1

    def __init__(
        self, experiment: OfflineExperiment, settings: ChainEvaluationSettings, dataset: TrajectoryDataset
    ) -> None:
        self._experiment = experiment
        self._settings = settings
        self._dataset = dataset
        self._thor = settings.thor

    def check(self) -> None:
        info, data = self._dataset.info, self._experiment.data
        if info.actions.names != ACTION_NAMES or not info.has_action_objects:
            raise SettingsError(
                f"evaluation.environment = 'thor': {self._dataset.folder} is from {info.source!r} and has other "
                "actions than ALFRED's twelve with their objects; use a set of `likert data alfred`"
            )
        if data.observation != "frame":
            raise SettingsError(f"data.observation = {data.observation!r}: AI2-THOR shows pictures only; use frame")
        height, width, _ = observation_shape(self._dataset, data)
        if height != width or height > FRAME_PX:
            raise SettingsError(
                f"data.image_px: the policy would see {height} x {width} pixels, and AI2-THOR's frames of {FRAME_PX} x "
                f"{FRAME_PX} can be made smaller squares only; set it to such as 100"
            )
        demonstration_files(self._thor.source)
        try:
            check_thor(self._thor)
        except ThorUnavailable as error:
            raise SettingsError(str(error)) from None

    def plan(self, episode_ids: tuple[str, ...]) -> ChainTasks:
        return plan_thor_tasks(self._thor.source, self._settings)

    def maker(self, objects: tuple[str, ...]) -> Callable[[], gymnasium.Env]:
        return partial(ThorEnvironment, self._thor, objects)
