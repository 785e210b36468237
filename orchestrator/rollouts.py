"""The rollout workers of a run, seen as one: collect, render, evaluate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import ray

from actors.rollout.worker import EpisodeResult
from algorithms.episodes import EpisodeChunk, Scene

Weights = Mapping[str, np.ndarray]
FrameStates = tuple[Scene, np.ndarray]
"""A scene, and float32 [N, F] of what moved in it: N frames."""


@dataclass(frozen=True)
class Pending:
    """A round under way: for each worker a reference to its chunks and one to their frames."""

    chunks: list[Any]
    frames: list[Any]


@dataclass(frozen=True)
class Collected:
    """One worker's share of a round."""

    chunks: list[EpisodeChunk]
    """A chunk per environment."""
    frames: Any
    """Reference to a list with uint8 [T, px, px, 3] per chunk, the frame after each action, or to None."""


class Rollouts:
    """Drives all workers in step, so that a run depends on its seed and not on which worker is faster."""

    def __init__(self, workers: Sequence[Any], reward_image_px: int | None) -> None:
        self._workers = list(workers)
        self._reward_image_px = reward_image_px

    def start(self, weights: Weights | None) -> Pending:
        """Begin a round with this behaviour (None: random actions) and return at once."""
        shared = ray.put(dict(weights)) if weights is not None else None
        pairs = [
            worker.collect.options(num_returns=2).remote(shared, self._reward_image_px) for worker in self._workers
        ]
        return Pending([chunks for chunks, _ in pairs], [frames for _, frames in pairs])

    def finish(self, pending: Pending) -> list[Collected]:
        """Wait for a round; frames stay where they are."""
        return [
            Collected(chunks, frames) for chunks, frames in zip(ray.get(pending.chunks), pending.frames, strict=True)
        ]

    def render(self, items: Sequence[FrameStates]) -> list[list[bytes]]:
        """PNG files of each item's frames, `task.image_px` square; the items are spread over the workers."""
        return ray.get([worker.render.remote(*item) for worker, item in zip(cycle(self._workers), items)])

    def render_reduced(self, items: Sequence[FrameStates]) -> list[np.ndarray]:
        """uint8 [N, px, px, 3] of each item's frames, as the reward model sees them."""
        return ray.get(
            [
                worker.render_reduced.remote(*item, self._reward_image_px)
                for worker, item in zip(cycle(self._workers), items)
            ]
        )

    def evaluate(
        self, weights: Weights | None, num_episodes: int, seed: int, randomised_starts: bool
    ) -> list[EpisodeResult]:
        """Episodes with deterministic actions (None: random ones). The same seed gives the same starts."""
        shared = ray.put(dict(weights)) if weights is not None else None
        shares = np.array_split(np.arange(num_episodes), len(self._workers))
        parts = [
            worker.evaluate.remote(shared, len(share), seed, int(share[0]), randomised_starts or None)
            for worker, share in zip(self._workers, shares, strict=True)
            if len(share)
        ]
        return [result for part in ray.get(parts) for result in part]

    def state(self) -> list[dict[str, Any]]:
        """Each worker's state; workers stand at the end of an episode."""
        return ray.get([worker.state.remote() for worker in self._workers])

    def set_state(self, states: Sequence[dict[str, Any]]) -> None:
        """Put workers back where `state` found them."""
        if len(states) != len(self._workers):
            raise ValueError(
                f"rollout.num_workers {len(self._workers)}: the checkpoint was written with {len(states)}; "
                "resume with the same number, or start a new run"
            )
        ray.get([worker.set_state.remote(state) for worker, state in zip(self._workers, states, strict=True)])
