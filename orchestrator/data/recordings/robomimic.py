"""Importing a robomimic HDF5 file: demonstrations of T actions, T observations before them and T behind them.

    data/demo_0/actions, obs/agentview_image, next_obs/agentview_image, rewards, dones, states

`rewards` and `dones` are there if robomimic's own script put them there; pictures, too. See docs/datasets.md.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
from orchestrator.data.recordings.hdf5 import Hdf5Leaf, leaves_of, opened, reading
from orchestrator.data.recordings.importing import ImportProblem, digest_of, write_imported
from orchestrator.data.recordings.leaves import Leaf
from orchestrator.data.schema import DatasetInfo, Origin
from orchestrator.errors import SettingsError

RULE = 1
"""Of `schema.Origin`: raised whenever the same recording would give other episodes."""
STATES = ("robot0_eef_pos", "robot0_joint_pos")
"""Observations that tell moves from targets, by robosuite's custom."""
RENDER = (
    "python -m robomimic.scripts.dataset_states_to_obs --dataset {name} --output_name image.hdf5 --done_mode 2 "
    "--camera_names agentview --camera_height 128 --camera_width 128"
)


def import_robomimic(source: Path, folder: Path, settings: ArraySettings) -> tuple[DatasetInfo, int]:
    """Import all demonstrations of a file. Returns the metadata and the number of problems. Raises SettingsError."""
    with opened(source) as file:
        recording = _Recording(source, file, settings)
        origin = Origin(name=source.name, digest=digest_of(source.resolve().parent, [source.resolve()]), rule=RULE)
        return write_imported(
            folder,
            "robomimic",
            recording.actions,
            settings,
            recording.episodes(),
            len(recording.names),
            origin,
        )


class _Recording:
    """A robomimic file that is open."""

    def __init__(self, source: Path, file: Any, settings: ArraySettings) -> None:
        """Raises SettingsError if it is none, or has no pictures, no actions or no instruction."""
        self._source, self._settings = source, settings
        if settings.instruction is None:
            raise SettingsError(
                f"{source}: robomimic has no instructions; say what is achieved in it, as instruction='lift the cube'"
            )
        if settings.action_keys is not None or settings.success == "recorded":
            raise SettingsError("robomimic has one array of actions, and no flag: leave out action_keys and recorded")
        try:
            with reading():
                self._data = file["data"]
                self.names = sorted((name for name in self._data if name.startswith("demo")), key=_number)
        except ImportProblem as problem:
            raise SettingsError(f"{source} is no robomimic file: its group `data` cannot be read: {problem}") from None
        leaves = self._first_that_is_whole()
        if "obs" not in {name.partition("/")[0] for name in leaves}:
            raise SettingsError(
                f"{source} has the simulator's states only, and no observations. Have them rendered: "
                f"{RENDER.format(name=source.name)}"
            )
        shapes = {
            name.partition("/")[2]: leaf.dataset.shape[1:]
            for name, leaf in leaves.items()
            if name.startswith("obs/") and is_picture(leaf.dataset.shape[1:], leaf.dataset.dtype)
        }
        self._camera = chosen(
            "pictures", "camera", settings.camera,
            [name for name, shape in shapes.items() if is_large(shape)],
            [name for name, shape in shapes.items() if not is_large(shape)],
        )  # fmt: skip
        shape = leaves["actions"].dataset.shape
        if len(shape) != 2 or not shape[1]:
            raise SettingsError(f"{source}: the shape of its actions is {shape}, but must be steps x entries")
        self.actions, self._note = action_space("continuous", shape[1], settings.action_names)
        self._has_rewards = "rewards" in leaves
        self._state = next((name for name in STATES if f"obs/{name}" in leaves), None)
        self._episodes = ArrayEpisodes(settings, self.actions)

    def episodes(self) -> Iterator[Trajectory | ImportProblem]:
        """Every demonstration, and what keeps others from being imported."""
        if self._note is not None:
            yield self._note
        for name in self.names:
            try:
                with reading():
                    recorded = self._recorded(name, leaves_of(self._data[name]))
                    note = self._episodes.look_at(recorded)
                    made = self._episodes.trajectory(recorded)
            except ImportProblem as problem:
                yield ImportProblem(f"{self._source}: {name}: {problem}")
                continue
            if note is not None:
                yield note
            yield made
        yield from self._episodes.last_words()

    def _first_that_is_whole(self) -> Mapping[str, Hdf5Leaf]:
        """The arrays of the first demonstration with actions. Raises SettingsError if there is none."""
        problem = "it has no demonstration"
        for name in self.names:
            try:
                with reading():
                    leaves = leaves_of(self._data[name])
                    if "actions" in leaves:
                        return {place: leaf for place, leaf in leaves.items() if isinstance(leaf, Hdf5Leaf)}
                    problem = f"{name} has no actions"
            except ImportProblem as error:
                problem = f"{name}: {error}"
        raise SettingsError(f"{self._source}: {problem}")

    def _recorded(self, name: str, leaves: Mapping[str, Leaf]) -> Recorded:
        def leaf(place: str) -> Leaf:
            if place not in leaves:
                raise ImportProblem(f"it has no {place}")
            return leaves[place]

        actions = leaf("actions").values()
        length = len(actions)
        before, after = leaf(f"obs/{self._camera}"), leaves.get(f"next_obs/{self._camera}")
        rewards = leaf("rewards").values() if self._has_rewards else None
        dones = leaves["dones"].values() if "dones" in leaves else None
        for place, found in (("pictures", before), ("rewards", rewards), ("dones", dones), ("next pictures", after)):
            if found is not None and len(found) != length:
                raise ImportProblem(f"it has {len(found)} {place} for {length} actions")
        if actions.ndim != 2 or actions.dtype.kind not in "fiu":
            raise ImportProblem(f"its actions are {actions.dtype} of shape {actions.shape}, but must be numbers")
        for values in (rewards, dones):
            if values is not None and (values.ndim != 1 or values.dtype.kind not in "fiub"):
                raise ImportProblem("its rewards and dones must be one number for each action")
        is_done = None if dones is None or not length else bool(dones[-1])
        is_success = succeeded(self._settings.success, rewards=rewards, terminated=is_done)

        def picture(index: int) -> Any:
            # What the last action led to was simulated by robomimic's script.
            found = before.item(index) if index < length or after is None else after.item(length - 1)
            return as_picture(np.asarray(found))

        state = leaves.get(f"obs/{self._state}")
        has_states = state is not None and length > 0 and len(state) == length
        return Recorded(
            name=name,
            instruction=one_instruction((), self._settings.instruction),
            actions=actions,
            num_frames=length if after is None else length + 1,
            pictures=lambda kept: map(picture, kept),
            succeeded=is_success,
            rewards=rewards,
            states=state.values().reshape(length, -1) if has_states and state is not None else None,
        )


def _number(name: str) -> tuple[int, str]:
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isascii() and digits.isdigit() else -1, name)
