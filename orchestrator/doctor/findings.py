"""What a check has found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import LikertError

Status = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """One line of the report, and what to do where something is wrong."""

    name: str
    status: Status
    text: str
    remedy: str = ""


class Unfit(Exception):
    """A check's way of saying that something is wrong. `warning`: a run starts nevertheless."""

    def __init__(self, text: str, remedy: str, warning: bool = False) -> None:
        super().__init__(text)
        self.remedy = remedy
        self.status: Status = "warning" if warning else "failure"


class DoctorFailed(LikertError):
    """Some check failed."""


def examine(name: str, check: Callable[[], str]) -> Finding:
    """Run a check, which returns what is well, or raises. No check ends the others."""
    try:
        return Finding(name, "ok", check())
    except Unfit as unfit:
        return Finding(name, unfit.status, str(unfit), unfit.remedy)
    except LikertError as error:
        # These messages hold the remedy themselves.
        return Finding(name, "failure", str(error))
    except Exception as error:  # noqa: BLE001 - a fault of the check itself is told like any other finding.
        return Finding(name, "failure", f"{type(error).__name__}: {error}", "report this, with the line above")
