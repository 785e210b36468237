"""Actions of ALFRED and settings of AI2-THOR. Importing them loads no simulator."""

from pathlib import Path

from algorithms.settings import PositiveFloat, Settings

ACTIONS = {
    "LookDown_15": "look down",
    "MoveAhead_25": "move ahead",
    "RotateLeft_90": "rotate left",
    "PickupObject": "pick up",
    "SliceObject": "slice",
    "LookUp_15": "look up",
    "RotateRight_90": "rotate right",
    "OpenObject": "open",
    "PutObject": "put into",
    "CloseObject": "close",
    "ToggleObjectOn": "switch on",
    "ToggleObjectOff": "switch off",
}
"""ALFRED's twelve low-level actions in SPRINT's order, and in words."""
ACTION_NAMES = tuple(ACTIONS)
NO_OBJECT = ""
"""The object class of an action that is about none."""

FRAME_PX = 300
"""Side of THOR's frame, as ALFRED recorded it."""
RELEASE = "thor-201909061227-Linux64"
"""The Unity build that ALFRED was recorded with, and that ai2thor 2.1.0 talks to."""


class ThorSettings(Settings):
    """Which of ALFRED's demonstrations are entered again, and by which Unity build."""

    source: Path
    """ALFRED's folder with `traj_data.json` files below: the one that was imported, or another such as valid_unseen."""
    build: Path | None = None
    """The executable of the Unity build; absent: where ai2thor itself would keep it, below ~/.ai2thor/releases."""
    timeout_s: PositiveFloat = 120.0
    """Longest wait for an answer of the build. One that crashed never answers."""

    @property
    def executable(self) -> Path:
        """The Unity build's program."""
        return self.build or Path.home() / ".ai2thor" / "releases" / RELEASE / RELEASE
