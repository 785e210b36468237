"""Judging a policy by chains of sub-tasks: all tasks of a call go on at the same time, a step of each after another."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.settings import BabyAISettings
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


@dataclass(frozen=True)
class Trial:
    """One task to be done from one start."""

    task: ChainTask
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
    """Acts in chains with a policy's weights. It holds one environment for each trial of a call."""

    def __init__(self, babyai: BabyAISettings, level_seed: int, face: PolicyFace) -> None:
        self._babyai = babyai
        self._level_seed = level_seed
        self._face = face
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
        runs = [_Running(self._environment(), trial, self._face) for trial in trials]
        while going := [run for run in runs if not run.over]:
            seen = torch.from_numpy(np.stack([run.observations() for run in going]))
            asked = torch.from_numpy(np.stack([encoded[run.text] for run in going]))
            actions = self._actor.act(seen, asked, generator).tolist()
            for run, action in zip(going, actions, strict=True):
                run.step(action)
        return [run.result() for run in runs]

    def run_shared(
        self,
        shared: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
        trials: Sequence[Trial],
        sample_seed: int | None,
    ) -> list[TrialResult]:
        """`run` with weights and encoded texts together, as they are sent to several workers once."""
        weights, encoded = shared
        return self.run(weights, trials, encoded, sample_seed)

    def _environment(self) -> ChainEnvironment:
        frames = self._face.observation == "frame"
        return ChainEnvironment(self._babyai, self._level_seed, with_frames=frames, measures=False)


class _Running:
    """One trial under way."""

    def __init__(self, environment: ChainEnvironment, trial: Trial, face: PolicyFace) -> None:
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

    def observations(self) -> np.ndarray:
        """[history, ...], oldest first."""
        return np.stack(self._latest)

    def step(self, action: int) -> None:
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
