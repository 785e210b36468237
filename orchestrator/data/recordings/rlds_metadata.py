"""What `features.json` and `dataset_info.json` of a TFDS folder say: what a step has, and how episodes lie in files."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError

STEPS = "steps"
MAX_DIMENSION = 2**16


@dataclass(frozen=True)
class Feature:
    """An entry of a step."""

    kind: str
    """picture, text, number, whole (a whole number alone) or label."""
    shape: tuple[int, ...] = ()
    num_classes: int = 0
    """Of a label."""
    dtype: str = ""

    @property
    def size(self) -> int:
        """Numbers in a step."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """A file of a split."""

    path: Path
    first: int
    """Number of its first episode."""
    length: int
    """Episodes that it should have."""


def read_features(source: Path) -> dict[str, Feature]:
    """What a step has, by its place, such as `observation/image`. Raises SettingsError if it is no RLDS folder."""
    tree = _block(source, "features.json")
    steps = _entries(tree).get(STEPS)
    sequence = steps.get("sequence") if isinstance(steps, Mapping) else None
    inner = sequence.get("feature") if isinstance(sequence, Mapping) else None
    if not isinstance(inner, Mapping):
        raise SettingsError(f"{source} has no episodes as RLDS has them: its features.json has no `{STEPS}`")
    try:
        return dict(_leaves(inner, ""))
    except RecursionError:
        raise SettingsError(f"{source}/features.json: its features are nested too deep") from None


def read_shards(source: Path, split: str) -> list[Shard]:
    """The files of a split, whether they are there or not. Raises SettingsError."""
    info = _block(source, "dataset_info.json")
    form = info.get("fileFormat", "tfrecord")
    if form != "tfrecord":
        raise SettingsError(
            f"{source}: its files are {form!r}, and tfrecord is read. Convert them: python -m "
            f"tensorflow_datasets.scripts.convert_format --from_dir={source} --to_dir=OTHER --out_file_format=tfrecord"
        )
    splits = {str(one.get("name")): one for one in info.get("splits") or [] if isinstance(one, Mapping)}
    if split not in splits:
        raise SettingsError(f"split = {split}: must be one of {', '.join(splits) or 'none: the folder has no split'}")
    try:
        lengths = [int(length) for length in splits[split]["shardLengths"]]
    except (KeyError, TypeError, ValueError):
        lengths = []
    if not lengths or min(lengths) < 0:
        raise SettingsError(f"{source}/dataset_info.json: it does not say how many episodes the files of {split} have")
    name, number = str(info.get("name", source.resolve().parent.name)), len(lengths)
    return [
        Shard(
            source / f"{Path(name).name}-{Path(split).name}.tfrecord-{index:05d}-of-{number:05d}",
            sum(lengths[:index]),
            length,
        )
        for index, length in enumerate(lengths)
    ]


def _block(source: Path, name: str) -> Mapping[str, Any]:
    path = source / name
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{source} is no folder of TFDS: it has no {name}; name that of one version, such as 1.0.0"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: it must be a block")
    return found


def _entries(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = feature.get("featuresDict")
    found = inner.get("features") if isinstance(inner, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _leaves(feature: Any, place: str) -> Iterator[tuple[str, Feature]]:
    """Those of a kind that is known; of sequences in steps and the like nothing is read."""
    if not isinstance(feature, Mapping):
        return
    for name, inner in _entries(feature).items():
        yield from _leaves(inner, f"{place}/{name}".lstrip("/"))
    if isinstance(feature.get("image"), Mapping):
        yield place, Feature("picture")
    elif "text" in feature:
        yield place, Feature("text")
    elif isinstance(feature.get("classLabel"), Mapping):
        number = str(feature["classLabel"].get("numClasses", ""))
        if number.isascii() and number.isdigit() and 0 < int(number) <= 10_000:
            yield place, Feature("label", num_classes=int(number))
    elif isinstance(feature.get("tensor"), Mapping) and feature["tensor"].get("encoding", "none") == "none":
        yield from _tensor(feature["tensor"], place)


def _tensor(tensor: Mapping[str, Any], place: str) -> Iterator[tuple[str, Feature]]:
    shape = tensor.get("shape")
    sizes = [str(size) for size in (shape.get("dimensions") or [])] if isinstance(shape, Mapping) else []
    if not all(size.isascii() and size.isdigit() and int(size) < MAX_DIMENSION for size in sizes):
        return
    dtype, found = str(tensor.get("dtype")), tuple(map(int, sizes))
    if dtype in ("string", "object"):
        if not found:
            yield place, Feature("text")
    elif dtype.startswith(("int", "uint")) and not found:
        yield place, Feature("whole", dtype=dtype)
    elif dtype.startswith(("int", "uint", "float", "bfloat", "bool")):
        yield place, Feature("number", found, dtype=dtype)
