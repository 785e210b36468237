"""What one environment of a rollout worker does, from the start of an episode on, cut into chunks."""

import numpy as np

from actors.rollout.sight import Sight
from actors.worlds.world import World, WorldStep
from algorithms.episodes import EpisodeChunk
from algorithms.frame_codec import encode


class Trail:
    """The episode under way in one world, and of it the steps that no chunk has yet."""

    def __init__(self, world: World, episode_id: str, seed: int, sight: Sight | None = None) -> None:
        """Begin the episode; with `sight` for a policy that sees pictures of it."""
        self.sight = sight
        self._world = world
        self._episode_id = episode_id
        self._draws_again = world.spec.draws_again
        self._first_step = 0
        self._observations = [world.reset(seed)]
        self.instruction = world.instruction()
        """What is to be done in this episode."""
        self._frame_states = [world.frame_state()]
        self._frames: list[np.ndarray] = []
        self._pixels: list[np.ndarray] = []
        self._look()
        self._steps: list[WorldStep] = []
        self.ended = False
        """Whether a step has ended the episode."""
        self._actions: list[np.ndarray] = []

    def __len__(self) -> int:
        """Steps that no chunk has yet."""
        return len(self._steps)

    @property
    def observation(self) -> np.ndarray:
        """[observation] float32: what is seen now."""
        return self._observations[-1]

    def step(self, action: np.ndarray) -> None:
        """Act once."""
        step = self._world.step(action)
        self._actions.append(action)
        self._steps.append(step)
        self.ended = step.terminated or step.truncated
        self._observations.append(step.observation)
        self._frame_states.append(self._world.frame_state())
        self._look()

    def _look(self) -> None:
        """Take the frame there is now, if anyone wants it."""
        if self.sight is not None:
            frame, small = self.sight.look()
            self._frames.append(frame)
            self._pixels.append(small)
        elif not self._draws_again:
            self._frames.append(self._world.frame())

    def cut(self) -> tuple[EpisodeChunk, np.ndarray | None]:
        """The steps since the last cut as a chunk, and their frames uint8 [T + 1, px, px, 3] if they were taken."""
        frames = np.stack(self._frames) if self._frames else None
        chunk = EpisodeChunk(
            episode_id=self._episode_id,
            first_step=self._first_step,
            observations=np.array(self._observations, dtype=np.float32),
            actions=np.array(self._actions, dtype=np.float32),
            env_rewards=np.array([step.env_reward for step in self._steps], dtype=np.float32),
            successes=np.array([step.success for step in self._steps], dtype=np.bool_),
            terminated=self._steps[-1].terminated,
            truncated=self._steps[-1].truncated,
            frame_states=np.array(self._frame_states, dtype=np.float32),
            scene=self._world.scene(),
            pixels=np.stack(self._pixels) if self._pixels else None,
            frames=None if self._draws_again else encode(frames),
            instruction=self.instruction if self._world.spec.says_instruction else "",
        )
        self._first_step += len(self)
        self._observations, self._frame_states = self._observations[-1:], self._frame_states[-1:]
        self._frames, self._pixels = self._frames[-1:], self._pixels[-1:]
        self._steps, self._actions = [], []
        return chunk, frames
