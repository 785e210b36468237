"""What `meta/` of a LeRobotDataset says: files, features, tasks and episodes; each number, name and path looked at."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.errors import SettingsError

DATA_PATHS = {
    2: "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    3: "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
VIDEO_PATHS = {
    2: "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    3: "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
"""Where files are in each version if `meta/info.json` does not say."""
MAX_FPS = 10_000
MAX_ENTRIES = 10_000
"""Entries of an action at most: a rater is told them one by one."""

_FIELDS = {
    2: re.compile(r"\{(episode_chunk|episode_index)(:0?\d{1,2}d)?\}|\{video_key\}"),
    3: re.compile(r"\{(chunk_index|file_index)(:0?\d{1,2}d)?\}|\{video_key\}"),
}


@dataclass(frozen=True)
class RecordingInfo:
    """`meta/info.json`."""

    version: int
    """2 or 3: whether a file has one episode or several."""
    features: Mapping[str, Mapping[str, Any]]
    """What a row has, by name."""
    fps: float
    """Frames in a second."""
    total_episodes: int | None
    """Episodes that it promises, or None."""
    data_path: str
    video_path: str
    """Names of files, with fields to fill in."""
    chunks_size: int = 1000
    """Episodes in a folder, in version 2."""


def read_info(source: Path) -> RecordingInfo:
    """Raises SettingsError if the folder is no LeRobotDataset of version 2 or 3."""
    path = source / "meta" / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{source} is no LeRobotDataset: it has no meta/info.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    told = str(info.get("codebase_version", "")) if isinstance(info, dict) else ""
    version = next((number for number in DATA_PATHS if re.match(rf"v{number}(\.|$)", told)), None)
    if version is None:
        raise SettingsError(
            f"{path}: codebase_version is {told!r}, but must be v2.x or v3.x; convert other recordings with LeRobot's "
            "own scripts first"
        )
    features, fps = info.get("features"), info.get("fps")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise SettingsError(f"{path}: features must be a block that describes each of them")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= MAX_FPS:
        raise SettingsError(f"{path}: fps is {fps!r}, but must be a number of frames in a second")
    total = info.get("total_episodes")
    try:
        promised = None if total is None else whole_number(total, "total_episodes")
        data_path = _template(info.get("data_path"), DATA_PATHS, version, "data_path")
        video_path = _template(info.get("video_path"), VIDEO_PATHS, version, "video_path")
        size = info.get("chunks_size")
        chunks_size = 1000 if size is None else whole_number(size, "chunks_size")
        if not chunks_size:
            raise ImportProblem("chunks_size is 0, but must be a number of episodes")
    except ImportProblem as problem:
        raise SettingsError(f"{path}: {problem}") from None
    return RecordingInfo(version, features, float(fps), promised, data_path, video_path, chunks_size)


def whole_number(value: Any, what: str) -> int:
    """A number from 0; tables that pandas wrote have floats where numbers were missing. Raises ImportProblem."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 and value == int(value):
        return int(value)
    raise ImportProblem(f"{what} is {value!r}, but must be a whole number from 0")


def choose_camera(source: Path, features: Mapping[str, Mapping[str, Any]], wanted: str | None) -> str:
    """The feature that holds the pictures. Raises SettingsError unless `wanted`, or the only one, is a camera."""
    seeing = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image")]
    depth = [name for name in seeing if _is_depth(features[name])]
    cameras = [name for name in seeing if name not in depth]
    if wanted is None and len(cameras) == 1:
        return cameras[0]
    if wanted in cameras:
        return wanted
    no_cameras = f" ({', '.join(depth)} shows depth, which a rater cannot be shown)" if depth else ""
    raise SettingsError(
        f"camera = {wanted}: must be one of the cameras of {source}: {', '.join(cameras) or 'it has none'}{no_cameras}"
    )


