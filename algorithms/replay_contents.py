"""What a replay holds, and the plain arrays that it is saved as and read again from."""

from dataclasses import dataclass, field

import numpy as np

from algorithms.episodes import Scene


@dataclass(frozen=True)
class StoredEpisode:
    """What the replay still holds of one episode."""

    episode_id: str
    indices: np.ndarray
    """[T] int64: global indices of its steps, in time order. Its oldest steps may be gone, its newest yet to come."""
    whole: bool = True
    """None of its oldest steps is gone."""
    ended: bool = True
    """Its newest step ended it."""

    def __len__(self) -> int:
        return len(self.indices)


@dataclass
class HeldEpisode:
    """What is known of an episode of which steps are held."""

    episode_id: str
    scene: Scene
    next_step: int
    """Agent step of the episode at which its next chunk has to start."""
    instruction: str = ""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """Global indices [start, stop) of its steps; other environments' steps lie between two runs."""


@dataclass(frozen=True)
class Contents:
    """All that a replay holds, whatever its capacity: the N steps from `oldest` on, before `following`."""

    oldest: int
    following: int
    next_number: int
    """Of the next episode to begin."""
    columns: dict[str, np.ndarray]
    """Arrays [N, ...] by the quantity's name, in the order of the steps."""
    episodes: dict[int, HeldEpisode]
    """By number, in order of their first step; all scenes have the same arrays of the same shapes."""
    pixels: dict[str, np.ndarray] | None
    """What `PixelFrames.state` returned; None where no pictures are kept."""

    def __len__(self) -> int:
        return self.following - self.oldest

    def as_arrays(self) -> dict[str, np.ndarray]:
        """Arrays that `np.savez` can write, and `from_arrays` reads."""
        episodes = self.episodes.values()
        state = {f"column.{name}": values for name, values in self.columns.items()}
        state["range"] = np.array([self.oldest, self.following, self.next_number], dtype=np.int64)
        state["episode.number"] = np.array(list(self.episodes), dtype=np.int64)
        state["episode.id"] = np.array([episode.episode_id for episode in episodes], dtype=np.str_)
        state["episode.instruction"] = np.array([episode.instruction for episode in episodes], dtype=np.str_)
        state["episode.next_step"] = np.array([episode.next_step for episode in episodes], dtype=np.int64)
        runs = [(number, *run) for number, episode in self.episodes.items() for run in episode.runs]
        state["run"] = np.array(runs, dtype=np.int64).reshape(-1, 3)
        scene_names = next((list(episode.scene.arrays) for episode in episodes), [])
        for name in scene_names:
            state[f"scene.{name}"] = np.stack([episode.scene.arrays[name] for episode in episodes])
        if self.pixels is not None:
            state |= {f"pixels.{name}": array for name, array in self.pixels.items()}
        return state

    @classmethod
    def from_arrays(cls, state: dict[str, np.ndarray]) -> "Contents":
        """What `as_arrays` wrote, also by older versions."""
        oldest, following, next_number = (int(value) for value in state["range"])
        pixels = _part(state, "pixels") if "pixels.frame" in state else None
        return cls(oldest, following, next_number, _part(state, "column"), _episodes_of(state), pixels)


def _episodes_of(state: dict[str, np.ndarray]) -> dict[int, HeldEpisode]:
    table, scenes = _part(state, "episode"), _part(state, "scene")
    # Older states have none: then all episodes had their task's.
    instructions = table.get("instruction", np.full(len(table["number"]), ""))
    episodes = {}
    for row, number in enumerate(table["number"]):
        scene = Scene({name: array[row].copy() for name, array in scenes.items()})
        next_step, instruction = int(table["next_step"][row]), str(instructions[row])
        episodes[int(number)] = HeldEpisode(str(table["id"][row]), scene, next_step, instruction)
    for number, start, stop in state["run"]:
        episodes[int(number)].runs.append((int(start), int(stop)))
    return episodes


def _part(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{prefix}."): array for name, array in state.items() if name.startswith(f"{prefix}.")}
