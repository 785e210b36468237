"""Importing RLDS: a folder of TFDS with an episode in each record, and a list of steps in each episode.

    features.json, dataset_info.json
    NAME-train.tfrecord-00000-of-00012

TFDS itself needs TensorFlow to read these; here the records are read as what they are, by protobuf. In RLDS the last
step has the last observation and no valid action; sets that were made by hand often keep a real one there. What that
led to was never seen, so either way the action of the last step is left out. See docs/datasets.md.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

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
from orchestrator.data.recordings.rlds_metadata import STEPS, read_features, read_shards
from orchestrator.data.recordings.steps import LOOKED_AT
from orchestrator.data.recordings.tfrecord import features_of, records
from orchestrator.data.schema import ActionSpace, DatasetInfo, Origin
from orchestrator.errors import SettingsError
from orchestrator.screen.counts import counted

RULE = 1
"""Of `schema.Origin`: raised whenever the same recording would give other episodes."""
SUCCESS = "episode_metadata/success"
STATES = ("observation/state", "observation/proprio", "observation/robot_state")
INSTRUCTIONS = ("language_instruction", "observation/natural_language_instruction")
"""Where instructions are by custom, if there is more than one text."""


class RldsSettings(ArraySettings):
    """Settings of the importer."""

    split: str = "train"
    """Which part of the set."""
    instruction_key: str | None = None
    """The text with the instruction; absent: `language_instruction`, or the only text there is."""
    last_step: Literal["padding", "action"] | None = None
    """What the last step of an episode has beside its observation. `padding`: nothing that counts, as in RLDS.
    `action`: an action and its reward, which then counts towards success. Absent: as `padding`, and if last actions are
    not zero a line says so."""


def import_rlds(source: Path, folder: Path, settings: RldsSettings) -> tuple[DatasetInfo, int]:
    """Import a split. Returns the set's metadata and the number of problems. Raises SettingsError."""
    recording = _Recording(source, settings)
    files = [source / "features.json", source / "dataset_info.json", *(shard.path for shard in recording.shards)]
    # The folder of a version is called 1.0.0; the one above has the name.
    place = source.resolve()
    origin = Origin(name=f"{place.parent.name}/{place.name}", digest=digest_of(source, files), rule=RULE)
    total = sum(shard.length for shard in recording.shards)
    return write_imported(folder, "rlds", recording.actions, settings, recording.episodes(), total, origin)


