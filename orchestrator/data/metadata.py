"""`metadata.json` of a trajectory data set."""

import json
from pathlib import Path

from pydantic import ValidationError

from orchestrator.data.schema import SCHEMA_VERSION, DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.storage.writing import write_text

METADATA_FILE = "metadata.json"


def read_info(folder: Path) -> DatasetInfo:
    """A set's metadata. Raises SettingsError if there is none, or if a newer version wrote it."""
    path = Path(folder) / METADATA_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{folder} is no trajectory data set: it has no {METADATA_FILE}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SettingsError(
            f"{path} has schema version {version}; this likert-rl reads up to {SCHEMA_VERSION}. Update likert-rl"
        )
    try:
        return DatasetInfo.model_validate(found)
    except ValidationError as error:
        raise SettingsError(f"{path} is not a data set's metadata: {error}") from None


def write_info(folder: Path, info: DatasetInfo) -> None:
    """Write a set's metadata whole, in place of what stood there."""
    write_text(folder / METADATA_FILE, info.model_dump_json(indent=2) + "\n")
