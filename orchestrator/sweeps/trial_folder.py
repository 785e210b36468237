"""What a sweep knows of a trial from its folder alone: whether it is done, and with which values it goes on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import write_json

TRIAL_FILE = "trial.json"

Outcome = Literal["unfinished", "finished", "stopped"]
"""`stopped`: by the scheduler, because it was behind."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial's file."""

    outcome: Outcome = "unfinished"
    values: Mapping[str, Any] | None = None
    """Values of its search entries where a scheduler has changed them."""
    asked_model: int = 0
    """Questions that it has put to the model, over all launches."""

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.outcome != "unfinished"


def read_record(folder: Path | RemotePath) -> TrialRecord:
    """The record of the trial in `folder`; that of one that has not begun if there is none."""
    path = folder / TRIAL_FILE
    return TrialRecord(**json.loads(path.read_text())) if path.exists() else TrialRecord()


def write_record(folder: Path | RemotePath, record: TrialRecord) -> None:
    """Keep a trial's record."""
    write_json(
        folder / TRIAL_FILE,
        {
            "outcome": record.outcome,
            "values": None if record.values is None else dict(record.values),
            "asked_model": record.asked_model,
        },
    )
