"""Ray: connecting to it, and turning plain classes into actors. Only here are actors made."""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import ray

from orchestrator.cluster.address import check_cluster, ray_address
from orchestrator.cluster.own_ray import let_workers_be_as_nice_as_we, start_no_idle_workers, temporary_folder
from orchestrator.cluster.placement import (
    ACCELERATOR_TYPE,
    ONE_THREAD,
    Demand,
    Resources,
    actor_options,
    check_placement,
)
from orchestrator.errors import SettingsError

START_ATTEMPTS = 3
"""Ray gives up on a node whose agents need more than 15 s to start, which no setting changes (ray#65983); the machine
may be busy with something else just then.
"""
TOO_SLOW = "timed out during startup"
"""What Ray says then; it has no type of its own for it."""


def connect(demands: Sequence[Demand], needed: Sequence[Demand] | None = None) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine, and check that `demands` fit, or only what
    is `needed`.

    On one machine processors and custom resources are promises, so a Ray of our own promises what the actors ask for:
    a small machine then shares its cores among them, and settings made for a cluster run unchanged.
    """
    if not ray.is_initialized():
        for name in ("ray", "ray.rllib", "ray.tune"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # An actor without GPUs keeps the variables that hide them as they are; unsaid, Ray warns of it in each run.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = ray_address()
        if address is not None:
            check_cluster(address)
        else:
            temporary_folder()
            let_workers_be_as_nice_as_we()
            start_no_idle_workers()
            promised = _sum(demands)
            asked = math.ceil(promised.pop("CPU", 0.0)) + 1
            promised = {name: amount for name, amount in promised.items() if _is_promise(name)}
            own = {"num_cpus": max(asked, os.cpu_count() or 1), "resources": promised, "include_dashboard": False}
            # Unsaid, Ray would join one that somebody else has started on this machine.
            options |= own | {"address": "local"}
            if _for_processors_only():
                options["num_gpus"] = 0
        patiently(ray.init, **options)
    check_placement(demands if needed is None else needed)


@contextmanager
def connected(demands: Sequence[Demand]) -> Iterator[None]:
    """`connect`, and Ray put away at the end of the block."""
    connect(demands)
    try:
        yield
    finally:
        ray.shutdown()


def actor_class(cls: type, resources: Resources, environment: Mapping[str, str] = ONE_THREAD, **options: Any) -> Any:
    """`cls` as a Ray actor that takes these resources: `actor_class(...).remote(*arguments)` makes one.

    `options` are Ray's own for actors, such as `max_restarts`.
    """
    return ray.remote(cls).options(**actor_options(resources, environment), **options)


def patiently(init: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What `init`, which is `ray.init`, returns. What an attempt that failed has started ends with this process.

    Raises:
        SettingsError: Ray's agents were too slow in every attempt.
    """
    with _keeping_sigterm():
        for _ in range(START_ATTEMPTS):
            try:
                return init(*arguments, **options)
            except Exception as error:
                if TOO_SLOW not in str(error):
                    raise
    raise SettingsError(
        f"Ray did not start on this machine in {START_ATTEMPTS} attempts: its agents took too long. If the machine is "
        "busy, try again later; else raylet.err, among the logs of Ray's latest session, says more"
    )


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """What SIGTERM did before, it does afterwards. Ray puts handlers of its own, in Python and below it, that end the
    process with nothing saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sum(demands: Sequence[Demand]) -> dict[str, float]:
    total: dict[str, float] = {}
    for demand in demands:
        for name, amount in demand.resources.items():
            total[name] = total.get(name, 0.0) + demand.count * amount
    return total


def _for_processors_only() -> bool:
    """Whether the torch that is installed here can use no GPU, be there one or not."""
    return version("torch").endswith("+cpu")


def _is_promise(name: str) -> bool:
    """GPUs and their kinds are there or not; all else is a name."""
    return name != "GPU" and not name.startswith(ACCELERATOR_TYPE)
