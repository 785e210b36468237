"""The rollout workers of a run, seen as one: collect, render, evaluate. Those that die are replaced."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from actors.rollout.playing import EpisodeResult
from actors.rollout.worker import Share
from actors.worlds.families import family_of
from actors.worlds.world import WorldError, WorldSpec
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.instructions import InstructionError
from orchestrator.cluster.replacing import died, first_line, raise_if_hopeless, wait_for_life
from orchestrator.errors import SettingsError, WorldFailing
from orchestrator.online.settings import OnlineExperiment

log = logging.getLogger(__name__)

Weights = Mapping[str, np.ndarray]
FrameStates = tuple[Scene, np.ndarray]
"""A scene, and float32 [N, F] of what moved in it: N frames."""


@dataclass(frozen=True)
class Collected:
    """One worker's share of a round."""

    chunks: list[EpisodeChunk]
    """By environment, and by time within one; there may be none, where all wait for the others' episodes to end."""
    frames: Any
    """Reference to a list with uint8 [T, px, px, 3] per chunk, the frame after each action, or to None."""


class Rollouts:
    """Drives all workers in step, so that a run depends on its seed and not on which worker is faster.

    A worker that died is replaced, and its successor brought to the same point: a worker's periods follow from its
    seed, so it collects the period under way again with the behaviours that the dead one had, and the run goes on as
    if nothing had happened. Where no node has room, that is said, and after `lost_timeout_s` the run stops.
    """

    def __init__(
        self,
        start_worker: Callable[[int], Any],
        num_workers: int,
        reward_image_px: int | None,
        needs: str = "a processor",
        lost_timeout_s: float = 3600.0,
    ) -> None:
        """`start_worker(index)` makes a new actor; `needs` says in words what each needs of a node."""
        self._workers = [_Worker(start_worker, index) for index in range(num_workers)]
        self._reward_image_px = reward_image_px
        self._needs = needs
        self._lost_timeout_s = lost_timeout_s
        self.stands = True
        """Between two periods: all environments have ended their episodes."""

    def spec(self) -> WorldSpec:
        """What the world is like, by the workers. Raises SettingsError if it cannot be had, or not by all."""
        try:
            found = self._results([_Call(worker, "spec") for worker in self._workers])
        except WorldFailing as error:
            raise SettingsError(str(error)) from error
        if any(spec != found[0] for spec in found):
            raise SettingsError(
                f"the task's world differs between rollout workers: {found}; give all the same packages"
            )
        return found[0]

    def start(self, weights: Weights | None) -> "Pending":
        """Begin a round with this behaviour (None: random actions) and return at once."""
        shared = ray.put(dict(weights)) if weights is not None else None
        acting = [worker for worker in self._workers if self.stands or not worker.period_over]
        for worker in acting:
            worker.behaviours.append(shared)
            worker.is_collecting = True
        return Pending([_Call(worker, "collect", shared, self._reward_image_px) for worker in acting])

    def finish(self, pending: "Pending") -> list[Collected]:
        """Wait for a round; frames stay where they are."""
        shares: list[Share] = self._results(pending.calls)
        for call, share in zip(pending.calls, shares, strict=True):
            call.worker.is_collecting = False
            call.worker.period_over = share.period_over
        self.stands = all(worker.period_over for worker in self._workers)
        if self.stands:
            self._remember(self._results([_Call(worker, "state") for worker in self._workers]))
        return [Collected(share.chunks, call.frames) for share, call in zip(shares, pending.calls, strict=True)]

    def render(self, items: Sequence[FrameStates]) -> list[list[bytes]]:
        """PNG files of each item's frames, `task.image_px` square; the items are spread over the workers."""
        return self._results([_Call(worker, "render", *item) for worker, item in zip(cycle(self._workers), items)])

    def render_reduced(self, items: Sequence[FrameStates]) -> list[np.ndarray]:
        """uint8 [N, px, px, 3] of each item's frames, as the reward model sees them."""
        return self._results(
            [
                _Call(worker, "render_reduced", *item, self._reward_image_px)
                for worker, item in zip(cycle(self._workers), items)
            ]
        )

    def evaluate(
        self, weights: Weights | None, num_episodes: int, seed: int, randomised_starts: bool, start_spread: float = 0.0
    ) -> list[EpisodeResult]:
        """Episodes with deterministic actions (None: random ones). The same seed gives the same starts, which may be
        drawn anywhere, or around a fixed one: see `EvaluationSettings`."""
        shared = ray.put(dict(weights)) if weights is not None else None
        shares = np.array_split(np.arange(num_episodes), len(self._workers))
        calls = [
            _Call(worker, "evaluate", shared, len(share), seed, int(share[0]), randomised_starts, start_spread)
            for worker, share in zip(self._workers, shares, strict=True)
            if len(share)
        ]
        return [result for part in self._results(calls) for result in part]

    def state(self) -> list[dict[str, Any]]:
        """Each worker's state; workers stand at the end of a period."""
        return self._results([_Call(worker, "state") for worker in self._workers])

    def set_state(self, states: Sequence[dict[str, Any]]) -> None:
        """Put workers back where `state` found them."""
        if len(states) != len(self._workers):
            raise ValueError(
                f"rollout.num_workers {len(self._workers)}: the checkpoint was written with {len(states)}; "
                "resume with the same number, or start a new run"
            )
        self._remember(states)
        self.stands = True
        self._results([_Call(worker, "set_state", state) for worker, state in zip(self._workers, states, strict=True)])

    def _remember(self, states: Sequence[dict[str, Any]]) -> None:
        """Where a successor begins from now on."""
        for worker, state in zip(self._workers, states, strict=True):
            worker.period_start, worker.behaviours = state, []

    def _results(self, calls: "Sequence[_Call]") -> list[Any]:
        """What the calls bring, in their order. One whose worker died is made again, to its successor."""
        results: list[Any] = [None] * len(calls)
        missing = list(range(len(calls)))
        while missing:
            # All of them, so that all deaths are known before any is mended. The calls of the dead fail by themselves.
            ray.wait([calls[place].result for place in missing], num_returns=len(missing), timeout=None)
            lost: dict[int, RayError] = {}
            for place in missing:
                try:
                    results[place] = calls[place].get()
                except RayError as error:
                    if not died(error):
                        cause = getattr(error, "cause", None)
                        if isinstance(cause, WorldError):
                            raise WorldFailing(str(cause)) from error
                        if isinstance(cause, InstructionError):
                            raise SettingsError(str(cause)) from error
                        raise
                    lost[place] = error
            self._replace({calls[place].worker: error for place, error in lost.items() if calls[place].is_current})
            for place in lost:
                calls[place].make()
            missing = list(lost)
        return results

    def _replace(self, dead: "dict[_Worker, RayError]") -> None:
        if not dead:
            return
        for worker, error in dead.items():
            worker.num_deaths += 1
            raise_if_hopeless(f"rollout worker {worker.index}", error, worker.num_deaths)
        log.warning(
            "%s of %d rollout workers died (%s); what they were collecting is collected again",
            "all" if len(dead) == len(self._workers) else len(dead), len(self._workers), first_line(error),
        )  # fmt: skip
        signs = [worker.succeed() for worker in dead]
        wait_for_life(signs, "rollout workers", self._needs, self._lost_timeout_s)


