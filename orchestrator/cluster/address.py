"""RAY_ADDRESS: whether it names a cluster that answers, found out in bounded time and said in one message."""

import os
import re
import socket
import subprocess
import sys

from orchestrator.errors import SettingsError

CONNECT_S = 10.0
REACH_S = 60.0
"""Time for a process to load Ray and join. `ray.init` itself tries for minutes, and then ends the process."""
_PROBE = (
    "import logging, sys, ray; "
    "ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False); "
    "print(sum(node['Alive'] for node in ray.nodes()))"
)
_REMEDY = "`ray status` on the cluster's head tells how it is; mend RAY_ADDRESS, or unset it to stay on this machine"


def ray_address() -> str | None:
    """The cluster that RAY_ADDRESS names; None where runs start a Ray of their own (unset, empty or `local`)."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def check_cluster(address: str) -> int:
    """Nodes alive in the cluster at `address`: `host:port`, or `auto` for the one of this machine.

    Raises SettingsError, with the remedy, if it is no address, nobody answers there, or we are not let in.
    """
    if address != "auto":
        _check_listening(address)
    status, output = _join(address)
    if status:
        raise SettingsError(_explained(address, output))
    return int(output.split()[-1])


def _check_listening(address: str) -> None:
    if "://" in address:
        raise SettingsError(
            f"RAY_ADDRESS = {address!r}: must be host:port of a cluster's head, without a scheme. http:// is for "
            "RAY_API_SERVER_ADDRESS and `ray job submit`; ray:// is not supported: submit a job instead. " + _REMEDY
        )
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s\[\]/@]+):([0-9]{1,5})", address)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise SettingsError(f"RAY_ADDRESS = {address!r}: must be host:port, such as 10.0.0.1:6379. {_REMEDY}")
    host, port = found[1].strip("[]"), int(found[2])
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        why = "there is no such host" if isinstance(error, socket.gaierror | UnicodeError) else "nobody answers"
        raise SettingsError(f"RAY_ADDRESS = {address!r}: {why} ({error}). {_REMEDY}") from None


def _join(address: str) -> tuple[int, str]:
    """Exit status and output of a process that joins."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address], capture_output=True, text=True, errors="replace", timeout=REACH_S
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {REACH_S:g} s"
    return done.returncode, (done.stderr + done.stdout).strip()


def _explained(address: str, output: str) -> str:
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no reason given").strip(" .")
    lower = output.lower()
    title = f"RAY_ADDRESS = {address!r}"
    if address == "auto":
        return f"no Ray runs on this machine, and RAY_ADDRESS names no other ({last})"
    if "authenticat" in lower or "token" in lower or "401" in lower:
        return (
            f"{title}: the cluster does not let us in ({last}). Copy the token of the head (~/.ray/auth_token there) "
            "to ~/.ray/auth_token here, or set RAY_AUTH_TOKEN; then set RAY_AUTH_MODE=token"
        )
    if "version mismatch" in lower:
        return f"{title}: {last}. Install the same Ray and Python versions on all machines"
    return f"{title}: the cluster cannot be reached ({last}). {_REMEDY}"
