"""A data set of ours as a Minari data set, in HDF5: T actions and T + 1 observations, pictures without loss.

Minari knows a data set by the name of its folder, such as `robot-v0`; `MINARI_DATASETS_PATH` is the folder above.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.images import decode_png
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.exports.exporting import ExportSettings, Survey, reward_of
from orchestrator.data.schema import ActionSpace
from orchestrator.errors import SettingsError

VERSION = "0.5.4"
"""Of the Minari that writes such files."""
PICTURE, MISSION = "image", "mission"
"""Entries of an observation."""


def write_minari(
    dataset: TrajectoryDataset, folder: Path, settings: ExportSettings, survey: Survey, episodes: Iterator[Trajectory]
) -> None:
    """Write the set into an empty folder. Raises SettingsError if the format does not fit."""
    import h5py

    name = folder.name.removeprefix(".").removesuffix(".unfinished")
    if not re.fullmatch(r"[\w-]+-v\d+", name):
        raise SettingsError(f"the folder's name is {name!r}, but Minari wants one such as {name}-v0")
    if settings.pictures != "png":
        raise SettingsError("pictures = video: Minari's data sets have pictures only; leave it out")
    data = folder / "data"
    data.mkdir()
    num_steps = 0
    with h5py.File(data / "main_data.hdf5", "w", track_order=True) as file:
        for number, episode in enumerate(episodes):
            _write_episode(file.create_group(f"episode_{number}"), number, episode, settings, survey)
            num_steps += len(episode)
    size = sum(path.stat().st_size for path in data.iterdir())
    assert dataset.info.frame_px is not None
    metadata = {
        "total_episodes": survey.num_episodes,
        "total_steps": num_steps,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": json.dumps(_observation_space(dataset.info.frame_px, survey)),
        "action_space": json.dumps(_action_space(dataset.info.actions)),
        "dataset_id": name,
        "algorithm_name": dataset.info.source,
        "minari_version": VERSION,
        "dataset_size": round(size / 1e6, 1),
        # Ours: Minari has no names for actions.
        "action_names": list(dataset.info.actions.names),
    }
    (data / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


def _write_episode(group: Any, number: int, episode: Trajectory, settings: ExportSettings, survey: Survey) -> None:
    import h5py

    group.attrs.update({"id": number, "total_steps": len(episode), "episode_id": episode.episode_id})
    pictures = [decode_png(png) for png in episode.frames]
    observations = group.create_group("observations")
    observations.create_dataset(
        PICTURE, data=np.stack(pictures), chunks=(1, *pictures[0].shape), compression="gzip", shuffle=True
    )
    observations.create_dataset(MISSION, data=[episode.instruction] * len(pictures), dtype=h5py.string_dtype())
    group.create_dataset("actions", data=episode.actions)
    group.create_dataset("rewards", data=reward_of(episode, settings.reward).astype(np.float64))
    group.create_dataset("terminations", data=episode.terminated)
    group.create_dataset("truncations", data=episode.truncated)
    infos = group.create_group("infos")
    # Infos begin with that of the reset.
    infos.create_dataset("success", data=np.concatenate([[False], episode.sparse_rewards > 0]))
    for name in survey.labellers:
        infos.create_dataset(f"reward.{name}", data=np.concatenate([[np.nan], episode.rewards[name]]))


def _observation_space(frame_px: tuple[int, int], survey: Survey) -> dict[str, Any]:
    shape = (*frame_px, 3)
    picture = {
        "type": "Box", "dtype": "uint8", "shape": list(shape),
        "low": np.zeros(shape, int).tolist(), "high": np.full(shape, 255).tolist(),
    }  # fmt: skip
    text = {
        "type": "Text",
        "max_length": max(map(len, survey.instructions)),
        "min_length": 0,
        "charset": "".join(sorted(set("".join(survey.instructions)))),
    }
    return {"type": "Dict", "subspaces": {PICTURE: picture, MISSION: text}}


def _action_space(actions: ActionSpace) -> dict[str, Any]:
    if actions.kind == "discrete":
        return {"type": "Discrete", "dtype": "int64", "start": 0, "n": len(actions.names)}
    size = len(actions.names)
    low, high = ([-np.inf] * size, [np.inf] * size)
    if actions.bounds is not None:
        # A rare faulty value may lie outside them.
        low, high = list(actions.bounds.low), list(actions.bounds.high)
    return {"type": "Box", "dtype": "float32", "shape": [size], "low": low, "high": high}