def action_entries(source: Path, features: Mapping[str, Mapping[str, Any]], key: str) -> tuple[tuple[str, ...], bool]:
    """Names of the entries of an action, and whether the recording gave them. Raises SettingsError."""
    numeric = [name for name, feature in features.items() if feature.get("dtype") not in ("video", "image", "string")]
    if key not in numeric:
        has = "is no vector of numbers" if key in features else "is not among its features"
        raise SettingsError(
            f"{source}: {key!r} {has}; set action_key to the one that holds the actions: {', '.join(numeric) or 'none'}"
        )
    shape = features[key].get("shape")
    try:
        entries = [whole_number(size, "shape") for size in shape] if isinstance(shape, list) else []
    except ImportProblem:
        entries = []
    if not entries or not 0 < math.prod(entries) <= MAX_ENTRIES:
        raise SettingsError(f"{source}/meta/info.json: the shape of {key!r} is {shape!r}, but must be a list of sizes")
    size = math.prod(entries)
    names = _names_in_order(features[key].get("names"), size)
    return names or tuple(f"a{index}" for index in range(size)), names is not None


def action_choices(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the choices that an action is the number of, as our own exports note them; nothing in other sets."""
    choices = feature.get("choices")
    is_number = str(feature.get("dtype")).startswith("int") and feature.get("shape") == [1]
    is_named = isinstance(choices, list) and all(isinstance(name, str) and _clean(name) for name in choices)
    return tuple(map(_clean, choices)) if is_number and is_named and choices else ()


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """A value of an episode's row. Raises ImportProblem if there is none."""
    if row.get(name) is None:
        raise ImportProblem(f"meta/episodes has no {name!r} for it")
    return row[name]


def _template(found: Any, otherwise: Mapping[int, str], version: int, what: str) -> str:
    if found is None:
        return otherwise[version]
    if not isinstance(found, str) or re.search(r"[{}\0]", _FIELDS[version].sub("", found)):
        raise ImportProblem(f"{what} is {found!r}, but must be a name of a file such as {otherwise[version]!r}")
    return found


def _is_depth(described: Any) -> bool:
    """Whether a feature says somewhere, as `is_depth_map` or `video.is_depth_map`, that it shows depth."""
    if not isinstance(described, Mapping):
        return False
    return any(
        (str(key).split(".")[-1] == "is_depth_map" and bool(value)) or _is_depth(value)
        for key, value in described.items()
    )


def _names_in_order(described: Any, size: int) -> tuple[str, ...] | None:
    """Names of an action's `size` entries, or None if they cannot be had from the description without guessing.

    LeRobot has had lists, lists in lists, {group: list}, {name: position} and {position: name}.
    """
    leaves = list(_leaves(described, ()))
    if len(leaves) != size:
        return None
    positions = [leaf.position for leaf in leaves]
    if any(position is not None for position in positions):
        if sorted(-1 if position is None else position for position in positions) != list(range(size)):
            return None
        leaves.sort(key=lambda leaf: leaf.position or 0)
    names = [_clean(leaf.name) for leaf in leaves]
    if len(set(names)) < size:
        # Two arms may name their joints alike.
        names = [_clean(" ".join([*leaf.groups, leaf.name])) for leaf in leaves]
    return tuple(names) if all(names) and len(set(names)) == size else None


@dataclass(frozen=True)
class _Leaf:
    name: str
    position: int | None
    groups: tuple[str, ...]


def _leaves(described: Any, groups: tuple[str, ...]) -> Iterator[_Leaf]:
    if isinstance(described, str):
        yield _Leaf(described, None, groups)
    elif isinstance(described, list):
        for inner in described:
            yield from _leaves(inner, groups)
    elif isinstance(described, Mapping):
        for key, value in described.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield _Leaf(key, int(value) if math.isfinite(value) and value == int(value) else -1, groups)
            elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", key):
                yield _Leaf(value, int(key), groups)
            else:
                yield from _leaves(value, (*groups, key))
    else:
        # Not a name; it takes a place, so that the number does not fit by chance.
        yield _Leaf("", None, groups)


def _clean(name: str) -> str:
    """A name in one line that can be written, or nothing."""
    return " ".join(name.encode(errors="ignore").decode().split())
