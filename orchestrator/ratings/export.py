"""Writing a rating store out for other programs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import SettingsError
from orchestrator.ratings.schema import RATINGS
from orchestrator.ratings.store import RatingStore
from orchestrator.storage.writing import write_atomic

IMAGES_AT_ONCE = 64


def export_ratings(store: RatingStore, path: Path) -> int:
    """Write every rating once, without pictures, as `.csv` or `.parquet`; return how many.

    In CSV a list is written as JSON. Raises SettingsError for another ending.
    """
    writers = {".csv": _csv, ".parquet": _parquet}
    if path.suffix not in writers:
        raise SettingsError(f"cannot export to {path.name}: the file's name must end in .csv or .parquet")
    rows = list(store.rows())
    write_atomic(path, writers[path.suffix](rows))
    return len(rows)


def export_images(store: RatingStore, folder: Path) -> int:
    """Write each rated picture as `<sha256>.png`; pictures already there are kept. Return how many were written."""
    names = {name for row in store.rows(["images", "frames"]) for name in (*row["images"], *row["frames"])}
    missing = sorted(name for name in names if not (folder / f"{name}.png").exists())
    for start in range(0, len(missing), IMAGES_AT_ONCE):
        for name, png in store.images(missing[start : start + IMAGES_AT_ONCE]).items():
            write_atomic(folder / f"{name}.png", png)
    return len(missing)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, RATINGS.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=RATINGS), buffer, compression="zstd")
    return buffer.getvalue()
