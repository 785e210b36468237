"""The rollout worker: collects experience, evaluates policies, and draws frames. A plain class; Ray is not needed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from actors.rollout.playing import EpisodeResult, play
from actors.rollout.settings import RolloutSettings
from actors.rollout.sight import Actor, Sight, act
from actors.rollout.trail import Trail
from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings
from actors.worlds.world import Drawer, World, WorldSpec
from algorithms.acting import actor_from_numpy
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.images import encode_png, reduce_image
from algorithms.pixel_frames import PixelShape

ActorWeights = dict[str, np.ndarray]
"""Weights of an actor by name."""

# Streams of random numbers that must never meet.
_STARTS, _ACTIONS, _EVALUATION = range(3)


@dataclass(frozen=True)
class Share:
    """What one worker adds to a round."""

    chunks: list[EpisodeChunk]
    """By environment, and by time within one: several of it where episodes ended within the round."""
    period_over: bool
    """All its environments have ended their last episode of the period, and wait."""


class RolloutWorker:
    """Several environments of one task that step together, in periods.

    In a period every environment steps `period_agent_steps` times, one episode after another, and goes on to the end
    of the episode that it is in; there it waits for the others. Where all episodes have one length, a period is one.

    A start follows from (seed, worker, environment, episode), action noise from (seed, worker, period). So between two
    periods their numbers are the worker's whole state.
    """

    def __init__(
        self,
        task: TaskSettings,
        rollout: RolloutSettings,
        seed: int,
        worker_index: int = 0,
        pixels: PixelShape | None = None,
    ) -> None:
        """Worlds are made when they are first needed, so that what is wrong with them is told by a call.

        `pixels` is what a policy of pictures sees; None where none has to be taken for it.
        """
        self._pixels = pixels
        self._task = task
        self._family = family_of(task)
        self._seed = seed
        self._worker_index = worker_index
        self._rollout = rollout
        self._period = 0
        self._episodes = [0] * rollout.envs_per_worker
        self._trails: list[Trail] = []
        """Of each environment, within a period."""
        self._period_step = 0
        self._evaluations: dict[str, World] = {}
        self._drawer: Drawer | None = None

    def spec(self) -> WorldSpec:
        """What the worker's worlds are like. Raises WorldError if the task's world cannot be had."""
        return self._worlds[0].spec

    @cached_property
    def _worlds(self) -> list[World]:
        return [self._family.make(self._task) for _ in range(self._rollout.envs_per_worker)]

    def collect(
        self, actor_weights: ActorWeights | None, render_px: int | None = None
    ) -> tuple[Share, list[np.ndarray] | None]:
        """Advance every environment by `chunk_agent_steps` agent steps, or to where it waits for the period's end.

        After a period's end this begins the next one.

        Args:
            actor_weights: the policy to sample actions from; None draws them uniformly.
            render_px: side of the frames to return; None returns none, and then MetaWorld needs no OpenGL.

        Returns:
            The share, and for each of its chunks the frames uint8 [T, px, px, 3] after each action, or None. They
            are two values, so that frames can stay where they are until someone wants them (`num_returns=2` in Ray).
        """
        actor = None if actor_weights is None else actor_from_numpy(actor_weights)
        if not self._trails:
            self._start_period()
        cuts = self._advance(actor)
        chunks = [chunk for chunk, _ in cuts]
        over = all(trail.ended for trail in self._trails)
        if over:
            self._period += 1
            self._trails = []
        share = Share(chunks, over)
        if render_px is None:
            return share, None
        return share, [
            self.render_reduced(chunk.scene, chunk.frame_states[1:], render_px)
            if frames is None
            else reduce_image(frames[1:], render_px)
            for chunk, frames in cuts
        ]

    def evaluate(
        self,
        actor_weights: ActorWeights | None,
        num_episodes: int,
        seed: int,
        first_episode: int = 0,
        randomised_starts: bool = False,
        start_spread: float = 0.0,
    ) -> list[EpisodeResult]:
        """Play whole episodes with the most likely actions, apart from what is being collected.

        Args:
            actor_weights: the policy to judge; None judges uniformly random actions.
            num_episodes: how many episodes to play.
            seed: of the starts; the same seed gives the same starts on every worker.
            first_episode: number of the first one, so that several workers can share one evaluation.
            randomised_starts: draw starts, also where the task has a fixed one.
            start_spread: draw them around the fixed one, by this share of the way to a start that is drawn anywhere.
        """
        actor = None if actor_weights is None else actor_from_numpy(actor_weights)
        world = self._evaluation_world(self._task.judged_from(randomised_starts, start_spread))
        episodes = range(first_episode, first_episode + num_episodes)
        counts = self._task.success_counts
        # Random actions need no pictures.
        return [
            play(
                world,
                counts,
                actor,
                _generator(seed, _EVALUATION, episode),
                None if actor is None else self._sight(world),
            )
            for episode in episodes
        ]

    def render(self, scene: Scene, frame_states: np.ndarray) -> list[bytes]:
        """PNG files, `task.image_px` square, of states float32 [N, F] of one episode, of a world that draws again."""
        return [encode_png(frame) for frame in self._frames(scene, frame_states)]

    def render_reduced(self, scene: Scene, frame_states: np.ndarray, render_px: int) -> np.ndarray:
        """The same frames as pixels, reduced to uint8 [N, render_px, render_px, 3]."""
        return reduce_image(self._frames(scene, frame_states), render_px)

    def state(self) -> dict[str, int | list[int]]:
        """What `set_state` needs. Raises RuntimeError within a period: simulators are not saved."""
        if self._trails:
            raise RuntimeError(f"the worker is at agent step {self._period_step} of a period; collect to its end first")
        return {"period": self._period, "episodes": list(self._episodes)}

    def set_state(self, state: dict[str, int | list[int]]) -> None:
        """Go on with what comes after `state`; an unfinished period is dropped."""
        if "episode" in state:
            # Written when all episodes had one length.
            state = {"period": state["episode"], "episodes": [state["episode"]] * self._rollout.envs_per_worker}
        self._period = state["period"]
        self._episodes = list(state["episodes"])
        self._trails = []

    def close(self) -> None:
        """Free simulators and OpenGL."""
        for world in self.__dict__.pop("_worlds", []):
            world.close()
        for world in self._evaluations.values():
            world.close()
        if self._drawer is not None:
            self._drawer.close()

    def _start_period(self) -> None:
        action_seed = int(self._random(_ACTIONS, self._period).integers(2**31))
        self._uniform = np.random.default_rng(action_seed)
        self._noise = torch.Generator().manual_seed(action_seed)
        self._period_step = 0
        self._period_agent_steps = self._rollout.period_of(self.spec())
        self._trails = [self._start_episode(index) for index in range(self._rollout.envs_per_worker)]

    def _start_episode(self, index: int) -> Trail:
        episode = self._episodes[index]
        seeds = self._random(_STARTS, episode).integers(2**31, size=len(self._worlds))
        episode_id = f"episode{episode:07d}-worker{self._worker_index:03d}-env{index:03d}"
        return Trail(self._worlds[index], episode_id, int(seeds[index]), self._sight(self._worlds[index]))

    def _sight(self, world: World) -> Sight | None:
        if self._pixels is None:
            return None
        return Sight(world, self._task_drawer if world.spec.draws_again else None, self._pixels)

    def _advance(self, actor: Actor | None) -> list[tuple[EpisodeChunk, np.ndarray | None]]:
        cuts: list[list[tuple[EpisodeChunk, np.ndarray | None]]] = [[] for _ in self._worlds]
        for _ in range(self._rollout.chunk_agent_steps):
            # Drawn for all, also for those that wait: so the noise of one does not depend on the others' episodes.
            actions = self._actions(actor)
            self._period_step += 1
            for index, trail in enumerate(self._trails):
                if trail.ended:
                    continue
                trail.step(actions[index])
                if trail.ended:
                    cuts[index].append(trail.cut())
                    self._episodes[index] += 1
                    if self._period_step < self._period_agent_steps:
                        self._trails[index] = self._start_episode(index)
            if all(trail.ended for trail in self._trails):
                break
        for index, trail in enumerate(self._trails):
            if len(trail):
                cuts[index].append(trail.cut())
        return [cut for of_world in cuts for cut in of_world]

    def _actions(self, actor: Actor | None) -> np.ndarray:
        if actor is None:
            return self.spec().random_actions(self._uniform, len(self._worlds)).astype(np.float32)
        observations = np.stack([trail.observation for trail in self._trails])
        sights, instructions = zip(*((trail.sight, trail.instruction) for trail in self._trails), strict=True)
        return act(actor, observations, sights, self._noise, instructions)

    def _evaluation_world(self, task: TaskSettings) -> World:
        # One for each way of starting: an evaluation may judge two, again and again.
        key = task.model_dump_json()
        if key not in self._evaluations:
            self._evaluations[key] = self._family.make(task)
        return self._evaluations[key]

    def _frames(self, scene: Scene, frame_states: np.ndarray) -> np.ndarray:
        return self._task_drawer.render(scene, frame_states)

    @property
    def _task_drawer(self) -> Drawer:
        if self._drawer is None:
            self._drawer = self._family.drawer(self._task)
        return self._drawer

    def _random(self, stream: int, number: int) -> np.random.Generator:
        return _generator(self._seed, stream, self._worker_index, number)


def _generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of a place of their own: other keys give independent ones."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
