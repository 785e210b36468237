"""The rollout worker: collects experience, evaluates policies, and draws frames. A plain class; Ray is not needed."""

from dataclasses import dataclass

import numpy as np
import torch

from actors.rollout.environment import TaskEnvironment
from actors.rollout.renderer import FrameRenderer
from actors.rollout.settings import ACTION_SIZE, RolloutSettings, TaskSettings
from actors.rollout.stages import can_tell_done, is_done
from algorithms.actor_network import SquashedGaussianActor
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.images import encode_png, reduce_image

ActorWeights = dict[str, np.ndarray]
"""Weights of a `SquashedGaussianActor` by name."""

# Streams of random numbers that must never meet.
_STARTS, _ACTIONS, _EVALUATION = range(3)


@dataclass(frozen=True)
class EpisodeResult:
    """How one evaluation episode went: for people to read, never for a learner."""

    success_any: bool
    """The simulator's success flag at any step: the measure that MetaWorld and the papers use."""
    success_last: bool
    """The flag at the last step. Two packaged tasks take it back while the thing is done; see `stages`."""
    env_return: float
    """Sum of the simulator's own rewards."""
    done_any: bool | None = None
    """Whether the thing was done, which is the last stage of `stages`, at any step; None where that is not known."""
    done_last: bool | None = None
    """Whether it was done at the last step."""


