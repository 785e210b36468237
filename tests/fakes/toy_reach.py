"""A task that a child could solve, with the face of a rollout worker: move a dot along a line to the right end.

Every actor's process imports this module, so torch is imported where it is needed, and no simulator at all.
"""

from dataclasses import dataclass

import numpy as np

from actors.rating.backend import Reply
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rollout.settings import RolloutSettings
from actors.worlds.metaworld.settings import MetaWorldTask
from actors.worlds.world import WorldSpec
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.images import decode_png, encode_png, reduce_image

OBSERVATION_SIZE = 1
ACTION_SIZE = 1
STEP = 0.1
GOAL = 0.8
IMAGE_PX = 28


SPEC = WorldSpec(
    observation_size=1, action_size=1, longest_agent_steps=40, fixed_length=True, draws_again=True, knows_success=True
)


@dataclass(frozen=True)
class Share:
    """As `actors.rollout.worker` has it."""

    chunks: list[EpisodeChunk]
    period_over: bool


@dataclass(frozen=True)
class EpisodeResult:
    """As `actors.rollout.playing` has it."""

    success: bool
    success_last: bool
    env_return: float
    done_any: None = None
    done_last: None = None
    solved_at_start: None = None
    num_agent_steps: int = 0


def actor_of(weights):
    """The policy to act with; None for random actions."""
    from algorithms.actor_network import SquashedGaussianActor

    return None if weights is None else SquashedGaussianActor.from_numpy(weights)


def draw(position: float) -> np.ndarray:
    """uint8 [28, 28, 3]: a bright column where the dot is, and the exact position in one pixel: no two are equal."""
    frame = np.zeros((IMAGE_PX, IMAGE_PX, 3), np.uint8)
    frame[:, column_of(position)] = 255
    frame[-1, 0] = (*divmod(round((position + 1.0) * 30_000), 256), 0)
    return frame


def column_of(position: float) -> int:
    """Column of a position in [-1, 1]."""
    return round((position + 1.0) / 2.0 * (IMAGE_PX - 1))


class ToyWorker:
    """One environment; everything follows from (seed, worker, episode)."""

    def __init__(self, task: MetaWorldTask, rollout: RolloutSettings, seed: int, worker_index: int) -> None:
        self._steps = task.episode_agent_steps
        self._chunk = rollout.chunk_agent_steps
        self._key = (seed, worker_index)
        self._episode = 0
        self._step = 0

    def collect(self, weights, render_px=None):
        import torch

        if self._step == 0:
            self._rng = np.random.default_rng([*self._key, 0, self._episode])
            self._noise = torch.Generator().manual_seed(int(self._rng.integers(2**31)))
            self._position = float(self._rng.uniform(-1.0, 0.0))
        actor = actor_of(weights)
        positions, actions = [self._position], []
        for _ in range(self._chunk):
            if actor is None:
                action = float(self._rng.uniform(-1.0, 1.0))
            else:
                action = float(actor.act(torch.tensor([[positions[-1]]]), self._noise))
            actions.append(action)
            positions.append(float(np.clip(positions[-1] + STEP * action, -1.0, 1.0)))
        first_step, self._position = self._step, positions[-1]
        self._step += self._chunk
        truncated = self._step == self._steps
        column = np.array(positions, np.float32)[:, None]
        chunk = EpisodeChunk(
            episode_id=f"episode{self._episode:07d}-worker{self._key[1]}",
            first_step=first_step,
            observations=column,
            actions=np.array(actions, np.float32)[:, None],
            env_rewards=np.array(positions[1:], np.float32),
            successes=np.array(positions[1:]) > GOAL,
            terminated=False,
            truncated=truncated,
            frame_states=column,
            scene=Scene({}),
        )
        if truncated:
            self._step, self._episode = 0, self._episode + 1
        frames = None if render_px is None else [self.render_reduced(chunk.scene, column[1:], render_px)]
        return Share([chunk], truncated), frames

    def evaluate(self, weights, num_episodes, seed, first_episode=0, randomised_starts=False, start_spread=0.0):
        import torch

        actor = actor_of(weights)
        results = []
        for episode in range(first_episode, first_episode + num_episodes):
            rng = np.random.default_rng([seed, 1, episode])
            position, successes = float(rng.uniform(-1.0, 0.0)), []
            for _ in range(self._steps):
                action = rng.uniform(-1.0, 1.0) if actor is None else float(actor.act(torch.tensor([[position]])))
                position = float(np.clip(position + STEP * action, -1.0, 1.0))
                successes.append(position > GOAL)
            results.append(EpisodeResult(any(successes), successes[-1], 0.0))
        return results

    def render(self, scene, frame_states):
        return [encode_png(draw(float(state[0]))) for state in frame_states]

    def render_reduced(self, scene, frame_states, render_px):
        return reduce_image(np.stack([draw(float(state[0])) for state in frame_states]), render_px)

    def state(self):
        assert self._step == 0
        return {"episode": self._episode}

    def set_state(self, state):
        self._episode, self._step = state["episode"], 0


def rate_by_position(prompt, images, choices):
    """What an honest rater says: the level is the third of the line that the dot is in; of two pictures, the one whose
    dot is further right is nearer to the goal, unless both are about equally far."""
    if not choices:
        return "a dot on a line"
    if images:
        column, *other = (int(decode_png(image)[0, :, 0].argmax()) for image in images)
        if other:
            return choices[2] if abs(column - other[0]) < 2 else choices[int(other[0] > column)]
        return choices[min(len(choices) * column // IMAGE_PX, len(choices) - 1)]
    raise AssertionError("the toy rater is asked in one turn")


class CountingServer(RatingServer):
    """A rating server that knows how many questions it was asked, and can be told to fail."""

    def __init__(self, settings: RaterSettings, broken: bool = False) -> None:
        self.num_asked = 0
        self.broken = broken
        super().__init__(settings, FunctionBackend(self._answer), first_pause_s=0.01)

    def _answer(self, prompt, images, choices) -> str | Reply:
        self.num_asked += bool(choices)
        return "I would rather not say" if self.broken else rate_by_position(prompt, images, choices)

    async def asked(self) -> int:
        return self.num_asked

    async def set_broken(self, broken: bool) -> None:
        self.broken = broken
