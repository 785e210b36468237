"""BabyAI's chains as a world."""

import numpy as np

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.worlds.babyai.settings import BabyAITask, spec_of
from actors.worlds.chain_world import KeptChainWorld
from actors.worlds.pictures import fitted
from actors.worlds.world import WorldError, WorldStep

_INDICES = 2**31
"""Levels that there are, where episodes draw new ones."""


class ChainWorld(KeptChainWorld):
    """One environment. Its own reward is the share of the chain that a step completed, so that a return is the
    proportion completed."""

    def __init__(self, task: BabyAITask) -> None:
        self._task = task
        self._env = ChainEnvironment(task.level, task.levels_seed, with_frames=False, measures=False)
        self._num_completed = 0
        self._num_subtasks = 1
        self._instruction = task.instruction
        self.spec = spec_of(task)
        self.picture_px = task.level.frame_px
        """Height and width before they are made to fit."""

    def reset(self, seed: int) -> np.ndarray:
        """Draw a level, and where levels come again a start; see `World`. Raises WorldError if none can be drawn."""
        task, rng = self._task, np.random.default_rng(seed)
        index = int(rng.integers(task.num_levels or _INDICES))
        chained = ChainTask(task.split, index, task.lengths[index % len(task.lengths)], task.chain)
        options = {"task": chained, "max_steps": task.subtask_env_steps * chained.chain_length}
        if task.num_levels and task.randomised_starts:
            options["start_seed"] = int(rng.integers(_INDICES))
        try:
            observation, info = self._env.reset(options=options)
        except ValueError as error:
            raise WorldError(f"task.level: {error}") from error
        self._num_completed, self._num_subtasks = 0, info["num_subtasks"]
        self._instruction = info["instruction"]
        return self._seen(observation)

    def step(self, action: np.ndarray) -> WorldStep:
        """Take one of BabyAI's seven actions; see `World`."""
        (number,) = np.asarray(action).tolist()
        observation, _, terminated, truncated, info = self._env.step(int(number))
        completed, self._num_completed = info["num_completed"] - self._num_completed, info["num_completed"]
        return WorldStep(
            self._seen(observation), completed / self._num_subtasks, info["success"], terminated, truncated
        )

    def instruction(self) -> str:
        """The whole chain in words."""
        return self._instruction

    def frame(self) -> np.ndarray:
        """The rooms from above, and what is carried; see `World`."""
        return fitted(self._env.render(), self._task.image_px)

    def close(self) -> None:
        """There is nothing to free."""
        self._env.close()

    def _seen(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        cells = observation["egocentric"].astype(np.float32)
        if self._task.shows_completed:
            completed = np.full((*cells.shape[:2], 1), self._num_completed, dtype=np.float32)
            cells = np.concatenate([cells, completed], axis=-1)
        return cells.ravel()
