"""The range of actions as a LeRobotDataset's own statistics tell it: of the whole recording, or episode by episode."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.action_bounds import StatedBounds
from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.lerobot_tables import episode_files, read_columns


def stated_bounds(source: Path, key: str, size: int) -> StatedBounds | None:
    """Lowest and highest value of each of the `size` entries of feature `key`.

    None where nothing says so, or not well: the actions themselves tell it then.
    """
    found = list(_whole(source, key, size)) or list(_by_episode(source, key, size))
    if not found or any(pair is None for pair in found):
        return None
    lows, highs = (np.array([pair[side] for pair in found if pair is not None]) for side in (0, 1))
    low, high = lows.min(axis=0), highs.max(axis=0)
    if not (np.isfinite(np.float32([low, high])).all() and (low <= high).all()):
        return None
    return tuple(low.tolist()), tuple(high.tolist())


_Pair = tuple[np.ndarray, np.ndarray] | None


def _whole(source: Path, key: str, size: int) -> Iterator[_Pair]:
    """`meta/stats.json`, which later versions of LeRobot write."""
    try:
        stats = json.loads((source / "meta" / "stats.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    feature = stats.get(key) if isinstance(stats, Mapping) else None
    if isinstance(feature, Mapping):
        yield _pair(feature.get("min"), feature.get("max"), size)


def _by_episode(source: Path, key: str, size: int) -> Iterator[_Pair]:
    """The columns `stats/...` of `meta/episodes`, or in version 2.1 the lines of `meta/episodes_stats.jsonl`."""
    for file in episode_files(source):
        try:
            columns = [f"stats/{key}/min", f"stats/{key}/max"]
            table = read_columns(file, columns)
            if set(table.column_names) != set(columns):
                return
            for row in table.to_pylist():
                yield _pair(row[columns[0]], row[columns[1]], size)
        except (ImportProblem, ValueError):
            yield None
    try:
        lines = (source / "meta" / "episodes_stats.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines:
            feature = json.loads(line)["stats"][key]
            yield _pair(feature["min"], feature["max"], size)
    except OSError:
        return
    except (ValueError, KeyError, TypeError, RecursionError):
        yield None


def _pair(low: Any, high: Any, size: int) -> _Pair:
    try:
        # Lists in lists where an action is a matrix.
        pair = tuple(np.asarray(side, dtype=np.float64).reshape(-1) for side in (low, high))
    except (ValueError, TypeError, OverflowError):
        return None
    return (pair[0], pair[1]) if all(len(side) == size for side in pair) else None
