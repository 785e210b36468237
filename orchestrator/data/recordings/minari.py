"""Importing a Minari data set, in HDF5, Arrow or Parquet: T actions and T + 1 observations for each episode.

    data/metadata.json
    data/main_data.hdf5                  or     data/0/part-0.arrow, data/0/metadata.json, data/1/...

Read by h5py and pyarrow, not by Minari itself: that reads an episode with all it has into memory, and stops at the
first one that is damaged. See docs/datasets.md.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actors.babyai.settings import ACTION_NAMES
from algorithms.trajectories import Trajectory
from orchestrator.data.recordings.arrays import (
    ArrayEpisodes,
    ArraySettings,
    Recorded,
    action_space,
    as_picture,
    chosen,
    is_large,
    is_picture,
    one_instruction,
    succeeded,
)
from orchestrator.data.recordings.importing import ImportProblem, digest_of, write_imported
from orchestrator.data.recordings.leaves import Leaf
from orchestrator.data.recordings.minari_storages import Storage, open_storage
from orchestrator.data.schema import ActionSpace, DatasetInfo, Origin
from orchestrator.errors import SettingsError
from orchestrator.screen.counts import counted

RULE = 1
"""Of `schema.Origin`: raised whenever the same recording would give other episodes."""
SUCCESS = ("success", "is_success")
"""What infos may say of success."""
FLAGS = ("rewards", "terminations", "truncations")
WHOLE = "observation"
"""What an observation, or an action, is called that is no dictionary."""


class MinariSettings(ArraySettings):
    """Settings of the importer."""

    instruction_key: str | None = None
    """The observation that has the instruction; absent: the only text there is."""


def import_minari(source: Path, folder: Path, settings: MinariSettings) -> tuple[DatasetInfo, int]:
    """Import all episodes. Returns the set's metadata and the number of problems. Raises SettingsError."""
    data = source / "data" if (source / "data").is_dir() else source
    recording = _Recording(source, data, settings)
    with recording.storage as storage:
        digest = digest_of(source, [data / "metadata.json", *storage.files()])
        origin = Origin(name=source.resolve().name, digest=digest, rule=RULE)
        return write_imported(
            folder,
            "minari",
            recording.actions,
            settings,
            recording.episodes(),
            max(len(storage.numbers), recording.promised or 0),
            origin,
            stated_bounds=recording.stated_bounds,
        )