@dataclass(frozen=True)
class Pending:
    """A round under way."""

    calls: "list[_Call]"


class _Worker:
    """A place among the workers, and the actor that holds it now."""

    def __init__(self, start: Callable[[int], Any], index: int) -> None:
        self.index = index
        self.life = 0
        self.actor = start(index)
        self.num_deaths = 0
        """In a row."""
        self.period_start: dict[str, Any] | None = None
        """Its state before the period under way; None as long as that is its first."""
        self.behaviours: list[Any] = []
        """References to the behaviour of each round of the period under way, so that it can be collected again."""
        self.is_collecting = False
        """Whether the last of these rounds has still to come back."""
        self.period_over = False
        """Whether its environments wait for those of others to end their episodes."""
        self.repeats: list[Any] = []
        """What a successor was told first."""
        self._start = start

    def succeed(self) -> Any:
        """Put a new actor into this place, and let it do what the dead one had done of its period.

        Returns a reference that is there once it lives.
        """
        ray.kill(self.actor)  # Its node may only have been out of reach.
        self.life += 1
        self.actor = self._start(self.index)
        done = self.behaviours[:-1] if self.is_collecting else self.behaviours
        start = self.actor.set_state.remote(self.period_start) if self.period_start else self.actor.state.remote()
        self.repeats = [start, *(self.actor.collect.remote(behaviour, None) for behaviour in done)]
        return start


class _Call:
    """A call of a worker's method, made at once; it can be made again."""

    def __init__(self, worker: _Worker, method: str, *arguments: Any) -> None:
        self.worker = worker
        self._method = method
        self._arguments = arguments
        self.make()

    @property
    def is_current(self) -> bool:
        """Whether the actor that was called still holds its place."""
        return self._life == self.worker.life

    def make(self) -> None:
        """Call the actor that holds the place now."""
        self._life = self.worker.life
        method = getattr(self.worker.actor, self._method)
        if self._method == "collect":
            # Two values, so that frames can stay where they are until someone wants them.
            self.result, self.frames = method.options(num_returns=2).remote(*self._arguments)
        else:
            self.result = method.remote(*self._arguments)

    def get(self) -> Any:
        """What it brought. Raises what the method raised, or a RayError of another kind if the worker died."""
        if self.is_current and self.worker.repeats:
            repeats, self.worker.repeats = self.worker.repeats, []
            ray.get(repeats)
        result = ray.get(self.result)
        self.worker.num_deaths = 0
        return result


def world_spec(experiment: OnlineExperiment, rollouts: Rollouts) -> WorldSpec:
    """What the run's world is like: by its settings if they tell it, so that nothing waits for the workers; else by
    these. Raises SettingsError if it cannot be had, or if other settings do not fit it."""
    known = family_of(experiment.task).known_spec(experiment.task)
    if known is not None:
        return known
    found = rollouts.spec()
    problem = experiment.misfit(found)
    if problem:
        raise SettingsError(problem)
    return found
