"""What each kind of actor asks of the cluster, and whether its nodes can hold that: said at once, not waited for.

Processors are a promise, not a partition: a Ray that a run starts on its own machine promises as many as are asked.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import get_current_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.rating.settings import RaterSettings
from orchestrator.cluster.ray_private import autoscaler_node_types, free_resources
from orchestrator.errors import SettingsError

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Each process computes on one thread: with more, the processes of one machine fight for its cores."""
SETTLE_S = 5.0
"""What ended a moment ago still counts as in use for about so long."""
ACCELERATOR_TYPE = "accelerator_type:"
"""Ray names a node's kind of GPU by a resource with this prefix; a thousandth of it is what an actor takes."""

POLICY_LEARNER = "policy learner"
"""Kind of the actor that RLlib itself makes, and so places."""

Resources = dict[str, float]


@dataclass(frozen=True)
class Demand:
    """So many actors of one kind, and what each asks."""

    kind: str
    """For messages: 'rollout worker'."""
    count: int
    resources: Resources
    """Ray resources of one."""
    remedy: str
    """Settings that would change it."""


def resources_of(
    num_cpus: float, num_gpus: float, accelerator_type: str | None, custom: Mapping[str, float]
) -> Resources:
    """Ray resources of one actor, from its settings."""
    kind = {f"{ACCELERATOR_TYPE}{accelerator_type}": 0.001} if accelerator_type else {}
    return {"CPU": num_cpus, **({"GPU": num_gpus} if num_gpus else {}), **kind, **custom}


def replica_demand(rater: RaterSettings) -> Resources:
    """Ray resources of one engine; a client of an endpoint takes a share of a processor only."""
    if rater.endpoint:
        return {"CPU": 0.1}
    num_gpus = rater.num_gpus
    if num_gpus is None:
        num_gpus = float(rater.tensor_parallel_size) if _has_gpus() else 0.0
    return resources_of(rater.num_cpus, num_gpus, rater.accelerator_type, rater.resources)


def raters_demand(rater: RaterSettings) -> Demand:
    """All engines of one rating server."""
    remedy = "rater.num_replicas, rater.num_cpus, rater.num_gpus, rater.accelerator_type or rater.resources"
    return Demand("rating replica", rater.num_replicas, replica_demand(rater), remedy)


def bundles_of(own: Resources, demands: Sequence[Demand]) -> list[Resources]:
    """A placement group for a process that takes `own` and makes the actors in `demands`: a bundle for each of them.

    The first bundle is the process's; the policy's learner is there too, since it is not ours to place.
    """
    first, others = dict(own), []
    for demand in demands:
        if demand.kind == POLICY_LEARNER:
            first = {name: first.get(name, 0.0) + demand.resources.get(name, 0.0) for name in first | demand.resources}
        else:
            others += [demand.resources] * demand.count
    return [{name: amount for name, amount in bundle.items() if amount} for bundle in (first, *others)]


def in_bundle(demands: Sequence[Demand], kind: str, number: int = 0) -> dict[str, Any]:
    """Option that sends the `number`th actor of a kind to its bundle, in a process that `bundles_of` has placed.

    Left to Ray, a small actor may take the bundle of a large one, which then waits for ever. Elsewhere there is nothing
    to send it to, and no option.
    """
    group = _own_group()
    if group is None:
        return {}
    index = 1 + number
    for demand in demands:
        if demand.kind == kind:
            break
        index += 0 if demand.kind == POLICY_LEARNER else demand.count
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)}


def actor_options(demand: Resources, environment: Mapping[str, str]) -> dict[str, Any]:
    """`demand` and environment variables as options of a Ray actor."""
    return {
        "num_cpus": demand.get("CPU", 0.0),
        "num_gpus": demand.get("GPU", 0.0),
        "resources": {name: amount for name, amount in demand.items() if name not in ("CPU", "GPU")} or None,
        "runtime_env": {"env_vars": dict(environment)},
    }


def check_placement(demands: Sequence[Demand], own_place: bool = False) -> None:
    """Raise SettingsError, naming what is missing, if the cluster cannot hold `demands` now.

    Inside a placement group, as a trial of a sweep is, its bundles are looked at; with `own_place` the cluster still.
    Nodes that an autoscaler may add count as there.
    """
    bundles = None if own_place else _own_bundles()
    if bundles is not None:
        _refuse(unplaced(demands, bundles), demands, bundles, "The trial's placement group has")
        return
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    addable = _addable_nodes(sum(demand.count for demand in demands))
    _refuse(unplaced(demands, nodes + addable), demands, nodes + addable, "The cluster has")
    deadline = time.monotonic() + SETTLE_S
    while left := unplaced(demands, (free := free_resources()) + addable):
        if time.monotonic() > deadline:
            _refuse(left, demands, free, "Of the cluster, others leave free")
        time.sleep(0.2)


