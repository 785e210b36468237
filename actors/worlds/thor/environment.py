"""ALFRED's chains in AI2-THOR as a world. One holds a Unity process."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from actors.thor.controller import Controller, ThorUnavailable, start_thor
from actors.thor.environment import ThorEnvironment
from actors.thor.settings import ThorSettings
from actors.worlds.chain_world import KeptChainWorld
from actors.worlds.pictures import checked, fitted
from actors.worlds.thor.settings import ThorTaskSettings
from actors.worlds.thor.tasks import objects_of, pairs_of, tasks_of
from actors.worlds.world import WorldError, WorldSpec, WorldStep

_STARTS = 2**31


class ThorWorld(KeptChainWorld):
    """One environment. Its own reward is the share of the chain that a step completed."""

    def __init__(self, task: ThorTaskSettings, start: Callable[[ThorSettings], Controller] = start_thor) -> None:
        """`start` gives the controller. Raises WorldError if there are no such tasks, or AI2-THOR cannot run here."""
        self._task = task
        self._tasks = tasks_of(task.model_dump_json())
        objects = objects_of(task, self._tasks)
        self._pairs = pairs_of(objects)
        with _told():
            self._env = ThorEnvironment(task.alfred, objects, start)
        self._num_completed = 0
        self._info: dict[str, Any] = {}
        self._instruction = task.instruction
        self.spec = WorldSpec(
            observation_size=0,
            action_size=1,
            longest_agent_steps=max(map(self._limit, self._tasks)),
            fixed_length=False,
            draws_again=False,
            knows_success=True,
            num_actions=len(self._pairs),
            says_instruction=True,
        )

    def reset(self, seed: int) -> np.ndarray:
        """Draw a task and go to its start; see `World`. Raises WorldError if the scene does not let it be."""
        rng = np.random.default_rng(seed)
        chosen = self._tasks[int(rng.integers(len(self._tasks)))]
        options: dict[str, Any] = {"task": chosen, "max_steps": self._limit(chosen)}
        if self._task.randomised_starts:
            options["start_seed"] = int(rng.integers(_STARTS))
        with _told():
            _, self._info = self._env.reset(options=options)
        self._num_completed = 0
        self._instruction = ", then ".join(_clause(one.instruction) for one in chosen.subtasks)
        return np.zeros(0, dtype=np.float32)

    def step(self, action: np.ndarray) -> WorldStep:
        """Do one of the pairs of action and object; what cannot be done changes nothing. Raises WorldError."""
        (number,) = np.asarray(action).tolist()
        with _told():
            _, _, terminated, truncated, self._info = self._env.step(self._pairs[int(number)])
        completed = self._info["num_completed"] - self._num_completed
        self._num_completed += completed
        share = completed / self._info["num_subtasks"]
        return WorldStep(np.zeros(0, dtype=np.float32), share, self._info["success"], terminated, truncated)

    def instruction(self) -> str:
        """The whole chain, in the words of an annotator, as one sentence."""
        return self._instruction

    def frame(self) -> np.ndarray:
        """What the agent sees; see `World`. Raises WorldError if that is black."""
        return fitted(checked(self._env.render(), "AI2-THOR"), self._task.image_px)

    def close(self) -> None:
        """End the Unity process."""
        self._env.close()

    def _limit(self, task: Any) -> int:
        return math.ceil(self._task.step_budget * task.num_expert_steps)


def _clause(sentence: str) -> str:
    """An annotator's sentence as a clause: without its full stop, its first word in lower case."""
    text = sentence.strip().rstrip(" .")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


@contextmanager
def _told() -> Iterator[None]:
    """What AI2-THOR cannot do becomes a WorldError."""
    try:
        yield
    except (ThorUnavailable, RuntimeError, ValueError) as error:
        raise WorldError(str(error)) from error
