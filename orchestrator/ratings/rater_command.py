"""`likert rater`: start, look at and stop rating servers that runs share."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError, RayTaskError

from actors.rating.settings import RaterSettings
from orchestrator.cluster.address import check_cluster, ray_address
from orchestrator.errors import SettingsError
from orchestrator.ratings import shared_server


def start(rater: RaterSettings) -> str:
    """Start the server called `rater.server`, or find it; returns a line about it once it is loaded."""
    with running_cluster():
        try:
            identity = ray.get(shared_server.find_or_start(rater).start.remote(), timeout=rater.start_timeout_s)
        except (RayError, TimeoutError) as error:
            shared_server.stop(rater.server)
            cause = error.cause if isinstance(error, RayTaskError) else error
            raise SettingsError(f"the rating server did not start: {cause}") from None
        return f"{rater.server}: serves {rater.model} ({identity.model}, revision {identity.revision})"


def stop(name: str) -> None:
    """End a server with its engines. Raises SettingsError if there is none of that name."""
    with running_cluster():
        shared_server.stop(name)


def status() -> list[str]:
    """Lines about every server, its replicas, and the runs that ask it."""
    with running_cluster():
        return [line for name in shared_server.list_servers() for line in _lines(shared_server.status(name))]


@contextmanager
def running_cluster() -> Iterator[None]:
    """Be connected to the Ray that RAY_ADDRESS names, or that runs here. Raises SettingsError without one."""
    address = ray_address() or "auto"
    try:
        check_cluster(address)
    except SettingsError as error:
        raise SettingsError(
            f"{error}. A shared rating server lives in a Ray that runs already: `ray start --head` starts one here"
        ) from None
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _lines(status: shared_server.ServerStatus) -> list[str]:
    up = [replica for replica in status.replicas if replica is not None]
    rated = sum(replica["num_rated"] for replica in up)
    speed = sum(replica["ratings_per_s"] for replica in up)
    lines = [
        f"{status.name}: {status.model}, {len(up)} of {status.num_replicas} replicas up, {rated:,} ratings given, "
        f"{speed:.1f} a second while busy"
    ]
    return lines + [
        f"  {trial}: {counts['num_asked']:,} asked, {counts['num_shared']:,} shared with others, "
        f"{counts['num_failed']:,} failed, {counts['num_waiting']:,} waiting"
        for trial, counts in status.trials.items()
    ]