def most_that_fit(demands: Callable[[int], Sequence[Demand]], most: int) -> int:
    """The largest number up to `most` for which `demands(number)` fits the cluster's nodes, or those it may add."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for number in range(1, most + 1):
        wanted = demands(number)
        if unplaced(wanted, nodes + _addable_nodes(sum(demand.count for demand in wanted))):
            return number - 1
    return most


def unplaced(demands: Sequence[Demand], nodes: Sequence[Mapping[str, float]]) -> Counter[str]:
    """Number of actors of each kind for which `nodes` have no room, when the most demanding are placed first.

    Each goes to the node where least is left over, rare resources counted first, so that processors of a node with
    GPUs go last to those that need none.
    """
    room = [dict(node) for node in nodes]
    left: Counter[str] = Counter()
    for demand in sorted(demands, key=lambda demand: _rarity(demand.resources), reverse=True):
        for _ in range(demand.count):
            fitting = [node for node in room if _fits(demand.resources, node)]
            if not fitting:
                left[demand.kind] += 1
                continue
            node = min(fitting, key=_rarity)
            for name, amount in demand.resources.items():
                node[name] = node.get(name, 0.0) - amount
    return left


def _refuse(left: Counter[str], demands: Sequence[Demand], nodes: Sequence[Mapping[str, float]], whose: str) -> None:
    if not left:
        return
    asked = [name for demand in demands if demand.kind in left for name in demand.resources]
    names = list(dict.fromkeys(asked))
    have = "; ".join(
        f"{count} x ({text})" if count > 1 else f"({text})"
        for text, count in Counter(as_text({name: node.get(name, 0.0) for name in names}) for node in nodes).items()
    )
    for demand in demands:
        if demand.kind not in left:
            continue
        nowhere = [name for name in demand.resources if not any(node.get(name, 0.0) for node in nodes)]
        missing = f"; no node has {' or '.join(_plain(name) for name in nowhere)}" if nowhere else ""
        raise SettingsError(
            f"{left[demand.kind]} of {demand.count} {demand.kind}{'s' * (demand.count > 1)} cannot be placed: each "
            f"needs {as_text(demand.resources)}{missing}. {whose} {have or 'no node'}. Add nodes, or change "
            f"{demand.remedy}"
        )


def _own_bundles() -> list[Resources] | None:
    """Room of the placement group that this process's actors go to, or None if they go anywhere."""
    group = _own_group()
    if group is None:
        return None
    first, *others = [dict(bundle) for bundle in group.bundle_specs]
    # The first bundle holds this process itself.
    mine = ray.get_runtime_context().get_assigned_resources()
    return [{name: amount - mine.get(name, 0.0) for name, amount in first.items()}, *others]


def _own_group() -> PlacementGroup | None:
    """The placement group that this process's actors go to, or None if they go anywhere."""
    captures = ray.get_runtime_context().should_capture_child_tasks_in_placement_group
    return get_current_placement_group() if captures else None


def _addable_nodes(most: int) -> list[Resources]:
    """Nodes that an autoscaler may still add, `most` of each type at most; none without one."""
    return [
        resources
        for resources, max_count in autoscaler_node_types()
        for _ in range(most if max_count < 0 else min(most, max_count))
    ]


def _has_gpus() -> bool:
    return bool(ray.is_initialized() and ray.cluster_resources().get("GPU", 0.0))


def _fits(demand: Mapping[str, float], node: Mapping[str, float]) -> bool:
    return all(node.get(name, 0.0) >= amount - 1e-9 for name, amount in demand.items())


def _rarity(resources: Mapping[str, float]) -> tuple[float, float, float]:
    """GPUs before custom resources before processors. Ray's own resources, such as memory, do not count."""
    custom = (
        sum(amount for name, amount in resources.items() if ":" not in name and "memory" not in name)
        - resources.get("CPU", 0.0)
        - resources.get("GPU", 0.0)
    )
    return resources.get("GPU", 0.0), custom, resources.get("CPU", 0.0)


def as_text(resources: Mapping[str, float]) -> str:
    """Resources for people: '1 CPU, 1 env, GPU of type A100'."""
    amounts = [f"{amount:g} {name}" for name, amount in resources.items() if not _is_label(name)]
    return ", ".join(amounts + [_plain(name) for name, amount in resources.items() if _is_label(name) and amount])


def _is_label(name: str) -> bool:
    return name.startswith(ACCELERATOR_TYPE)


def _plain(name: str) -> str:
    return f"GPU of type {name.removeprefix(ACCELERATOR_TYPE)}" if _is_label(name) else name
