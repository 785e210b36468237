"""What a check has found."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from orchestrator.errors import LikertError

Status = Literal["ok", "warning", "failure"]
Check = Callable[[], str]
"""Returns what is well, or raises."""
_STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}


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


def examine(name: str, check: Check) -> Finding:
    """Run a check. None ends the others."""
    try:
        return Finding(name, "ok", check())
    except Unfit as unfit:
        return Finding(name, unfit.status, str(unfit), unfit.remedy)
    except LikertError as error:
        # These messages hold the remedy themselves.
        return Finding(name, "failure", str(error))
    except Exception as error:  # noqa: BLE001 - a fault of the check itself is told like any other finding.
        return Finding(name, "failure", f"{type(error).__name__}: {error}", "report this, with the line above")


def examine_all(
    console: Console,
    checks: Iterable[tuple[str, Check]],
    needed: Mapping[str, tuple[str, ...]],
    lacking: Mapping[str, str],
) -> list[Finding]:
    """Run checks by name, and print what each has found.

    `needed` has the checks without which another is not made, and `lacking` what is said of each of them then.
    """
    findings: list[Finding] = []
    for name, check in checks:
        failed = [one for one in needed.get(name, ()) if _has_failed(findings, one)]
        if failed:
            findings.append(Finding(name, "warning", f"not looked at: {lacking[failed[0]]}"))
        else:
            with console.status(name):
                findings.append(examine(name, check))
        show(console, findings[-1])
    return findings


def raise_if_failed(findings: list[Finding]) -> None:
    """Raise DoctorFailed with the names of those that failed."""
    failures = [finding.name for finding in findings if finding.status == "failure"]
    if failures:
        raise DoctorFailed(f"{len(failures)} of {len(findings)} checks failed: {', '.join(failures)}")


def show(console: Console, finding: Finding) -> None:
    """Print a finding, and below it what to do."""
    mark = {"ok": "ok  ", "warning": "note", "failure": "FAIL"}[finding.status]
    console.print(mark, style=_STYLES[finding.status], end="  ")
    console.print(f"{finding.name:<12}{finding.text}", soft_wrap=True)
    if finding.remedy:
        console.print(f"      do: {finding.remedy}", soft_wrap=True)


def _has_failed(findings: list[Finding], name: str) -> bool:
    return any(finding.name == name and finding.status == "failure" for finding in findings)
