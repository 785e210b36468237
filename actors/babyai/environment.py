"""Chains of sub-tasks in BabyAI, as a Gymnasium environment that knows how far each action helps."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from actors.babyai.distance import UNREACHABLE, DistanceTable, distance
from actors.babyai.level import THEN, ChainLevel
from actors.babyai.settings import ACTION_NAMES, MAX_CHAIN, SPLITS, BabyAISettings, Split, SubtaskKind, egocentric_shape
from actors.babyai.view import egocentric

_AGENT_START = 1
"""Sets the random stream of randomised starts apart from that of levels."""


@dataclass(frozen=True)
class ChainTask:
    """One level and its chain. Equal tasks of equal settings are equal to the last cell."""

    split: Split
    index: int
    chain_length: int
    chain: tuple[SubtaskKind, ...] = ()
    """The kind of each sub-task, in order; empty if they are drawn."""

    def __post_init__(self) -> None:
        if not 1 <= self.chain_length <= MAX_CHAIN:
            raise ValueError(f"chain_length {self.chain_length}: must be 1 to {MAX_CHAIN}")
        if self.chain and len(self.chain) != self.chain_length:
            raise ValueError(f"chain_length {self.chain_length}: {len(self.chain)} kinds of sub-tasks are given")

    @property
    def name(self) -> str:
        """Unique among tasks of one seed."""
        return f"{self.split}-{self.index:07d}"


class ChainEnvironment(gymnasium.Env):
    """An instruction of 1 to 6 sub-tasks, to be done in order.

    An observation is a dictionary of `frame` uint8 [H, W, 3], `symbolic` uint8 [rows, columns, 3] and `egocentric`
    uint8 [side, side, 3], which is `view.egocentric`. The reward is 1
    for the action that ends the last sub-task and 0 otherwise, and ends the episode. `info` of `reset` and `step`
    holds:

    - `instruction`: the whole chain in words
    - `subtask_instruction`: the sub-task that is to be done now in words; the last one also after the end
    - `num_subtasks`, `num_completed`, and `proportion`, their ratio
    - `success`: all are done
    - `subtask_completed`: this action ended a sub-task
    - `contribution`: 1 if this action ended or shortened the way to the current sub-goal, -1 if it lengthened it, 0
      if it did neither. For audits and for the training of raters only.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's protocol.
    render_mode = "rgb_array"

    def __init__(
        self, settings: BabyAISettings, seed: int = 0, *, with_frames: bool = True, measures: bool = True
    ) -> None:
        """`seed` decides the levels of all tasks. Without frames, `frame` is left out of observations.

        With `measures` false `contribution` is left out of `info`: working it out is most of a step's work.
        """
        self._settings = settings
        self._seed = seed
        self._with_frames = with_frames
        self.measures = measures
        self._level: ChainLevel | None = None
        self._table: DistanceTable | None = None
        self._num_completed = 0
        self._num_steps = 0
        self._max_steps = 0
        shapes = {"symbolic": settings.symbolic_shape, "egocentric": egocentric_shape(settings.symbolic_shape)}
        space = {name: gymnasium.spaces.Box(0, 255, shape, np.uint8) for name, shape in shapes.items()}
        if with_frames:
            space["frame"] = gymnasium.spaces.Box(0, 255, (*settings.frame_px, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(space)
        self.action_space = gymnasium.spaces.Discrete(len(ACTION_NAMES))

    @property
    def level(self) -> ChainLevel:
        """The level, for experts. Raises RuntimeError before the first reset."""
        if self._level is None:
            raise RuntimeError("reset the environment first")
        return self._level

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a task.

        Args:
            seed: draws a task where `options` names none: its index in the training split.
            options: `task`, a ChainTask; `start_seed`, to put the agent at a place drawn from it instead of the task's
                own; `max_steps`, after which the episode is truncated (default: 64 for each sub-task).
        """
        super().reset(seed=seed)
        options = options or {}
        task = options.get("task")
        if task is None:
            index = seed if seed is not None else int(self.np_random.integers(2**31))
            task = ChainTask("train", index, 1 + index % MAX_CHAIN)
        self._level = ChainLevel(self._settings, task.chain_length, task.split, task.chain)
        self._level.np_random = self._generator(task)
        self._level.reset_level()
        start_seed = options.get("start_seed")
        if start_seed is not None:
            self._level.move_agent(self._generator(task, _AGENT_START, start_seed))
        self._num_completed = self._num_steps = 0
        self._max_steps = options.get("max_steps") or 64 * task.chain_length
        self._begin_subtask()
        return self._observation(), self._info(False, 0)

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Take one of BabyAI's seven actions; see `settings.ACTION_NAMES`."""
        level = self.level
        before, changeable = (self._distance(), level.changeable()) if self.measures else (0, ())
        level.move(int(action))
        self._num_steps += 1
        completed = level.completes(int(action))
        if not self.measures or level.changeable() != changeable:
            self._table = None
        contribution = 1 if completed or not self.measures else int(np.sign(before - self._distance()))
        if completed:
            self._num_completed += 1
            if self._num_completed < len(level.chain):
                self._begin_subtask()
        success = self._num_completed == len(level.chain)
        truncated = not success and self._num_steps >= self._max_steps
        return self._observation(), float(success), success, truncated, self._info(completed, contribution)

    def render(self) -> np.ndarray:
        """The frame, uint8 [H, W, 3]."""
        return self.level.frame()

    def distance(self) -> int | None:
        """Actions that the current sub-task needs yet; None if objects block every way."""
        steps = self._distance()
        return None if steps >= UNREACHABLE else steps

    def _generator(self, task: ChainTask, *more: int) -> np.random.Generator:
        # Splits are streams of their own: no level of one is ever drawn for another.
        key = (SPLITS.index(task.split), task.index, task.chain_length, *more)
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _begin_subtask(self) -> None:
        self.level.begin_subtask(self._num_completed)
        self._table = None

    def _distance(self) -> int:
        if self._table is None:
            self._table = DistanceTable(self.level)
        return distance(self.level, self._table)

    def _observation(self) -> dict[str, np.ndarray]:
        symbolic = self.level.symbolic()
        observation = {"symbolic": symbolic, "egocentric": egocentric(symbolic)}
        if self._with_frames:
            observation["frame"] = self.level.frame()
        return observation

    def _info(self, subtask_completed: bool, contribution: int) -> dict[str, Any]:
        number = len(self.level.chain)
        return {
            "instruction": self.level.mission,
            "subtask_instruction": self.level.mission.split(THEN)[min(self._num_completed, number - 1)],
            "num_subtasks": number,
            "num_completed": self._num_completed,
            "proportion": self._num_completed / number,
            "success": self._num_completed == number,
            "subtask_completed": subtask_completed,
        } | ({"contribution": contribution} if self.measures else {})