class RolloutWorker:
    """Several environments of one task that step together.

    Every episode's start and action noise follow from (seed, worker, environment, episode number). So between two
    episodes the number of episodes is the worker's whole state.
    """

    def __init__(self, task: TaskSettings, rollout: RolloutSettings, seed: int, worker_index: int = 0) -> None:
        self._task = task
        self._chunk_agent_steps = rollout.chunk_agent_steps
        self._seed = seed
        self._worker_index = worker_index
        self._envs = [TaskEnvironment(task) for _ in range(rollout.envs_per_worker)]
        self._episode = 0
        self._agent_step = 0
        self._evaluation_env: TaskEnvironment | None = None
        self._renderer: FrameRenderer | None = None

    def collect(
        self, actor_weights: ActorWeights | None, render_px: int | None = None
    ) -> tuple[list[EpisodeChunk], list[np.ndarray] | None]:
        """Advance every environment by `chunk_agent_steps` agent steps.

        Args:
            actor_weights: the policy to sample actions from; None draws them uniformly.
            render_px: side of the frames to return; None draws none, and then needs no OpenGL.

        Returns:
            A chunk per environment, and for each chunk the frames uint8 [T, px, px, 3] after each action, or None. They
            are two values, so that frames can stay where they are until someone wants them (`num_returns=2` in Ray).
        """
        actor = None if actor_weights is None else SquashedGaussianActor.from_numpy(actor_weights)
        if self._agent_step == 0:
            self._start_episode()
        chunks = self._advance(actor)
        if self._agent_step == self._task.episode_agent_steps:
            self._episode += 1
            self._agent_step = 0
        if render_px is None:
            return chunks, None
        return chunks, [self.render_reduced(chunk.scene, chunk.frame_states[1:], render_px) for chunk in chunks]

    def evaluate(
        self,
        actor_weights: ActorWeights | None,
        num_episodes: int,
        seed: int,
        first_episode: int = 0,
        randomised_starts: bool | None = None,
    ) -> list[EpisodeResult]:
        """Play whole episodes with the most likely actions, apart from what is being collected.

        Args:
            actor_weights: the policy to judge; None judges uniformly random actions.
            num_episodes: how many episodes to play.
            seed: of the starts; the same seed gives the same starts on every worker.
            first_episode: number of the first one, so that several workers can share one evaluation.
            randomised_starts: whether starts are drawn; None leaves it to the task.
        """
        actor = None if actor_weights is None else SquashedGaussianActor.from_numpy(actor_weights)
        task = self._task
        if randomised_starts is not None:
            task = task.model_copy(update={"randomised_starts": randomised_starts})
        if self._evaluation_env is None or self._evaluation_env.task != task:
            self._evaluation_env = TaskEnvironment(task)
        episodes = range(first_episode, first_episode + num_episodes)
        return [_play(self._evaluation_env, actor, _generator(seed, _EVALUATION, episode)) for episode in episodes]

    def render(self, scene: Scene, frame_states: np.ndarray) -> list[bytes]:
        """PNG files, `task.image_px` square, of states float32 [N, F] of one episode."""
        return [encode_png(frame) for frame in self._frames(scene, frame_states)]

    def render_reduced(self, scene: Scene, frame_states: np.ndarray, render_px: int) -> np.ndarray:
        """The same frames as pixels, reduced to uint8 [N, render_px, render_px, 3]."""
        return reduce_image(self._frames(scene, frame_states), render_px)

    def state(self) -> dict[str, int]:
        """What `set_state` needs. Raises RuntimeError within an episode: simulators are not saved."""
        if self._agent_step:
            raise RuntimeError(
                f"the worker is at agent step {self._agent_step} of an episode; collect to its end first"
            )
        return {"episode": self._episode}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on with the episode after those of `state`; an unfinished one is dropped."""
        self._episode = state["episode"]
        self._agent_step = 0

    def close(self) -> None:
        """Free simulators and OpenGL."""
        for env in self._envs:
            env.close()
        if self._evaluation_env is not None:
            self._evaluation_env.close()
        if self._renderer is not None:
            self._renderer.close()

    def _start_episode(self) -> None:
        place = (self._worker_index, self._episode)
        start_seeds = _generator(self._seed, _STARTS, *place).integers(2**31, size=len(self._envs))
        action_seed = int(_generator(self._seed, _ACTIONS, *place).integers(2**31))
        self._observations = np.stack([env.reset(int(s)) for env, s in zip(self._envs, start_seeds, strict=True)])
        self._uniform = np.random.default_rng(action_seed)
        self._noise = torch.Generator().manual_seed(action_seed)

    def _advance(self, actor: SquashedGaussianActor | None) -> list[EpisodeChunk]:
        first_step = self._agent_step
        observations, frame_states = [self._observations], [self._frame_states()]
        actions, env_rewards, successes = [], [], []
        for _ in range(self._chunk_agent_steps):
            actions.append(self._actions(actor, observations[-1]))
            steps = [env.step(action) for env, action in zip(self._envs, actions[-1], strict=True)]
            observations.append(np.stack([step.observation for step in steps]))
            frame_states.append(self._frame_states())
            env_rewards.append([step.env_reward for step in steps])
            successes.append([step.success for step in steps])
        self._agent_step += self._chunk_agent_steps
        self._observations = observations[-1]
        return [
            EpisodeChunk(
                episode_id=f"episode{self._episode:07d}-worker{self._worker_index:03d}-env{index:03d}",
                first_step=first_step,
                observations=_column(observations, index, np.float32),
                actions=_column(actions, index, np.float32),
                env_rewards=_column(env_rewards, index, np.float32),
                successes=_column(successes, index, np.bool_),
                terminated=steps[index].terminated,
                truncated=steps[index].truncated,
                frame_states=_column(frame_states, index, np.float32),
                scene=env.scene(),
            )
            for index, env in enumerate(self._envs)
        ]

    def _frame_states(self) -> np.ndarray:
        return np.stack([env.frame_state() for env in self._envs])

    def _actions(self, actor: SquashedGaussianActor | None, observations: np.ndarray) -> np.ndarray:
        if actor is None:
            return self._uniform.uniform(-1.0, 1.0, (len(self._envs), ACTION_SIZE)).astype(np.float32)
        return actor.act(torch.from_numpy(observations), self._noise).numpy()

    def _frames(self, scene: Scene, frame_states: np.ndarray) -> np.ndarray:
        if self._renderer is None:
            self._renderer = FrameRenderer(self._task)
        return self._renderer.render(scene, frame_states)


def _play(env: TaskEnvironment, actor: SquashedGaussianActor | None, generator: np.random.Generator) -> EpisodeResult:
    observation = env.reset(int(generator.integers(2**31)))
    successes, seen, env_return, truncated = [], [], 0.0, False
    while not truncated:
        if actor is None:
            action = generator.uniform(-1.0, 1.0, ACTION_SIZE)
        else:
            action = actor.act(torch.from_numpy(observation[None]))[0].numpy()
        observation, env_reward, success, _, truncated = env.step(action)
        successes.append(success)
        seen.append(env.repeated_observations)
        env_return += env_reward
    done_any, done_last = None, None
    if can_tell_done(env.task.env_id):
        done = is_done(env.task.env_id, np.concatenate(seen))
        done_any, done_last = bool(done.any()), bool(done[-1])
    return EpisodeResult(any(successes), successes[-1], env_return, done_any, done_last)


def _column(rows: list, index: int, dtype: type) -> np.ndarray:
    """What one environment gave at each step: [T, ...] of T rows over environments."""
    return np.array([row[index] for row in rows], dtype=dtype)


def _generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of a place of their own: other keys give independent ones."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
