"""Writing a policy that leaves the house: weights, what they need to act, how they came about, and a player."""

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from orchestrator.errors import SettingsError
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, POLICY_FILE, SETTINGS_FILE
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import fsync_folder, read_arrays, write_atomic, write_json, write_text

FORMAT = 1
"""Of `policy.json`; raised whenever a player of before would read it wrongly."""
PLAYER = Path(__file__).with_name("player.py")


@dataclass(frozen=True)
class ExportedPolicy:
    """A run's policy as `player.py` plays it."""

    weights: Mapping[str, np.ndarray]
    """float32 by the names that `player.py` knows."""
    about: Mapping[str, Any]
    """What stands in `policy.json`; docs/export.md explains each entry."""


def newest_weights(run: Path | RemotePath) -> tuple[dict[str, np.ndarray], str]:
    """Weights of an offline run's end, or of its newest checkpoint, and where they stand in its folder.

    Raises SettingsError if there are none.
    """
    if (run / POLICY_FILE).exists():
        return read_arrays(run / POLICY_FILE), POLICY_FILE
    checkpoints = sorted((path for path in (run / CHECKPOINTS_FOLDER).glob("env-steps-*") if path.is_dir()), key=str)
    for checkpoint in reversed(checkpoints):
        if (checkpoint / POLICY_FILE).exists():
            return read_arrays(checkpoint / POLICY_FILE), f"{CHECKPOINTS_FOLDER}/{checkpoint.name}/{POLICY_FILE}"
    raise SettingsError(
        f"{run} has no policy yet: neither its end nor a checkpoint that holds {POLICY_FILE}. Go on with it by "
        f"`likert run {run}/settings.yaml`"
    )


def write_export(folder: Path, policy: ExportedPolicy, settings: str) -> list[Path]:
    """Write the folder whole, or not at all, and return its files. Raises SettingsError if there is something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is not empty: an exported policy gets a folder of its own; name another one")
    weights = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in policy.weights.items()}
    about = {"format": FORMAT, "likert_rl": version("likert-rl"), **policy.about}
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        write_atomic(aside / "policy.safetensors", save(weights))
        write_json(aside / "policy.json", about)
        write_text(aside / SETTINGS_FILE, settings)
        write_text(aside / PLAYER.name, PLAYER.read_text(encoding="utf-8"))
        # In place of an empty folder, if there is one.
        os.rename(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    fsync_folder(folder.parent)
    return sorted(folder.iterdir())
