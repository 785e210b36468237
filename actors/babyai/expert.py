"""Demonstrations: BabyAI's bot does each sub-task in turn, now and then interrupted by random actions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, Subgoal

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.settings import ACTION_NAMES, DROP, LEFT, BabyAISettings
from algorithms.images import encode_png
from algorithms.trajectories import Trajectory

_EXPERT, _SHARE = 2, 3
"""Set the random streams of demonstrators apart from those of levels."""
MAX_STEPS_PER_SUBTASK = 64
"""Nothing longer is kept."""
MOST_SUBGOALS = 1_000
"""What the bot may add to its plan before one action; it takes a few."""

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


class EndlessPlan(Exception):
    """The bot adds to its plan without end, as it may where objects block every way."""


class _Plan(list):
    """The bot's stack of sub-goals, which notes how many were added."""

    num_added = 0

    def append(self, subgoal: Subgoal) -> None:
        self.num_added += 1
        if self.num_added > MOST_SUBGOALS:
            raise EndlessPlan
        super().append(subgoal)


class ChainExpert:
    """BabyAI's bot, made anew for each sub-task. It sees what the agent would see, so it also looks around."""

    def __init__(self, environment: ChainEnvironment) -> None:
        self._environment = environment
        self._bot: BabyAIBot | None = None

    def begin_subtask(self) -> None:
        """Forget what was seen: a new sub-task begins."""
        self._bot = None

    def act(self, last_action: int | None) -> int:
        """The next action, given the one that was taken, which need not be the one proposed.

        Raises AssertionError, DisappearedBoxError or EndlessPlan where the bot does not know how to go on.
        """
        level = self._environment.level
        if self._bot is None:
            # The bot cannot begin with full hands.
            if level.carrying is not None:
                return DROP if level.grid.get(*level.front_pos) is None else LEFT
            self._bot, last_action = BabyAIBot(level), None
            self._bot.stack = _Plan(self._bot.stack)
        self._bot.stack.num_added = 0
        return int(self._bot.replan(last_action))


def demonstrate(environment: ChainEnvironment, seed: int, demonstration: Demonstration) -> Trajectory | None:
    """A trajectory that completes its chain, or None if the bot does not get there. Equal arguments, equal result."""
    task = demonstration.task
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_EXPERT, task.index, task.chain_length)))
    max_steps = MAX_STEPS_PER_SUBTASK * task.chain_length
    options = {"task": task, "max_steps": max_steps, "start_seed": demonstration.start_seed}
    observation, info = environment.reset(options=options)
    recorder = _Recorder(observation)
    expert, last_action = ChainExpert(environment), None
    for _ in range(max_steps):
        try:
            action = expert.act(last_action)
        except (AssertionError, DisappearedBoxError, EndlessPlan, IndexError, RecursionError):
            return None
        if rng.random() < demonstration.random_share:
            action = int(rng.integers(len(ACTION_NAMES)))
        audit = {"subtask": info["num_completed"]}
        if environment.measures:
            audit["distance"] = environment.distance()
        observation, _, terminated, truncated, info = environment.step(action)
        audit |= {name: info[name] for name in ("contribution", "subtask_completed") if name in info}
        recorder.add(action, observation, audit)
        last_action = action
        if info["subtask_completed"]:
            expert.begin_subtask()
        if terminated:
            return recorder.trajectory(task.name, info["instruction"])
        if truncated:
            return None
    return None


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

    def trajectory(self, episode_id: str, instruction: str) -> Trajectory:
        length = len(self._actions)
        last = np.arange(length) == length - 1
        return Trajectory(
            episode_id=episode_id,
            instruction=instruction,
            actions=np.array(self._actions, dtype=np.int64),
            action_names=tuple(ACTION_NAMES[action] for action in self._actions),
            sparse_rewards=last.astype(np.float32),
            terminated=last,
            truncated=np.zeros(length, dtype=bool),
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
