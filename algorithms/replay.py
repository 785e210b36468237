"""The replay: agent steps in columns, states in place of pixels, and rewards that can be written anew."""

import numpy as np

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.pixel_frames import PixelFrames, PixelShape
from algorithms.replay_contents import Contents, HeldEpisode, StoredEpisode


class ColumnarReplay:
    """A ring of agent steps, one array per quantity.

    A step's *global index* counts the steps ever added. It never changes, so that frames, ratings and rewards can be
    kept by it; `indices` are those still held. Each step keeps the frame state seen after its action; scenes are kept
    once per episode and leave with its last step. The simulator's reward and success flag have columns of their own,
    which `sample` does not touch.

    For a policy of pictures each frame is kept as pixels, once: what was seen before an action is what was seen after
    the one before it.
    """

    def __init__(
        self, capacity: int, observation_size: int, action_size: int, pixels: PixelShape | None = None
    ) -> None:
        """`pixels` is what a policy of pictures sees; None keeps none."""
        if capacity <= 0:
            raise ValueError(f"capacity {capacity}: a replay holds at least one step")
        self.capacity = capacity
        self._pixels = PixelFrames(capacity, pixels.px, pixels.frame_stack) if pixels is not None else None
        row = {
            "observation": (np.float32, observation_size),
            "next_observation": (np.float32, observation_size),
            "action": (np.float32, action_size),
            "learned_reward": (np.float32,),
            "reward_version": (np.int32,),
            "env_reward": (np.float32,),
            "success": (np.bool_,),
            "terminated": (np.bool_,),
            "truncated": (np.bool_,),
            "episode": (np.int64,),
        }
        self._columns = {name: np.zeros((capacity, *shape), dtype) for name, (dtype, *shape) in row.items()}
        self._episodes: dict[int, HeldEpisode] = {}
        """By number, in order of their first step."""
        self._numbers: dict[str, int] = {}
        self._next_number = 0
        self._oldest = 0
        self._next = 0

    # ------------------------------------------------------------------------------------------------ what is held

    def __len__(self) -> int:
        return self._next - self._oldest

    @property
    def next_index(self) -> int:
        """Global index of the next step to be added: the number of steps ever added."""
        return self._next

    @property
    def indices(self) -> np.ndarray:
        """[N] int64: global indices of all steps held, oldest first."""
        return np.arange(self._oldest, self._next)

    @property
    def nbytes(self) -> int:
        """Bytes that the held steps take, scenes and episode table included."""
        rows = sum(column.nbytes // self.capacity for column in self._columns.values()) * len(self)
        if self._pixels is not None:
            rows += self._pixels.bytes_per_step * len(self) + self._pixels.lead_bytes
        scenes = sum(array.nbytes for episode in self._episodes.values() for array in episode.scene.arrays.values())
        table = sum(
            len(episode.episode_id) + len(episode.instruction) + 16 * len(episode.runs) + 16
            for episode in self._episodes.values()
        )
        return rows + scenes + table

    # ------------------------------------------------------------------------------------------------ writing

    def add(
        self,
        chunk: EpisodeChunk,
        learned_rewards: np.ndarray,
        version: int,
        picture_features: np.ndarray | None = None,
    ) -> np.ndarray:
        """Store a chunk with the rewards [T] that reward model `version` gives its steps; the oldest steps make room.

        `picture_features` [T, F] are kept beside them for exploration; from the first chunk on, or not at all.
        Returns the steps' global indices, [T] int64. Raises ValueError if shapes differ from what is held, or if the
        chunk is empty, was added before, or is longer than the replay.
        """
        self._check(chunk, learned_rewards)
        if "frame_state" not in self._columns:
            self._columns["frame_state"] = np.zeros((self.capacity, chunk.frame_states.shape[1]), np.float32)
        if picture_features is not None and "picture_feature" not in self._columns:
            self._columns["picture_feature"] = np.zeros((self.capacity, picture_features.shape[1]), np.float32)
        indices = np.arange(self._next, self._next + len(chunk))
        # Before room is made, so that an episode all of whose steps leave now is gone on with, and not begun anew.
        number, before = self._register(chunk)
        self._make_room(len(chunk))
        last = np.zeros(len(chunk), dtype=bool)
        last[-1:] = True
        values = {
            "observation": chunk.observations[:-1],
            "next_observation": chunk.observations[1:],
            "action": chunk.actions,
            "learned_reward": learned_rewards,
            "reward_version": version,
            "env_reward": chunk.env_rewards,
            "success": chunk.successes,
            "terminated": last & chunk.terminated,
            "truncated": last & chunk.truncated,
            "episode": number,
            "frame_state": chunk.frame_states[1:],
        }
        if picture_features is not None:
            values["picture_feature"] = picture_features
        slots = indices % self.capacity
        for name, value in values.items():
            self._columns[name][slots] = value
        if self._pixels is not None:
            self._pixels.add(indices, chunk.pixels, number, before)
        self._next += len(chunk)
        return indices

    def relabel(self, indices: np.ndarray, rewards: np.ndarray, version: int) -> None:
        """Write the learned rewards of these steps anew, as given by reward model `version`.

        `indices` [N] are global, `rewards` [N]. Raises ValueError if a step is no longer held.
        """
        if len(indices) != len(rewards):
            raise ValueError(f"relabel: {len(indices)} steps, but {len(rewards)} rewards")
        slots = self._slots(indices)
        self._columns["learned_reward"][slots] = rewards
        self._columns["reward_version"][slots] = version

    # ------------------------------------------------------------------------------------------------ reading

    def sample(self, num_steps: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """`num_steps` steps, uniformly and with replacement, as the policy learns from them.

        Float32 arrays: observation and next_observation [N, observation], action [N, action], learned_reward [N] and
        terminated [N], 0 or 1; and `index` int64 [N], the steps' global indices. A step cut by the time limit is not
        terminated: its value goes on. Where pictures are kept also `pixels` uint8 [N, frame_stack + 1, px, px, 3]: all
        but the last were seen before the action, all but the first after it, and none is of another episode.
        """
        if not len(self):
            raise ValueError("the replay is empty: add experience before sampling")
        indices = rng.integers(self._oldest, self._next, size=num_steps)
        slots = indices % self.capacity
        names = ("observation", "action", "learned_reward", "next_observation", "terminated")
        rows = {name: self._columns[name][slots].astype(np.float32, copy=False) for name in names}
        rows["index"] = indices
        if self._pixels is not None:
            rows["pixels"] = self._pixels.windows(indices, self._columns["episode"][slots], self._oldest)
        return rows

    def next_observations(self, indices: np.ndarray) -> np.ndarray:
        """[N, observation] float32: what was seen after each of these steps' actions, which is what is rewarded."""
        return self._columns["next_observation"][self._slots(indices)]

    def stored_next_observations(self) -> np.ndarray:
        """[N, observation] float32: `next_observations` of all steps held."""
        return self.next_observations(self.indices)

    def stored_picture_features(self) -> np.ndarray:
        """[N, F] float32: what `add` was given of all steps held, in their order."""
        return self._columns["picture_feature"][self._slots(self.indices)]

    def learned_rewards(self, indices: np.ndarray) -> np.ndarray:
        """[N] float32: what the policy learns from."""
        return self._columns["learned_reward"][self._slots(indices)]

    def reward_versions(self, indices: np.ndarray) -> np.ndarray:
        """[N] int32: the reward model that wrote each step's learned reward."""
        return self._columns["reward_version"][self._slots(indices)]

    def env_rewards(self, indices: np.ndarray) -> np.ndarray:
        """[N] float32: the simulator's own rewards, for evaluation and figures only."""
        return self._columns["env_reward"][self._slots(indices)]

    def returns(self, indices: np.ndarray) -> np.ndarray:
        """[N] float32: sums of the simulator's own rewards in each step's episode, up to it, for audits only.

        NaN where the replay no longer holds the episode from its beginning.
        """
        numbers = self._columns["episode"][self._slots(indices)]
        found = np.zeros(len(indices), dtype=np.float32)
        for number in np.unique(numbers):
            episode, of_episode = self._episodes[int(number)], numbers == number
            held = self._held_indices(episode)
            sums = np.cumsum(self.env_rewards(held), dtype=np.float64)
            whole = len(held) == episode.next_step
            found[of_episode] = sums[np.searchsorted(held, indices[of_episode])] if whole else np.nan
        return found

    def successes(self, indices: np.ndarray) -> np.ndarray:
        """[N] bool: the simulator's success flags, for audits only."""
        return self._columns["success"][self._slots(indices)]

    def frames_of(self, indices: np.ndarray) -> tuple[Scene, np.ndarray]:
        """The scene and the frame states [N, F] that rebuild what was seen after these steps' actions.

        Raises ValueError if the steps belong to several episodes, or are no longer held.
        """
        slots = self._slots(indices)
        numbers = np.unique(self._columns["episode"][slots])
        if len(numbers) != 1:
            raise ValueError(f"frames_of: the steps belong to {len(numbers)} episodes; ask for one episode at a time")
        return self._episodes[int(numbers[0])].scene, self._columns["frame_state"][slots]

    def instructions(self, indices: np.ndarray) -> list[str]:
        """What was to be done in each of these steps' episodes; empty where its chunks said nothing of their own."""
        numbers = self._columns["episode"][self._slots(indices)].tolist()
        return [self._episodes[number].instruction for number in numbers]

    def recent_episodes(self, num_episodes: int) -> list[StoredEpisode]:
        """The latest episodes, newest last, the one under way included."""
        latest = list(self._episodes.values())[-num_episodes:]
        return [self._stored(episode) for episode in latest]

    # ------------------------------------------------------------------------------------------------ saving

    def state(self) -> dict[str, np.ndarray]:
        """All that is held, as plain arrays that `np.savez` can write."""
        slots = self.indices % self.capacity
        columns = {name: column[slots] for name, column in self._columns.items()}
        pixels = None if self._pixels is None else self._pixels.state(self.indices, list(self._episodes))
        return Contents(self._oldest, self._next, self._next_number, columns, self._episodes, pixels).as_arrays()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state` returned. Raises ValueError if it does not fit this replay."""
        held = Contents.from_arrays(state)
        if (self._pixels is None) != (held.pixels is None):
            raise ValueError(
                "the stored replay and this one differ in whether they keep pictures: policy.observation has changed"
            )
        if len(held) > self.capacity:
            raise ValueError(f"replay_capacity {self.capacity} is below the {len(held)} steps to be restored")
        self._oldest, self._next, self._next_number = held.oldest, held.following, held.next_number
        slots = self.indices % self.capacity
        for name, values in held.columns.items():
            if name not in self._columns:
                self._columns[name] = np.zeros((self.capacity, *values.shape[1:]), values.dtype)
            if values.shape[1:] != self._columns[name].shape[1:]:
                raise ValueError(
                    f"the stored {name} has shape {values.shape[1:]}, this replay's {self._columns[name].shape[1:]}"
                )
            self._columns[name][slots] = values
        self._episodes = held.episodes
        self._numbers = {episode.episode_id: number for number, episode in self._episodes.items()}
        if self._pixels is not None:
            self._pixels.set_state(held.pixels, self.indices, list(self._episodes))

    # ------------------------------------------------------------------------------------------------ inside

    def _slots(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices)
        if indices.size and (indices.min() < self._oldest or indices.max() >= self._next):
            raise ValueError(
                f"steps {indices.min()} to {indices.max()} were asked for; "
                f"the replay holds {self._oldest} to {self._next - 1}"
            )
        return indices % self.capacity

    def _stored(self, episode: HeldEpisode) -> StoredEpisode:
        held = self._held_indices(episode)
        last = held[-1] % self.capacity
        ended = bool(self._columns["terminated"][last] | self._columns["truncated"][last])
        return StoredEpisode(episode.episode_id, held, len(held) == episode.next_step, ended)

    def _held_indices(self, episode: HeldEpisode) -> np.ndarray:
        return np.concatenate([np.arange(max(start, self._oldest), stop) for start, stop in episode.runs])

    def _scene_shapes(self) -> dict[str, tuple[int, ...]]:
        for episode in self._episodes.values():
            return {key: array.shape for key, array in episode.scene.arrays.items()}
        return {}

    def _check(self, chunk: EpisodeChunk, learned_rewards: np.ndarray) -> None:
        if not len(chunk):
            raise ValueError(f"episode {chunk.episode_id}: a chunk without steps")
        if len(chunk) > self.capacity:
            raise ValueError(f"replay_capacity {self.capacity} is below one chunk of {len(chunk)} steps; raise it")
        if len(learned_rewards) != len(chunk):
            raise ValueError(f"episode {chunk.episode_id}: {len(chunk)} steps, but {len(learned_rewards)} rewards")
        for name, array in (
            ("observation", chunk.observations),
            ("action", chunk.actions),
            ("frame_state", chunk.frame_states),
        ):
            if name in self._columns and array.shape[1] != self._columns[name].shape[1]:
                raise ValueError(
                    f"episode {chunk.episode_id}: {name} has size {array.shape[1]}, "
                    f"the replay holds size {self._columns[name].shape[1]}"
                )
        wanted = None if self._pixels is None else (len(chunk) + 1, *self._pixels.frame_shape)
        given = None if chunk.pixels is None else chunk.pixels.shape
        if wanted is not None and given != wanted:
            raise ValueError(f"episode {chunk.episode_id}: pixels have shape {given}, the replay needs {wanted}")
        shapes = {key: array.shape for key, array in chunk.scene.arrays.items()}
        if self._episodes and shapes != self._scene_shapes():
            raise ValueError(
                f"episode {chunk.episode_id}: its scene is {shapes}, the replay holds {self._scene_shapes()}; "
                "a replay holds episodes of one task"
            )
        number = self._numbers.get(chunk.episode_id)
        if number is not None and chunk.first_step < self._episodes[number].next_step:
            raise ValueError(
                f"episode {chunk.episode_id}: a chunk starts at step {chunk.first_step}, but the next step to come is "
                f"{self._episodes[number].next_step}; add each chunk once, in time order"
            )

    def _make_room(self, num_steps: int) -> None:
        oldest = max(self._oldest, self._next + num_steps - self.capacity)
        indices = np.arange(self._oldest, oldest)
        leaving = self._columns["episode"][indices % self.capacity]
        self._oldest = oldest
        for number in np.unique(leaving):
            episode = self._episodes[int(number)]
            episode.runs = [run for run in episode.runs if run[1] > oldest]
            if self._pixels is not None:
                self._pixels.forget(indices[leaving == number], int(number), is_last=not episode.runs)
            if not episode.runs:
                del self._episodes[int(number)]
                if self._numbers[episode.episode_id] == number:
                    del self._numbers[episode.episode_id]

    def _register(self, chunk: EpisodeChunk) -> tuple[int, int | None]:
        """The episode's number and its newest step held, after noting that its next are those about to be written.

        What comes after a lost chunk counts as an episode of its own, so that an episode's steps stay consecutive.
        """
        number = self._numbers.get(chunk.episode_id)
        if number is None or chunk.first_step > self._episodes[number].next_step:
            number, self._next_number = self._next_number, self._next_number + 1
            self._numbers[chunk.episode_id] = number
            self._episodes[number] = HeldEpisode(chunk.episode_id, chunk.scene, chunk.first_step, chunk.instruction)
        episode = self._episodes[number]
        episode.next_step += len(chunk)
        before = episode.runs[-1][1] - 1 if episode.runs else None
        start, stop = self._next, self._next + len(chunk)
        if episode.runs and episode.runs[-1][1] == start:
            start = episode.runs.pop()[0]
        episode.runs.append((start, stop))
        return number, before
