"""A small Minari data set in the layout of Minari 0.5.4, written without Minari: HDF5 or Arrow, two episodes."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LENGTHS = (3, 5)
MISSIONS = ("go to the red key", "open the door")
PX = (32, 48)
"""Minari packs pictures of 32 pixels and more as JPEG."""


def pictures(episode: int, length: int, px: tuple[int, int] = PX) -> np.ndarray:
    """Pictures whose grey tells which they are."""
    return np.stack([np.full((*px, 3), 100 * episode + 10 * step, np.uint8) for step in range(length)])


def jpeg(picture: np.ndarray) -> bytes:
    """A JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return file.getvalue()


def box(shape: tuple[int, ...], dtype: str = "uint8", low: float = 0, high: float = 255) -> dict[str, Any]:
    """A Box as Minari notes it."""
    sides = {name: np.full(shape, value).tolist() for name, value in (("low", low), ("high", high))}
    return {"type": "Box", "dtype": dtype, "shape": list(shape), **sides}


class SmallMinari:
    """Arrays by name for each episode; whoever changes them makes another recording."""

    def __init__(self, *, discrete: bool = True, px: tuple[int, int] = PX, jpegs: bool = False) -> None:
        self.episodes: list[dict[str, Any]] = []
        for number, length in enumerate(LENGTHS):
            images: Any = pictures(number, length + 1, px)
            last = np.arange(length) == length - 1
            self.episodes.append({
                "observations/image": [jpeg(one) for one in images] if jpegs else images,
                "observations/mission": [MISSIONS[number]] * (length + 1),
                "observations/state": np.zeros((length + 1, 3), np.float32),
                "actions": np.arange(length) % 3 if discrete
                else np.float32([[step / 10, -step / 10] for step in range(length)]),
                "rewards": np.where(last, 1.0 - number, 0.0),
                "terminations": last & (number == 0),
                "truncations": last & (number == 1),
            })  # fmt: skip
        text = {"type": "Text", "max_length": 99, "min_length": 0, "charset": "a"}
        observation = {"image": box((*px, 3)), "mission": text, "state": box((3,), "float32", -1, 1)}
        choices = {"type": "Discrete", "dtype": "int64", "start": 0, "n": 7}
        self.spaces = {
            "observation_space": {"type": "Dict", "subspaces": observation},
            "action_space": choices if discrete else box((2,), "float32", -1, 1),
        }
        self.metadata: dict[str, Any] = {"total_episodes": 2, "total_steps": sum(LENGTHS), "jpeg_encoding": jpegs}

    def write(self, folder: Path, kind: str = "hdf5") -> Path:
        """Write the files and return the folder."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        spaces = {name: json.dumps(space) for name, space in self.spaces.items()}
        metadata = {"data_format": kind, **self.metadata, **spaces}
        (folder / "data/metadata.json").write_text(json.dumps(metadata))
        if kind == "hdf5":
            self._write_hdf5(folder / "data/main_data.hdf5")
        else:
            for number, arrays in enumerate(self.episodes):
                self._write_table(folder / f"data/{number}", number, arrays, kind)
        return folder

    def _write_hdf5(self, path: Path) -> None:
        import h5py

        with h5py.File(path, "w", track_order=True) as file:
            for number, arrays in enumerate(self.episodes):
                group = file.create_group(f"episode_{number}")
                group.attrs.update({"id": number, "total_steps": len(arrays["terminations"])})
                for name, values in arrays.items():
                    if isinstance(values, list) and isinstance(values[0], bytes):
                        same = len({len(one) for one in values}) == 1
                        rows = [np.frombuffer(one, np.uint8) for one in values]
                        group.create_dataset(name, data=rows, dtype=None if same else h5py.vlen_dtype(np.uint8))
                    elif isinstance(values, list):
                        group.create_dataset(name, data=values, dtype=h5py.string_dtype())
                    else:
                        group.create_dataset(name, data=values)

    def _write_table(self, folder: Path, number: int, arrays: dict[str, Any], kind: str) -> None:
        folder.mkdir()
        columns, nested = {}, {}
        length = len(arrays["observations/image"])
        for name, values in arrays.items():
            column = _column(values, length)
            group, _, key = name.partition("/")
            if key:
                nested.setdefault(group, {})[key] = column
            else:
                columns[name] = column
        for group, inner in nested.items():
            columns[group] = pa.StructArray.from_arrays(list(inner.values()), list(inner))
        table = pa.table(columns)
        if kind == "parquet":
            pq.write_table(table, folder / "part-0.parquet")
        else:
            with pa.OSFile(str(folder / "part-0.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        (folder / "metadata.json").write_text(json.dumps({"id": number, "total_steps": len(arrays["terminations"])}))


def _column(values: Any, length: int) -> pa.Array:
    if isinstance(values, list):
        return pa.array(values)
    padding = [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1)
    flat = np.pad(values, padding).reshape(length, -1)
    if values.ndim == 1:
        return pa.array(flat[:, 0])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
