"""Chains of ALFRED's sub-tasks as a Gymnasium environment."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from actors.thor.controller import Controller, start_thor
from actors.thor.scene import INTERACTIONS, Scene
from actors.thor.settings import ACTION_NAMES, FRAME_PX, NO_OBJECT, ThorSettings
from actors.thor.tasks import ThorTask, class_of, is_done

REPLAYS = 3
"""Times that the way to a chain's start is tried; THOR's physics does not always repeat itself."""
_AGENT_START = 1
"""Sets the random stream of randomised starts apart."""


class ThorEnvironment(gymnasium.Env):
    """A chain of sub-tasks in AI2-THOR, to be done in order.

    An action is a pair (one of ACTION_NAMES, object class): the nearest object of that class that it can be done with
    is acted on, as SPRINT does. Class 0 is none, for looking and moving. What cannot be done changes nothing and costs
    the step. An observation is a dictionary of `frame`, uint8 [300, 300, 3]. The reward is 1 for an action that
    completes a sub-task, and the last of them ends the episode. `info` holds:

    - `instruction`, `subtask_instruction`: the whole chain in words, and the sub-task that is to be done now
    - `num_subtasks`, `num_completed`, and `proportion`, their ratio
    - `success`: all are done
    - `subtask_completed`: this action ended a sub-task
    - `action_succeeded`: THOR did what was asked
    - `possible`: bool [12, classes], the pairs that can be done now
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's protocol.
    render_mode = "rgb_array"

    def __init__(
        self,
        settings: ThorSettings,
        objects: tuple[str, ...],
        start: Callable[[ThorSettings], Controller] = start_thor,
    ) -> None:
        """`objects` names the classes by number, the first of them NO_OBJECT. `start` gives the controller.

        Raises ThorUnavailable if AI2-THOR cannot run here, and ValueError if the first class is not NO_OBJECT.
        """
        if not objects or objects[0] != NO_OBJECT:
            raise ValueError(f"objects begins with {objects[:1]}, but class 0 must be {NO_OBJECT!r}, no object")
        self._controller = start(settings)
        self._scene = Scene(self._controller)
        self._objects = objects
        self._numbers = {name: number for number, name in enumerate(objects)}
        self._task: ThorTask | None = None
        self._num_completed = self._num_steps = self._max_steps = 0
        self.observation_space = gymnasium.spaces.Dict(
            {"frame": gymnasium.spaces.Box(0, 255, (FRAME_PX, FRAME_PX, 3), np.uint8)}
        )
        self.action_space = gymnasium.spaces.MultiDiscrete([len(ACTION_NAMES), len(objects)])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a task: load its scene and repeat what the expert did before it.

        Args:
            seed: is not used, since tasks are recorded ones.
            options: `task`, a ThorTask; `start_seed`, to put the agent at a place drawn from it instead of where the
                expert came to; `max_steps`, after which the episode is truncated (default: twice the expert's).

        Raises ValueError without a task, and RuntimeError if the scene does not let the expert's actions be repeated.
        """
        super().reset(seed=seed)
        options = options or {}
        if "task" not in options:
            raise ValueError("options['task'] is missing: a ThorTask")
        self._task = task = options["task"]
        self._go_to_start(task)
        start_seed = options.get("start_seed")
        if start_seed is not None:
            self._scene.move_agent(np.random.default_rng([_AGENT_START, start_seed]))
        self._num_completed = self._num_steps = 0
        self._max_steps = options.get("max_steps") or 2 * task.num_expert_steps
        return self._observation(), self._info(False, True)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Take an action: a pair of numbers (action, object class). Raises RuntimeError without a chain to do."""
        task = self._begun
        if self._num_completed == len(task.subtasks):
            raise RuntimeError("the chain is done; reset the environment first")
        name, thing = ACTION_NAMES[int(action[0])], self._objects[int(action[1])]
        self._num_steps += 1
        succeeded = self._scene.act(name, self._nearest(name, thing))
        # Only an interaction completes anything: else a chain whose end happens to be so would pass by standing still.
        completed = (
            succeeded
            and name in INTERACTIONS
            and is_done(task.subtasks[self._num_completed], self._scene.metadata, self._scene.treatments)
        )
        self._num_completed += completed
        success = self._num_completed == len(task.subtasks)
        truncated = not success and self._num_steps >= self._max_steps
        return self._observation(), float(completed), success, truncated, self._info(completed, succeeded)

    def render(self) -> np.ndarray:
        """The frame, uint8 [300, 300, 3]."""
        return self._scene.frame

    def close(self) -> None:
        """End the Unity process."""
        stop = getattr(self._controller, "stop", None)
        if stop is not None:
            stop()

    @property
    def _begun(self) -> ThorTask:
        if self._task is None:
            raise RuntimeError("reset the environment first")
        return self._task

    def _go_to_start(self, task: ThorTask) -> None:
        for _ in range(REPLAYS):
            self._scene.load(task.scene)
            failed = next((action for action in task.before if not self._scene.repeat(action)), None)
            if failed is None:
                return
        raise RuntimeError(
            f"{task.name}: {failed.name} {failed.object_id} of the expert failed {REPLAYS} times, so the chain cannot "
            "be begun; is this the Unity build that ALFRED was recorded with?"
        )

    def _nearest(self, name: str, thing: str) -> str:
        if name not in INTERACTIONS:
            return ""
        found = (one["objectId"] for one in self._scene.candidates(name))
        return next((one for one in found if class_of(one) == thing), "")

    def _observation(self) -> dict[str, np.ndarray]:
        return {"frame": self._scene.frame}

    def _info(self, subtask_completed: bool, action_succeeded: bool) -> dict[str, Any]:
        task = self._begun
        number = len(task.subtasks)
        return {
            "instruction": task.instruction,
            "subtask_instruction": task.subtasks[min(self._num_completed, number - 1)].instruction,
            "num_subtasks": number,
            "num_completed": self._num_completed,
            "proportion": self._num_completed / number,
            "success": self._num_completed == number,
            "subtask_completed": subtask_completed,
            "action_succeeded": action_succeeded,
            "possible": self._possible(),
        }

    def _possible(self) -> np.ndarray:
        possible = np.zeros((len(ACTION_NAMES), len(self._objects)), dtype=bool)
        for number, name in enumerate(ACTION_NAMES):
            if name not in INTERACTIONS:
                possible[number, 0] = True
                continue
            for one in self._scene.candidates(name):
                thing = self._numbers.get(class_of(one["objectId"]))
                if thing is not None:
                    possible[number, thing] = True
        return possible