class _Recording:
    """A folder of TFDS."""

    def __init__(self, source: Path, settings: RldsSettings) -> None:
        """Raises SettingsError if it is none, or lacks pictures, actions or instructions."""
        self._source, self._settings = source, settings
        self._features = read_features(source)
        self.shards = read_shards(source, settings.split)
        found = {name: one for name, one in self._features.items() if one.kind == "picture"}
        arrays = {
            name: one.shape
            for name, one in self._features.items()
            if one.kind == "number" and one.dtype == "uint8" and is_picture(one.shape, np.uint8)
        }
        self._camera = chosen(
            "pictures", "camera", settings.camera,
            [*found, *(name for name, shape in arrays.items() if is_large(shape))],
            [name for name, shape in arrays.items() if not is_large(shape)],
        )  # fmt: skip
        self._text = None if settings.instruction is not None else self._chosen_text()
        self._keys, self.actions, self._note = self._chosen_actions()
        self._state = next((name for name in STATES if name in self._features), None)
        self._episodes = ArrayEpisodes(settings, self.actions)
        self._num_real = self._num_seen = 0
        self._is_told = False

    def episodes(self) -> Iterator[Trajectory | ImportProblem]:
        """Every episode, and what keeps others from being imported."""
        if self._note is not None:
            yield self._note
        for shard in self.shards:
            index = 0
            try:
                for index, record in enumerate(records(shard.path), start=1):
                    if isinstance(record, ImportProblem):
                        yield record
                    else:
                        yield from self._made(f"episode-{shard.first + index - 1:06d}", record)
            except ImportProblem as problem:
                yield ImportProblem(
                    f"{problem}; lost: {counted(shard.length - index, 'episode')}", shard.length - index
                )
                continue
            if index < shard.length:
                missing = shard.length - index
                yield ImportProblem(
                    f"{shard.path}: of its {counted(shard.length, 'episode')} {missing:,} cannot be found", missing
                )
        note = self._note_on_last_steps(enough=1)
        if note is not None:
            yield note
        yield from self._episodes.last_words()

    def _note_on_last_steps(self, enough: int) -> ImportProblem | None:
        """What the last steps look like, once `enough` were seen; said once."""
        if self._settings.last_step is not None or self._is_told or self._num_seen < enough:
            return None
        self._is_told = True
        if self._num_real < self._num_seen:
            return None
        return ImportProblem(
            "the actions of last steps are not zero, so this set seems to keep real ones there: if so, "
            "last_step=action lets their rewards count towards success; if not, last_step=padding ends this note",
            is_note=True,
        )

    def _made(self, name: str, record: bytes) -> Iterator[Trajectory | ImportProblem]:
        try:
            recorded = self._recorded(name, features_of(record))
            note = self._episodes.look_at(recorded)
            made = self._episodes.trajectory(recorded)
        except ImportProblem as problem:
            yield ImportProblem(f"{self._source}: {name}: {problem}")
            return
        for one in (note, self._note_on_last_steps(enough=LOOKED_AT)):
            if one is not None:
                yield one
        yield made

    def _recorded(self, name: str, lists: Mapping[str, list[Any]]) -> Recorded:
        firsts = self._flags(lists, "is_first")
        num_steps = len(firsts) if firsts is not None else len(_list(lists, self._camera)) // self._size(self._camera)
        if num_steps < 2:
            raise ImportProblem(f"its {num_steps} steps are too few for one action")
        pieces = [self._numbers(lists, key, num_steps) for key in self._keys]
        actions = pieces[0][:, 0] if self.actions.kind == "discrete" else np.concatenate(pieces, axis=1)
        self._num_seen += 1
        self._num_real += bool(np.any(actions[-1] != 0))
        # With padding the last observation is what the last action led to; else that was never seen.
        length = num_steps if self._settings.last_step == "action" else num_steps - 1
        rewards = self._numbers(lists, "reward", num_steps)[:, 0] if "reward" in self._features else None
        ends = self._flags(lists, "is_terminal")
        texts = [] if self._text is None else [_decoded(text) for text in _list(lists, self._text)]
        flags = lists.get(SUCCESS)
        return Recorded(
            name=name,
            instruction=one_instruction(texts, self._settings.instruction),
            actions=actions[:length],
            num_frames=num_steps,
            pictures=lambda kept: (self._picture(lists, index, num_steps) for index in kept),
            succeeded=succeeded(
                self._settings.success,
                flags,
                None if rewards is None else rewards[:length],
                None if ends is None else bool(ends[-1]),
            ),
            rewards=None if rewards is None else rewards[:length],
            states=self._numbers(lists, self._state, num_steps) if self._state is not None else None,
        )

    def _numbers(self, lists: Mapping[str, list[Any]], name: str, num_steps: int) -> np.ndarray:
        """[steps, entries]. Raises ImportProblem."""
        values = _list(lists, name)
        size = self._size(name)
        if len(values) != num_steps * size or not all(isinstance(value, int | float) for value in values):
            raise ImportProblem(f"{name} has {len(values)} numbers, but must have {size} in each of {num_steps} steps")
        return np.array(values).reshape(num_steps, size)

    def _flags(self, lists: Mapping[str, list[Any]], name: str) -> list[Any] | None:
        return lists.get(f"{STEPS}/{name}") if name in self._features else None

    def _size(self, name: str) -> int:
        return max(1, self._features[name].size)

    def _picture(self, lists: Mapping[str, list[Any]], index: int, num_steps: int) -> Any:
        values, feature = _list(lists, self._camera), self._features[self._camera]
        if feature.kind == "picture":
            if len(values) != num_steps or not isinstance(values[index], bytes):
                raise ImportProblem(
                    f"{self._camera} has {counted(len(values), 'picture')} for {counted(num_steps, 'step')}"
                )
            return values[index]
        if len(values) != num_steps * feature.size:
            raise ImportProblem(f"{self._camera} has {len(values)} numbers for {num_steps} steps")
        pixels = np.array(values[index * feature.size : (index + 1) * feature.size])
        if pixels.dtype.kind not in "iu" or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
            raise ImportProblem(f"{self._camera} has values that are no bytes")
        return as_picture(pixels.astype(np.uint8).reshape(feature.shape))

    def _chosen_text(self) -> str:
        texts = [name for name, one in self._features.items() if one.kind == "text"]
        if not texts:
            raise SettingsError(
                f"{self._source} says nowhere what was to be achieved: set it for all, as instruction='open it'"
            )
        custom = next((name for name in INSTRUCTIONS if name in texts), None)
        return chosen("texts", "instruction_key", self._settings.instruction_key or custom, texts)

    def _chosen_actions(self) -> tuple[tuple[str, ...], ActionSpace, ImportProblem | None]:
        usable = {name: one for name, one in self._features.items() if one.kind in ("number", "whole", "label")}
        keys = self._settings.action_keys or (("action",) if "action" in usable else ())
        if not keys or not usable.keys() >= set(keys):
            found = [name for name in usable if name.startswith("action")] or list(usable)
            raise SettingsError(
                f"{self._source}: set action_keys to those that count, such as '[{', '.join(found)}]'; steps have "
                f"{', '.join(usable)}"
            )
        first, names = usable[keys[0]], self._settings.action_names
        if len(keys) == 1 and first.kind in ("label", "whole"):
            number = first.num_classes or len(names or ())
            if not number:
                raise SettingsError(
                    f"{self._source}: {keys[0]} is a whole number: name the choices by 'action_names=[...]'"
                )
            return (keys, *action_space("discrete", number, names))
        return (keys, *action_space("continuous", sum(max(1, usable[key].size) for key in keys), names))


def _list(lists: Mapping[str, list[Any]], name: str) -> list[Any]:
    found = lists.get(f"{STEPS}/{name}")
    if found is None:
        raise ImportProblem(f"it has no {name}")
    return found


def _decoded(text: Any) -> str:
    try:
        return text.decode()
    except (UnicodeDecodeError, AttributeError) as error:
        raise ImportProblem(f"its instruction is no text: {error}") from None
