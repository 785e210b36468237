"""Arrays of HDF5 files, as far as importers look into them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.leaves import Leaf
from orchestrator.errors import SettingsError

MAX_VALUES = 2**28
"""Of an array that is read whole: two gigabytes of numbers are no episode's actions."""
DEEPEST = 8
"""Groups in groups that are looked into; a link may lead back."""


def opened(path: Path) -> Any:
    """An open h5py.File. Raises SettingsError."""
    import h5py

    try:
        if not path.is_file():
            raise SettingsError(f"there is no file {path}")
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{path} is no HDF5 file that can be read: {error}") from None


@contextmanager
def reading() -> Iterator[None]:
    """Turns what h5py raises of damaged files into ImportProblem."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise ImportProblem(f"it cannot be read: {type(error).__name__}: {str(error)[:200]}") from error


def leaves_of(group: Any, depth: int = DEEPEST) -> Mapping[str, Leaf]:
    """The arrays in a group and in those within, by their place, such as `obs/agentview_image`."""
    import h5py

    found: dict[str, Leaf] = {}
    if not isinstance(group, h5py.Group):
        raise ImportProblem("it is no group of arrays")
    for name in group:
        inner = group.get(name)
        if isinstance(inner, h5py.Dataset):
            found[name] = Hdf5Leaf(inner)
        elif isinstance(inner, h5py.Group) and depth:
            found |= {f"{name}/{place}": leaf for place, leaf in leaves_of(inner, depth - 1).items()}
    return found


class Hdf5Leaf(Leaf):
    """A dataset of an HDF5 file."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        if not self.dataset.shape:
            raise ImportProblem(f"{self.dataset.name} is one value, and none for each step")
        return self.dataset.shape[0]

    def values(self) -> np.ndarray:
        if len(self) and self.dataset.size > MAX_VALUES:
            raise ImportProblem(f"{self.dataset.name} has {self.dataset.size:,} values")
        return self.dataset[()]

    def texts(self) -> list[str]:
        found = self.values().tolist()
        try:
            return [value.decode() if isinstance(value, bytes) else _text(value) for value in found]
        except UnicodeDecodeError as error:
            raise ImportProblem(f"its instruction is no UTF-8 text: {error}") from error

    def item(self, index: int) -> np.ndarray | bytes:
        return np.asarray(self.dataset[index])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ImportProblem(f"its instruction is {value!r}, but must be text")
