"""`likert data babyai`: demonstrations of chains of sub-tasks."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import AUDITS, Demonstration, demonstrate, random_share
from actors.babyai.settings import ACTION_NAMES, MAX_CHAIN, NO_DETOURS, BabyAISettings, DetourSettings, Split
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
_FAILING = 5
"""Sets the random stream of chains that fail apart from those of `actors.babyai`."""

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
    detours: DetourSettings = NO_DETOURS
    """Demonstrators that first go to something else, and some that fail; by default none."""
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
        settings=noted_settings(settings),
        origin=Origin(rule=BABYAI_RULE),
    )


def noted_settings(settings: BabyAIDataSettings) -> dict[str, Any]:
    """The settings as `metadata.json` has them. Without detours they are what they were before there were any, so that
    the same settings make the same files, and a set that was begun then is gone on with."""
    without = {"detours"} if settings.detours == NO_DETOURS else set()
    return settings.model_dump(mode="json", exclude=without)


def make_episode(settings: BabyAIDataSettings, number: int) -> Trajectory:
    """The chain of that number, demonstrated: the first of its own levels that the expert completes, or fails at where
    it is to fail.

    Raises SettingsError if there is none.
    """
    environment = ChainEnvironment(settings.babyai, settings.seed)
    length = _length_of(settings, number)
    fails_at = _failing_subtask(settings, number)
    for index in range(number * ATTEMPTS, (number + 1) * ATTEMPTS):
        share = random_share(settings.seed, index, settings.random_share)
        task = ChainTask(settings.split, index, length)
        shown = Demonstration(task, share, detours=settings.detours, fails_at=fails_at)
        trajectory = demonstrate(environment, settings.seed, shown)
        if trajectory is not None:
            return trajectory
    if fails_at is not None:
        raise SettingsError(
            f"in none of {ATTEMPTS} chains of {length} sub-tasks the expert failed at number {fails_at + 1} after a "
            f"detour to a {settings.detours.kind}: take more objects, another detours.kind, or a detours.failing_share "
            "of 0"
        )
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


def _failing_subtask(settings: BabyAIDataSettings, number: int) -> int | None:
    """At which of its sub-tasks the chain of that number fails, from 0; None if it does not."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(_FAILING, number)))
    fails, subtask = rng.random() < settings.detours.failing_share, int(rng.integers(_length_of(settings, number)))
    return subtask if fails else None


def _chains(settings: BabyAIDataSettings, first: int, spread: Spread) -> Iterator[list[Trajectory]]:
    """The trajectories of each chain from number `first` on, in order."""
    numbers = range(first, settings.num_episodes)
    chunks = (list(numbers[start : start + EPISODES_PER_TASK]) for start in range(0, len(numbers), EPISODES_PER_TASK))
    for chains in spread(partial(_make_episodes, settings), chunks):
        yield from chains


def _make_episodes(settings: BabyAIDataSettings, numbers: list[int]) -> list[list[Trajectory]]:
    return [trajectories_of(settings, number) for number in numbers]
