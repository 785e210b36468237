"""Ray: reachable, guarded by its token, with room for what the settings ask, and clocks that agree."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.cluster.actors import connect
from orchestrator.cluster.address import check_cluster, ray_address
from orchestrator.cluster.own_ray import temporary_folder
from orchestrator.cluster.placement import Demand, settle
from orchestrator.doctor.findings import Unfit
from orchestrator.doctor.places import MAX_SKEW_S
from orchestrator.screen.counts import counted

NODE_S = 90.0
"""Time that a node may take to start a process and say its clock."""
_SECURE = (
    "write a token on every machine (ray get-auth-token --generate, then copy ~/.ray/auth_token) and set "
    "RAY_AUTH_MODE=token for `ray start` and for every command"
)


def check_ray(count_nodes: Callable[[str], int] = check_cluster) -> str:
    """What RAY_ADDRESS names, if it answers and lets us in; without it, that a Ray of our own can start here."""
    address = ray_address()
    if address is None:
        return f"no RAY_ADDRESS: runs start a Ray of their own, with a token, its files below {temporary_folder()}"
    nodes = count_nodes(address)
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        raise Unfit(f"{address}: {counted(nodes, 'node')}, not guarded by a token", _SECURE, warning=True)
    return f"{address}: {counted(nodes, 'node')}, guarded by a token"


def check_room(demands: Sequence[Demand], num_trials: int = 1) -> str:
    """That everything that one run asks finds a place. Leaves Ray connected."""
    connect(demands)
    demands = settle(demands)
    asked = ", ".join(f"{demand.count} {demand.kind}{'s' * (demand.count > 1)}" for demand in demands)
    return f"room for {asked}{' of one trial' if num_trials > 1 else ''}"


def check_node_clocks() -> str:
    """That the clocks of all nodes agree with this one's. Ray is connected."""
    skews = node_skews()
    worst = max(skews, key=lambda node: abs(skews[node]))
    if abs(skews[worst]) > MAX_SKEW_S:
        raise Unfit(
            f"the clock of node {worst} is {abs(skews[worst]):.0f} s {'ahead' if skews[worst] > 0 else 'behind'}",
            "set the clocks by NTP (chronyc tracking, timedatectl)",
        )
    return f"{len(skews)} node{'s' * (len(skews) > 1)} within {MAX_SKEW_S:.0f} s"


def node_skews() -> dict[str, float]:
    """Seconds by which each node's clock is ahead of this one's, by address. Raises Unfit if a node does not answer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    tell = ray.remote(num_cpus=0)(_now)
    skews = {}
    for node, address in nodes.items():
        task = tell.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        skews[address] = _skew(task, address)
    return skews


def _now() -> float:
    return time.time()


def _skew(task: Any, address: str) -> float:
    import ray

    try:
        ray.get(task.remote(), timeout=NODE_S)  # The first call starts a process there.
        before = time.time()
        there = ray.get(task.remote(), timeout=NODE_S)
        after = time.time()
    except ray.exceptions.GetTimeoutError:
        raise Unfit(
            f"node {address} did not answer within {NODE_S:.0f} s",
            "look at `ray status` and at that machine's load; does it have this Python and these packages?",
        ) from None
    return there - min(max(there, before), after)
