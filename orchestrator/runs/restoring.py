"""Going back to a run's newest checkpoint, whatever kind of run it is."""

import logging
from pathlib import Path
from typing import Protocol

from orchestrator.errors import LikertError, SettingsError
from orchestrator.runs.checkpoints import Checkpoints

log = logging.getLogger(__name__)


class Restorable(Protocol):
    """A loop that has written its checkpoints itself."""

    def restore(self, folder: Path) -> None:
        """Go back to a checkpoint, or raise and stay as it was."""


def restore_newest(loop: Restorable, checkpoints: Checkpoints) -> Path | None:
    """Go back to the newest checkpoint that can be read, and return it; None if there is none."""
    found = checkpoints.newest_first()
    for folder in found:
        try:
            loop.restore(folder)
        except LikertError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a damaged checkpoint, an older one may do.
            log.warning("checkpoint %s cannot be restored (%s: %s)", folder, type(error).__name__, error)
            continue
        # Else they would count among those kept, and push out one that can be read.
        for damaged in found[: found.index(folder)]:
            checkpoints.set_aside(damaged)
        return folder
    if found:
        raise SettingsError(
            f"none of the checkpoints in {found[0].parent} can be restored; the warnings above say why. "
            "Delete the run's folder to start again: the ratings stay in the store and are not asked again"
        )
    return None
