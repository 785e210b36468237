"""Judging a policy by chains of sub-tasks, in any simulator: tasks go on at the same time, a step of each in turn."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch

from algorithms.action_scale import ActionScale
from algorithms.images import reduce_image
from algorithms.language_actor import LanguageActor
from algorithms.language_networks import PolicyShape
from algorithms.offline_settings import PolicyNetworkSettings


@dataclass(frozen=True)
class PolicyFace:
    """How a policy sees, reads and acts; all that a worker must know beside the weights."""

    shape: PolicyShape
    network: PolicyNetworkSettings
    observation: str
    """`symbolic` or `frame`."""
    reads_whole_chain: bool
    """Show it the whole chain's words, and not those of the sub-task that is to be done now."""
    scale: ActionScale | None = None
    """From a policy's [-1, 1] to the units that continuous actions were recorded in; None if actions are discrete."""


@dataclass(frozen=True)
class Trial:
    """One task to be done from one start."""

    task: Any
    """What the environment's `reset` takes as `options["task"]`: such as a `ChainTask` or a `ThorTask`."""
    start_seed: int | None
    """Draws the agent's place; None for the task's own, as recorded."""
    max_steps: int


@dataclass(frozen=True)
class TrialResult:
    """How far a policy came."""

    num_subtasks: int
    num_completed: int
    steps: int

    @property
    def proportion(self) -> float:
        """Share of the sub-tasks completed: the return of the paper."""
        return self.num_completed / self.num_subtasks


class ChainEvaluator:
    """Acts in chains with a policy's weights.

    An environment of chains takes `task`, `start_seed` and `max_steps` as options of `reset`, and its `info` holds
    `instruction`, `subtask_instruction`, `num_subtasks`, `num_completed` and `subtask_completed`; where actions are
    about objects also `possible`, bool [actions, objects], the pairs that can be done now.
    """

    def __init__(
        self, make_environment: Callable[[], gymnasium.Env], face: PolicyFace, at_once: int | None = None
    ) -> None:
        """`at_once` is the number of environments, which are made once and kept; None for one for each trial."""
        self._make_environment = make_environment
        self._face = face
        self._at_once = at_once
        self._environments: list[gymnasium.Env] = []
        self._actor = LanguageActor(face.shape, face.network)

    def run(
        self,
        weights: Mapping[str, np.ndarray],
        trials: Sequence[Trial],
        encoded: Mapping[str, np.ndarray],
        sample_seed: int | None = None,
    ) -> list[TrialResult]:
        """Results in the order of `trials`.

        `encoded` holds each text as the policy reads it. The likeliest actions are taken, or with `sample_seed` drawn.
        """
        self._actor.load_numpy(weights)
        generator = None if sample_seed is None else torch.Generator().manual_seed(sample_seed)
        count = min(len(trials), self._at_once or len(trials))
        while len(self._environments) < count:
            self._environments.append(self._make_environment())
        going = [self._begin(number, trials, number) for number in range(count)]
        results: dict[int, TrialResult] = {}
        begun = count
        while going:
            for run, action in zip(going, self._actions(going, encoded, generator), strict=True):
                run.step(action)
            for place, run in enumerate(going):
                if run.over:
                    results[run.number] = run.result()
                    if begun < len(trials):
                        going[place] = self._begin(begun, trials, run.place)
                        begun += 1
            going = [run for run in going if not run.over]
        return [results[number] for number in range(len(trials))]

    def run_shared(
        self,
        shared: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
        trials: Sequence[Trial],
        sample_seed: int | None,
    ) -> list[TrialResult]:
        """`run` with weights and encoded texts together, as they are sent to several workers once."""
        weights, encoded = shared
        return self.run(weights, trials, encoded, sample_seed)

    def _begin(self, number: int, trials: Sequence[Trial], place: int) -> "_Running":
        return _Running(number, place, self._environments[place], trials[number], self._face)

    def _actions(
        self, going: Sequence["_Running"], encoded: Mapping[str, np.ndarray], generator: torch.Generator | None
    ) -> list[Any]:
        seen = torch.from_numpy(np.stack([run.observations() for run in going]))
        asked = torch.from_numpy(np.stack([encoded[run.text] for run in going]))
        if not self._face.shape.num_objects:
            actions = self._actor.act(seen, asked, generator)
            return actions.tolist() if self._face.scale is None else list(self._face.scale.unscale(actions.numpy()))
        possible = torch.from_numpy(np.stack([run.possible for run in going]))
        return self._actor.act(seen, asked, generator, possible).tolist()


class _Running:
    """One trial under way."""

    def __init__(self, number: int, place: int, environment: gymnasium.Env, trial: Trial, face: PolicyFace) -> None:
        self.number = number
        self.place = place
        self._environment = environment
        self._face = face
        options = {"task": trial.task, "start_seed": trial.start_seed, "max_steps": trial.max_steps}
        observation, self._info = environment.reset(options=options)
        self._latest: deque[np.ndarray] = deque(maxlen=face.network.history)
        for _ in range(face.network.history):
            self._see(observation)
        self._steps = 0
        self.over = False

    @property
    def text(self) -> str:
        """What the policy is told now."""
        return self._info["instruction" if self._face.reads_whole_chain else "subtask_instruction"]

    @property
    def possible(self) -> np.ndarray:
        """Pairs of action and object that can be done now, bool [actions, objects]."""
        return self._info["possible"]

    def observations(self) -> np.ndarray:
        """[history, ...], oldest first."""
        return np.stack(self._latest)

    def step(self, action: Any) -> None:
        """Take an action."""
        observation, _, terminated, truncated, self._info = self._environment.step(action)
        self._steps += 1
        self.over = terminated or truncated
        if self._info["subtask_completed"] and not self._face.reads_whole_chain:
            # To the policy another episode begins, as in its data.
            for _ in range(self._face.network.history - 1):
                self._see(observation)
        self._see(observation)

    def result(self) -> TrialResult:
        """How far it came."""
        return TrialResult(self._info["num_subtasks"], self._info["num_completed"], self._steps)

    def _see(self, observation: dict[str, np.ndarray]) -> None:
        self._latest.append(as_policy_sees(observation[self._face.observation], self._face.shape))


def as_policy_sees(observation: np.ndarray, shape: PolicyShape) -> np.ndarray:
    """A frame uint8 [H, W, 3] reduced to the policy's size; a symbolic observation as it is."""
    if shape.kind != "image" or observation.shape == shape.observation_shape:
        return observation
    return reduce_image(observation[None], shape.observation_shape[0])[0]
