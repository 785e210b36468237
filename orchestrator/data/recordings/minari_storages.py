"""The arrays of a Minari data set's episodes, one after the other, from HDF5, Arrow or Parquet files."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.recordings.hdf5 import leaves_of, opened, reading
from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.leaves import Leaf
from orchestrator.errors import SettingsError

MAIN_FILE = "main_data.hdf5"
TUPLE = "_index_"
"""Begins the names of a tuple's entries in HDF5; in Arrow they are numbers."""


class Storage(ABC):
    """Where the episodes are. Use it as a context manager."""

    numbers: list[int]
    """Of the episodes, in order."""

    @abstractmethod
    def files(self) -> list[Path]:
        """All files that are read."""

    @abstractmethod
    def episode(self, number: int) -> AbstractContextManager[Mapping[str, Leaf]]:
        """The arrays of an episode, such as `observations/image`. Raises ImportProblem, also within."""

    def __enter__(self) -> "Storage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close what is open."""


def open_storage(source: Path, data: Path, kind: str) -> Storage:
    """Raises SettingsError if there is none of this format."""
    if kind == "hdf5":
        return _Hdf5(data / MAIN_FILE)
    if kind in ("arrow", "parquet"):
        return _Tables(data, kind)
    raise SettingsError(f"{source}/data/metadata.json: data_format is {kind!r}; hdf5, arrow and parquet are read")


class _Hdf5(Storage):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = opened(path)
        try:
            with reading():
                found = [name.removeprefix("episode_") for name in self._file if name.startswith("episode_")]
        except ImportProblem as problem:
            self._file.close()
            raise SettingsError(f"{path}: {problem}") from None
        self.numbers = sorted(int(name) for name in found if name.isascii() and name.isdigit())

    def files(self) -> list[Path]:
        return [self._path]

    @contextmanager
    def episode(self, number: int) -> Iterator[Mapping[str, Leaf]]:
        with reading():
            yield leaves_of(self._file[f"episode_{number}"])

    def close(self) -> None:
        self._file.close()


class _Tables(Storage):
    def __init__(self, data: Path, kind: str) -> None:
        self._data, self._kind = data, kind
        names = [path.name for path in data.iterdir() if path.is_dir()]
        self.numbers = sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def files(self) -> list[Path]:
        return [path for number in self.numbers for path in sorted((self._data / str(number)).iterdir())]

    @contextmanager
    def episode(self, number: int) -> Iterator[Mapping[str, Leaf]]:
        folder = self._data / str(number)
        try:
            tables = [self._read(path) for path in sorted(folder.glob(f"part-*.{self._kind}"))]
            if not tables:
                raise ImportProblem(f"it has no part-*.{self._kind}")
            leaves = dict(_columns(pa.concat_tables(tables)))
            # Observations are one more than actions, which a row without meaning makes as many.
            for name, leaf in leaves.items():
                if not name.startswith(("observations", "infos")):
                    leaf.drop_last()
            _check_length(folder / "metadata.json", len(leaves["rewards"]) if "rewards" in leaves else None)
            yield leaves
        except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
            raise ImportProblem(f"its table cannot be read: {error}") from error

    def close(self) -> None:
        """Each file is closed once it was read."""

    def _read(self, path: Path) -> pa.Table:
        if self._kind == "parquet":
            with pq.ParquetFile(path) as file:
                table = file.read()
        else:
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
                table = reader.read_all()
        table.validate(full=True)
        return table


class _ArrowLeaf(Leaf):
    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def drop_last(self) -> None:
        self._column = self._column.slice(0, max(0, len(self._column) - 1))

    def __len__(self) -> int:
        return len(self._column)

    def values(self) -> np.ndarray:
        if self._column.null_count:
            raise ImportProblem("some of its values are missing")
        return np.asarray(self._column.to_pylist())

    def texts(self) -> list[str]:
        return [_text(value) for value in self._column.to_pylist()]

    def item(self, index: int) -> np.ndarray | bytes:
        value = self._column[index]
        if pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type):
            return value.as_py() or b""
        return np.asarray(value.values if hasattr(value, "values") and value.values is not None else value.as_py())


def _columns(table: pa.Table) -> Iterator[tuple[str, _ArrowLeaf]]:
    for name in table.column_names:
        yield from _flat(name, table[name])


def _flat(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, _ArrowLeaf]]:
    if not pa.types.is_struct(column.type):
        yield name, _ArrowLeaf(column)
        return
    for field, inner in zip(column.type, column.flatten(), strict=True):
        key = f"{TUPLE}{field.name}" if field.name.isascii() and field.name.isdigit() else field.name
        yield from _flat(f"{name}/{key}", inner)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ImportProblem(f"its instruction is {value!r}, but must be text")


def _check_length(path: Path, number: int | None) -> None:
    """What is noted of an episode must be what there is; without a note nothing is compared."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8")).get("total_steps")
    except (OSError, ValueError, AttributeError):
        return
    if noted != number:
        raise ImportProblem(f"it has {number} actions, and its metadata.json says {noted}")