class _Recording:
    """A Minari data set in a folder."""

    def __init__(self, source: Path, data: Path, settings: MinariSettings) -> None:
        """Raises SettingsError if it is none, or if it lacks pictures, actions or an instruction."""
        self._source, self._settings = source, settings
        metadata = _metadata(source, data / "metadata.json")
        self.promised = metadata.get("total_episodes")
        observations = _leaves(_space(source, metadata, "observation_space"))
        actions = _leaves(_space(source, metadata, "action_space"))
        boxes = {name: one for name, one in observations.items() if one.get("type") == "Box"}
        pictures = {name: _shape(one) for name, one in boxes.items() if is_picture(_shape(one), one["dtype"])}
        self._camera = chosen(
            "pictures", "camera", settings.camera,
            [name for name, shape in pictures.items() if is_large(shape)],
            [name for name, shape in pictures.items() if not is_large(shape)],
        )  # fmt: skip
        self._picture_shape = pictures[self._camera]
        texts = [name for name, one in observations.items() if one.get("type") == "Text"]
        self._mission = None
        if settings.instruction is None:
            if not texts:
                raise SettingsError(
                    f"{source} says nowhere what was to be achieved: set it for all episodes, as instruction='open it'"
                )
            self._mission = chosen("texts", "instruction_key", settings.instruction_key, texts)
        self._state = next((name for name in ("state", "observation", WHOLE) if name in boxes.keys() - pictures), None)
        self._keys, self.actions, self._start, self._note = _actions(source, actions, metadata, settings)
        self.stated_bounds = self._bounds(actions)
        self._episodes = ArrayEpisodes(settings, self.actions)
        self.storage: Storage = open_storage(source, data, str(metadata.get("data_format", "hdf5")))

    def episodes(self) -> Iterator[Trajectory | ImportProblem]:
        """Every episode, and what keeps others from being imported."""
        if self._note is not None:
            yield self._note
        for number in self.storage.numbers:
            name = f"episode-{number:06d}"
            try:
                with self.storage.episode(number) as leaves:
                    recorded = self._recorded(name, leaves)
                    note = self._episodes.look_at(recorded)
                    made = self._episodes.trajectory(recorded)
            except ImportProblem as problem:
                yield ImportProblem(f"{self._source}: {name}: {problem}")
                continue
            if note is not None:
                yield note
            yield made
        yield from self._episodes.last_words()
        missing = (self.promised or 0) - len(self.storage.numbers)
        if missing > 0:
            yield ImportProblem(
                f"{self._source}: metadata.json promises {counted(self.promised, 'episode')}, of which {missing:,} "
                "cannot be found",
                missing,
            )

    def _recorded(self, name: str, leaves: Mapping[str, Leaf]) -> Recorded:
        def leaf(key: str) -> Leaf:
            if key not in leaves:
                raise ImportProblem(f"it has no {key}")
            return leaves[key]

        pictures = leaf(_path("observations", self._camera))
        rewards, terminated, truncated = (_single(leaf(key).values(), key) for key in FLAGS)
        pieces = [leaf(_path("actions", key)).values() for key in self._keys]
        length = len(rewards)
        for key, found in (("terminations", terminated), ("truncations", truncated), ("actions", pieces[0])):
            if len(found) != length:
                raise ImportProblem(f"it has {len(found)} {key} and {length} rewards")
        if not length or len(pictures) != length + 1:
            raise ImportProblem(f"it has {len(pictures)} observations for {length} actions, but must have one more")
        texts = leaf(_path("observations", self._mission)).texts() if self._mission is not None else []
        flags = next((leaves[f"infos/{key}"].values() for key in SUCCESS if f"infos/{key}" in leaves), None)
        ended = bool(terminated[-1]) and not bool(truncated[-1])
        if self._settings.success is None and flags is None:
            # As environments of goals have it: they end where they reward.
            is_success = ended and bool(rewards[-1] > 0)
        else:
            is_success = succeeded(self._settings.success, _flags(flags), rewards, ended)
        state = leaves.get(_path("observations", self._state)) if self._state is not None else None
        return Recorded(
            name=name,
            instruction=one_instruction(texts, self._settings.instruction),
            actions=self._joined(pieces),
            num_frames=len(pictures),
            pictures=lambda kept: (self._picture(pictures, index) for index in kept),
            succeeded=is_success,
            failed_for_good=ended and not is_success,
            rewards=rewards,
            states=state.values().reshape(length + 1, -1) if state is not None and len(state) == length + 1 else None,
        )

    def _joined(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        if self.actions.kind == "discrete":
            return _single(pieces[0], "actions") - self._start
        if len({len(piece) for piece in pieces}) > 1:
            raise ImportProblem("the pieces of its actions are not equally long")
        return np.concatenate([_numbers(piece.reshape(len(piece), -1), "actions") for piece in pieces], axis=1)

    def _picture(self, pictures: Leaf, index: int) -> Image.Image | bytes:
        found = pictures.item(index)
        if isinstance(found, bytes):
            return found
        size = math.prod(self._picture_shape)
        # Rows of bytes are JPEG files that happen to be equally long.
        if found.ndim == 1 and found.size != size:
            return found.astype(np.uint8).tobytes()
        return as_picture(found.reshape(self._picture_shape) if found.size == size else found)

    def _bounds(self, spaces: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """What the action space says, unless sums go beyond it."""
        if self.actions.kind == "discrete" or (self._settings.actions == "relative" and self._settings.every > 1):
            return None
        try:
            low, high = (
                np.concatenate([np.asarray(spaces[key][side], np.float64).reshape(-1) for key in self._keys])
                for side in ("low", "high")
            )
        except (KeyError, ValueError, TypeError):
            return None
        size = len(self.actions.names)
        if not (len(low) == len(high) == size and np.isfinite(np.float32([low, high])).all() and (low <= high).all()):
            return None
        return tuple(low.tolist()), tuple(high.tolist())


def _actions(
    source: Path, spaces: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, Any], settings: MinariSettings
) -> tuple[tuple[str, ...], ActionSpace, int, ImportProblem | None]:
    """Which pieces count, what an action is, the number of its first choice, and a note."""
    usable = {name: one for name, one in spaces.items() if one.get("type") in ("Box", "Discrete")}
    keys = settings.action_keys or (tuple(usable) if len(usable) == 1 else ())
    if not keys or not usable.keys() >= set(keys):
        found = ", ".join(usable) or ", ".join(str(one.get("type")) for one in spaces.values())
        raise SettingsError(f"{source}: set action_keys to those that count, such as '[{found}]'; it has {found}")
    known = metadata.get("action_names")
    known = known if isinstance(known, list) and all(isinstance(name, str) for name in known) else None
    kinds = {usable[key]["type"] for key in keys}
    if kinds == {"Discrete"} and len(keys) == 1:
        number, start = (
            _whole(source, usable[keys[0]].get(what, default)) for what, default in (("n", None), ("start", 0))
        )
        if known is None and _is_minigrid(metadata):
            known = list(ACTION_NAMES)
        space, note = action_space("discrete", number, settings.action_names, known)
        return keys, space, start, note
    if kinds != {"Box"}:
        raise SettingsError(f"{source}: action_keys = {', '.join(keys)}: several can be joined if each is a Box")
    size = sum(math.prod(_shape(usable[key])) for key in keys)
    if not size:
        raise SettingsError(f"{source}: its actions have no entry")
    space, note = action_space("continuous", size, settings.action_names, known)
    return keys, space, 0, note


def _is_minigrid(metadata: Mapping[str, Any]) -> bool:
    try:
        spec = json.loads(str(metadata.get("env_spec")))
        return str(spec["id"]).startswith(("MiniGrid-", "BabyAI-"))
    except (ValueError, KeyError, TypeError):
        return False


def _metadata(source: Path, path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{source} is no Minari data set: it has no data/metadata.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    promised = found.get("total_episodes") if isinstance(found, dict) else -1
    if promised is not None and (not isinstance(promised, int) or promised < 0):
        raise SettingsError(f"{path}: total_episodes must be a number of episodes")
    return found


def _space(source: Path, metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    try:
        space = json.loads(metadata[name])
        if isinstance(space, dict):
            return space
    except (KeyError, ValueError, TypeError, RecursionError):
        pass
    raise SettingsError(f"{source}/data/metadata.json: it has no {name} that can be read")


def _leaves(space: Mapping[str, Any], path: str = "") -> dict[str, Mapping[str, Any]]:
    """The spaces of single arrays by their place, such as `arm/pose`. Raises SettingsError."""
    inner = space.get("subspaces")
    if space.get("type") == "Dict" and isinstance(inner, dict):
        pairs = list(inner.items())
    elif space.get("type") == "Tuple" and isinstance(inner, list):
        pairs = [(f"_index_{number}", one) for number, one in enumerate(inner)]
    else:
        return {path or WHOLE: space}
    nested = [_leaves(one, f"{path}/{key}".lstrip("/")) for key, one in pairs if isinstance(one, dict)]
    return dict(itertools.chain.from_iterable(one.items() for one in nested))


def _shape(space: Mapping[str, Any]) -> tuple[int, ...]:
    shape = space.get("shape")
    if isinstance(shape, list) and all(isinstance(size, int) and 0 <= size < 2**16 for size in shape):
        np.dtype(str(space.get("dtype")))
        return tuple(shape)
    raise SettingsError(f"metadata.json: the shape of a space is {shape!r}, but must be a list of sizes")


def _whole(source: Path, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10_000:
        return value
    raise SettingsError(f"{source}/data/metadata.json: its discrete action space has {value!r} as a number of choices")


def _path(group: str, key: str | None) -> str:
    return group if key in (None, WHOLE) else f"{group}/{key}"


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise ImportProblem(f"its {what} are {values.dtype}, but must be numbers")
    return values


def _single(values: np.ndarray, what: str) -> np.ndarray:
    if values.ndim == 1:
        return _numbers(values, what)
    raise ImportProblem(f"its {what} have the shape {values.shape}, but must be one for each action")


def _flags(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None or values.dtype.kind not in "fiub" else values
