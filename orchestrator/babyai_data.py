"""`likert data babyai`: demonstrations of chains of sub-tasks, made on all processors that Ray has."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import ray
from pydantic import Field, model_validator

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import AUDITS, Demonstration, demonstrate, random_share
from actors.babyai.settings import ACTION_NAMES, MAX_CHAIN, BabyAISettings, Split
from algorithms.settings import Fraction, PositiveInt, Settings
from algorithms.trajectories import Trajectory
from orchestrator import cluster
from orchestrator.dataset_schema import ActionSpace, DatasetInfo
from orchestrator.datasets import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.work_progress import WorkProgress

ATTEMPTS = 100
"""Levels that are tried for one episode; the expert fails in one of ten at most."""
EPISODES_PER_TASK = 4
"""Episodes that one call to a worker makes."""


class BabyAIDataSettings(Settings):
    """A set of BabyAI demonstrations."""

    num_episodes: PositiveInt = 1_000
    """Episodes; each completes its chain."""
    chain_lengths: tuple[Annotated[int, Field(ge=1, le=MAX_CHAIN)], ...] = (1, 2, 3, 4, 5, 6)
    """Sub-tasks in a chain; each length is as frequent as it is named here."""
    split: Split = "train"
    """`train`; `held_out`, seeds that `train` never draws; `held_out_pairs`, which name unseen objects too."""
    random_share: tuple[Fraction, Fraction] = (0.0, 0.3)
    """Each episode's share of random actions among the expert's is drawn evenly between these."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides every level and every action."""
    babyai: BabyAISettings = BabyAISettings()
    """Rooms, objects, sub-tasks and frames."""

    @model_validator(mode="after")
    def _in_order(self) -> "BabyAIDataSettings":
        if not self.chain_lengths:
            raise ValueError("chain_lengths is empty: name at least one number of sub-tasks")
        if self.random_share[0] > self.random_share[1]:
            raise ValueError(f"random_share {list(self.random_share)}: the first must not be above the second")
        return self


def generate(settings: BabyAIDataSettings, folder: Path) -> DatasetInfo:
    """Write the set into `folder`, or go on with it. The same settings make the same files, on any number of cores."""
    with DatasetWriter(folder, dataset_info(settings, folder.name)) as writer:
        first = writer.info.num_episodes
        cluster.connect([])
        try:
            with WorkProgress(folder.name, settings.num_episodes, "episodes") as progress:
                for done, trajectory in enumerate(_trajectories(settings, first), start=first + 1):
                    writer.write(trajectory)
                    progress.update(done, free=first)
        finally:
            ray.shutdown()
    return writer.info


def dataset_info(settings: BabyAIDataSettings, name: str) -> DatasetInfo:
    """The set's metadata before anything is written."""
    return DatasetInfo(
        name=name,
        source="babyai",
        actions=ActionSpace(kind="discrete", names=ACTION_NAMES),
        frame_px=settings.babyai.frame_px,
        symbolic_shape=settings.babyai.symbolic_shape,
        audits=AUDITS,
        settings=settings.model_dump(mode="json"),
    )


def make_episode(settings: BabyAIDataSettings, number: int) -> Trajectory:
    """The episode of that number: the first of its own levels that the expert completes.

    Raises SettingsError if it completes none.
    """
    environment = ChainEnvironment(settings.babyai, settings.seed)
    length = settings.chain_lengths[number % len(settings.chain_lengths)]
    for index in range(number * ATTEMPTS, (number + 1) * ATTEMPTS):
        share = random_share(settings.seed, index, settings.random_share)
        task = ChainTask(settings.split, index, length)
        trajectory = demonstrate(environment, settings.seed, Demonstration(task, share))
        if trajectory is not None:
            return trajectory
    raise SettingsError(
        f"the expert completed none of {ATTEMPTS} chains of {length} sub-tasks: lower random_share, or take more room "
        "and fewer objects"
    )


def _trajectories(settings: BabyAIDataSettings, first: int) -> Iterator[Trajectory]:
    """Episodes from number `first` on, in order; a bounded number of them is under way."""
    make = ray.remote(_make_episodes)
    numbers = range(first, settings.num_episodes)
    chunks = iter(
        [list(numbers[start : start + EPISODES_PER_TASK]) for start in range(0, len(numbers), EPISODES_PER_TASK)]
    )
    under_way: deque[Any] = deque()
    while True:
        while len(under_way) < 2 * int(ray.cluster_resources().get("CPU", 1)) + 1 and (chunk := next(chunks, None)):
            under_way.append(make.options(runtime_env={"env_vars": cluster.ONE_THREAD}).remote(settings, chunk))
        if not under_way:
            return
        try:
            yield from ray.get(under_way.popleft())
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, SettingsError) else error from None


def _make_episodes(settings: BabyAIDataSettings, numbers: list[int]) -> list[Trajectory]:
    return [make_episode(settings, number) for number in numbers]
