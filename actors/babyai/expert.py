"""Demonstrations: BabyAI's bot does each sub-task in turn, with detours, now and then interrupted by random actions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from actors.babyai.bot import BOT_ERRORS
from actors.babyai.detours import Demonstrator
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.settings import ACTION_NAMES, NO_DETOURS, BabyAISettings, DetourSettings
from algorithms.images import encode_png
from algorithms.trajectories import Trajectory

_EXPERT, _SHARE, _DETOURS = 2, 3, 4
"""Set the random streams of demonstrators apart from those of levels, and from one another."""
MAX_STEPS_PER_SUBTASK = 64
"""Nothing longer is kept."""

AUDITS = {"contribution": "int", "distance": "int", "subtask": "int", "subtask_completed": "bool"}
"""Audit columns of a demonstration, and their types."""


@dataclass(frozen=True)
class Demonstration:
    """How a task is shown."""

    task: ChainTask
    random_share: float
    """Share of actions that are drawn evenly instead of the bot's."""
    start_seed: int | None = None
    """Draws the agent's start; None: the task's own."""
    detours: DetourSettings = NO_DETOURS
    """Where it goes before it does what is asked."""
    fails_at: int | None = None
    """Number of the sub-task at which the demonstrator ends after its detour, without doing it; None: it does all."""


def demonstrate(environment: ChainEnvironment, seed: int, demonstration: Demonstration) -> Trajectory | None:
    """A trajectory that ends as the demonstration is to, or None if it does not come to that: if the bot does not get
    to the end of the chain, or does what it was to fail at by chance. Equal arguments, equal result."""
    task = demonstration.task
    rng = _generator(seed, _EXPERT, task)
    max_steps = MAX_STEPS_PER_SUBTASK * task.chain_length
    options = {"task": task, "max_steps": max_steps, "start_seed": demonstration.start_seed}
    observation, info = environment.reset(options=options)
    recorder = _Recorder(observation)
    demonstrator = Demonstrator(
        environment.level, demonstration.detours, _generator(seed, _DETOURS, task), demonstration.fails_at
    )
    demonstrator.begin_subtask(0)
    last_action, subtask_began = None, 0
    for step in range(max_steps):
        try:
            action = demonstrator.act(last_action)
        except BOT_ERRORS:
            return None
        if action is None:
            # A failure is seen in what is done; one without an action shows nothing.
            return (
                recorder.trajectory(task.name, info["instruction"], completed=False) if step > subtask_began else None
            )
        if rng.random() < demonstration.random_share:
            action = int(rng.integers(len(ACTION_NAMES)))
        audit = {"subtask": info["num_completed"]}
        if environment.measures:
            audit["distance"] = environment.distance()
        observation, _, terminated, truncated, info = environment.step(action)
        audit |= {name: info[name] for name in ("contribution", "subtask_completed") if name in info}
        recorder.add(action, observation, audit)
        last_action = action
        if terminated:
            return recorder.trajectory(task.name, info["instruction"]) if demonstration.fails_at is None else None
        if truncated:
            return None
        if info["subtask_completed"]:
            demonstrator.begin_subtask(info["num_completed"])
            subtask_began = step + 1
    return None


def _generator(seed: int, stream: int, task: ChainTask) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, task.index, task.chain_length)))


def random_share(seed: int, index: int, bounds: tuple[float, float]) -> float:
    """The share of random actions of a demonstration, drawn evenly between `bounds`."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SHARE, index)))
    return float(rng.uniform(*bounds))


def solvable_tasks(
    settings: BabyAISettings, seed: int, tasks: Iterator[ChainTask], number: int
) -> list[tuple[ChainTask, int]]:
    """The first `number` of `tasks` that the bot completes, and how many actions it takes for each.

    For evaluation: a budget of steps is best given as a multiple of the bot's.
    """
    environment = ChainEnvironment(settings, seed, with_frames=False, measures=False)
    found: list[tuple[ChainTask, int]] = []
    while len(found) < number:
        task = next(tasks)
        shown = demonstrate(environment, seed, Demonstration(task, 0.0))
        if shown is not None:
            found.append((task, len(shown)))
    return found


def solvable_starts(
    settings: BabyAISettings, seed: int, tasks: Sequence[ChainTask], tries: int = 20
) -> list[tuple[int, int]]:
    """For each task the seed of a start from which the bot completes it, and how many actions it takes from there.

    Raises ValueError if for a task none of `tries` starts will do.
    """
    environment = ChainEnvironment(settings, seed, with_frames=False, measures=False)
    found: list[tuple[int, int]] = []
    for number, task in enumerate(tasks):
        for start_seed in range(number, number + tries * len(tasks), len(tasks)):
            shown = demonstrate(environment, seed, Demonstration(task, 0.0, start_seed))
            if shown is not None:
                found.append((start_seed, len(shown)))
                break
        else:
            raise ValueError(f"from none of {tries} starts is {task.name} completed")
    return found


class _Recorder:
    """Gathers an episode."""

    def __init__(self, observation: dict[str, np.ndarray]) -> None:
        self._frames: list[bytes] = []
        self._symbolic: list[np.ndarray] = []
        self._actions: list[int] = []
        self._audits: dict[str, list] = {name: [] for name in AUDITS}
        self._see(observation)

    def add(self, action: int, observation: dict[str, np.ndarray], audit: dict) -> None:
        self._actions.append(action)
        for name, value in audit.items():
            self._audits[name].append(value)
        self._see(observation)

    def trajectory(self, episode_id: str, instruction: str, completed: bool = True) -> Trajectory:
        length = len(self._actions)
        last = np.arange(length) == length - 1
        return Trajectory(
            episode_id=episode_id,
            instruction=instruction,
            actions=np.array(self._actions, dtype=np.int64),
            action_names=tuple(ACTION_NAMES[action] for action in self._actions),
            sparse_rewards=(last & completed).astype(np.float32),
            terminated=last & completed,
            truncated=last & (not completed),
            frames=tuple(self._frames),
            symbolic=np.stack(self._symbolic),
            # Distance is -1 where objects block every way.
            audits={
                name: np.array([-1 if value is None else value for value in values])
                for name, values in self._audits.items()
                if values
            },
        )

    def _see(self, observation: dict[str, np.ndarray]) -> None:
        if "frame" in observation:
            self._frames.append(encode_png(observation["frame"]))
        self._symbolic.append(observation["symbolic"])
