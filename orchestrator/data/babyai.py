"""`likert data babyai`: demonstrations of chains of sub-tasks."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import AUDITS, Demonstration, demonstrate, random_share
from actors.babyai.settings import ACTION_NAMES, MAX_CHAIN, BabyAISettings, Split
from actors.babyai.skills import skills_of
from algorithms.settings import Fraction, PositiveInt, Settings
from algorithms.trajectories import Trajectory
from orchestrator.data.schema import BABYAI_RULE, ActionSpace, DatasetInfo, Origin
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.screen.work_progress import WorkProgress

ATTEMPTS = 100
"""Levels that are tried for one episode; the expert fails in one of ten at most."""
EPISODES_PER_TASK = 4
"""Episodes that one call to a worker makes."""

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Something like `map`, which may call the function in other processes; results come in order."""


class BabyAIDataSettings(Settings):
    """A set of BabyAI demonstrations."""

    num_episodes: PositiveInt = 1_000
    """Chains that are demonstrated to their end."""
    unit: Literal["chain", "subtask"] = "chain"
    """`chain`: a trajectory for each chain, with the whole chain as its instruction. `subtask`: a trajectory for each
    sub-task of each chain, with its own instruction, as in SPRINT's and RG-VLM's data."""
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


def generate(settings: BabyAIDataSettings, folder: Path, spread: Spread = map) -> DatasetInfo:
    """Write the set into `folder`, or go on with it. The same settings make the same files, however it is spread."""
    with DatasetWriter(folder, dataset_info(settings, folder.name)) as writer:
        # The last chain that is held may lack sub-tasks.
        chain = max((_number_of(settings, name) for name in writer.held), default=0)
        with WorkProgress(folder.name, settings.num_episodes, "chains") as progress:
            for done, trajectories in enumerate(_chains(settings, chain, spread), start=chain + 1):
                for trajectory in trajectories:
                    writer.write(trajectory)
                progress.update(done, free=chain)
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
        origin=Origin(rule=BABYAI_RULE),
    )


def make_episode(settings: BabyAIDataSettings, number: int) -> Trajectory:
    """The chain of that number, demonstrated: the first of its own levels that the expert completes.

    Raises SettingsError if it completes none.
    """
    environment = ChainEnvironment(settings.babyai, settings.seed)
    length = _length_of(settings, number)
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


def trajectories_of(settings: BabyAIDataSettings, number: int) -> list[Trajectory]:
    """What the set holds of the chain of that number. Raises SettingsError as `make_episode` does."""
    chain = make_episode(settings, number)
    return skills_of(chain) if settings.unit == "subtask" else [chain]


def task_of(settings: BabyAIDataSettings, episode_id: str) -> ChainTask:
    """The task that an episode shows, or shows a part of."""
    index = int(episode_id.removeprefix(f"{settings.split}-").split("-")[0])
    return ChainTask(settings.split, index, _length_of(settings, index // ATTEMPTS))


def _number_of(settings: BabyAIDataSettings, episode_id: str) -> int:
    """Number of the chain that an episode shows, or shows a part of."""
    return task_of(settings, episode_id).index // ATTEMPTS


def _length_of(settings: BabyAIDataSettings, number: int) -> int:
    """Sub-tasks of the chain of that number."""
    return settings.chain_lengths[number % len(settings.chain_lengths)]


def _chains(settings: BabyAIDataSettings, first: int, spread: Spread) -> Iterator[list[Trajectory]]:
    """The trajectories of each chain from number `first` on, in order."""
    numbers = range(first, settings.num_episodes)
    chunks = (list(numbers[start : start + EPISODES_PER_TASK]) for start in range(0, len(numbers), EPISODES_PER_TASK))
    for chains in spread(partial(_make_episodes, settings), chunks):
        yield from chains


def _make_episodes(settings: BabyAIDataSettings, numbers: list[int]) -> list[list[Trajectory]]:
    return [trajectories_of(settings, number) for number in numbers]
