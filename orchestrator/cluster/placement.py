"""What each kind of actor asks of the cluster, and whether its nodes can hold that: said at once, not waited for.

Processors are a promise, not a partition: a Ray that a run starts on its own machine promises as many as are asked.
"""

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.util import get_current_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.rating.settings import RaterSettings
from orchestrator.cluster.gpus import gpus_by_kind, learners_on_processors, settled, share_gpus
from orchestrator.cluster.packing import (
    ACCELERATOR_TYPE,
    Demand,
    GpuWish,
    Resources,
    as_text,
    places,
    plain_name,
    unplaced,
)
from orchestrator.cluster.ray_private import autoscaler_node_types, free_resources
from orchestrator.errors import SettingsError

log = logging.getLogger(__name__)

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Each process computes on one thread: with more, the processes of one machine fight for its cores."""
LOOK_S = 120.0
"""Time that a process may take to start on another node and say what it sees."""
SETTLE_S = 5.0
"""What ended a moment ago still counts as in use for about so long."""
POLICY_LEARNER = "policy learner"
"""Kind of the actor that RLlib itself makes, and so places."""
RATING_REPLICA = "rating replica"


def resources_of(
    num_cpus: float, num_gpus: float | None, accelerator_type: str | None, custom: Mapping[str, float]
) -> Resources:
    """Ray resources of one actor, from its settings; without GPUs where they leave that to the cluster."""
    kind = {f"{ACCELERATOR_TYPE}{accelerator_type}": 0.001} if accelerator_type else {}
    return {"CPU": num_cpus, **({"GPU": num_gpus} if num_gpus else {}), **kind, **custom}


def replica_demand(rater: RaterSettings) -> Resources:
    """Ray resources of one engine; a client of an endpoint takes a share of a processor only."""
    if rater.endpoint:
        return {"CPU": 0.1}
    return resources_of(rater.num_cpus, rater.num_gpus, rater.accelerator_type, rater.resources)


def raters_demand(rater: RaterSettings) -> Demand:
    """All engines of one rating server."""
    remedy = "rater.num_replicas, rater.num_cpus, rater.num_gpus, rater.accelerator_type or rater.resources"
    wish = None
    if rater.num_gpus is None and not rater.endpoint:
        yields = rater.tensor_parallel_size == 1 and rater.gpu_memory_fraction is None
        wish = GpuWish(rater.wished_gpus, "yields" if yields else "keeps")
    return Demand(RATING_REPLICA, rater.num_replicas, replica_demand(rater), remedy, wish)


def placed_rater(rater: RaterSettings, beside: Sequence[Demand] = ()) -> RaterSettings:
    """`rater` with its GPUs in numbers, if it leaves them to the cluster, beside what these ask. Ray is connected."""
    if rater.num_gpus is not None or rater.endpoint:
        return rater
    engines, *_ = settle([raters_demand(rater), *beside], own_place=True)
    return rater.model_copy(update={"num_gpus": engines.num_gpus})


def bundles_of(own: Resources, demands: Sequence[Demand]) -> list[Resources]:
    """A placement group for a process that takes `own` and makes the actors in `demands`: a bundle for each of them.

    The first bundle is the process's. Last comes that of the policy's learner, which is not ours to place.
    """
    ours, learner = [], []
    for demand in demands:
        (learner if demand.kind == POLICY_LEARNER else ours).extend([demand.resources] * demand.count)
    return [{name: amount for name, amount in bundle.items() if amount} for bundle in (own, *ours, *learner)]


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
    demands = settle(demands, own_place)
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


def settle(demands: Sequence[Demand], own_place: bool = False) -> list[Demand]:
    """`demands` with what each takes of GPUs, where its settings leave that to the cluster: see `gpus.share_gpus`.

    Inside a placement group it is what was reserved for them. Else it is looked at what the nodes have, and, if others
    do not let go of it, at what they leave free. Ray is connected, unless there is nothing to settle.
    """
    if not any(demand.wish for demand in demands):
        return list(demands)
    group = None if own_place else _own_group()
    if group is not None:
        reserved = _reserved(demands, group.bundle_specs)
        return settled(demands, lambda demand: reserved.get(demand.kind, 0.0))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    addable = _addable_nodes(sum(demand.count for demand in demands))
    shared = share_gpus(demands, nodes, addable)
    if unplaced(shared, nodes + addable):
        return shared
    deadline = time.monotonic() + SETTLE_S
    while unplaced(shared, (free := free_resources()) + addable):
        if time.monotonic() > deadline:
            # An engine waits for no GPU on a processor: that others hold them all is for the caller to say.
            some = any(node.get("GPU", 0.0) for node in [*free, *addable])
            less = share_gpus(demands, free, addable) if some else learners_on_processors(demands)
            return shared if unplaced(less, free + addable) else less
        time.sleep(0.2)
    return shared


def settle_for_run(demands: Sequence[Demand]) -> list[Demand]:
    """As `settle`, but what learns goes to processors, which is told, where torch can not use the GPU that it got.

    Raises SettingsError where the settings themselves want that GPU for the policy, which RLlib would not put in words.
    """
    found = settle(demands)
    for one in demands:
        if one.kind == POLICY_LEARNER and one.num_gpus and not gpu_is_usable(one):
            raise SettingsError(
                f"policy.num_gpus = {one.num_gpus:g}: torch sees no GPU where the policy's learner would be, though "
                "Ray counts one; set it to 0, or install torch's build for GPUs there"
            )
    wishing = {one.kind for one in demands if one.wish is not None and one.wish.role == "shares"}
    learner = min((one for one in found if one.kind in wishing and one.num_gpus), key=_by_gpus, default=None)
    if learner is None or gpu_is_usable(learner):
        return found
    _say_unusable(learner.kind)
    gpus = gpus_by_kind(found)
    return settled(demands, lambda one: 0.0 if one.kind in wishing else gpus[one.kind])


@functools.cache
def _say_unusable(kind: str) -> None:
    """Once."""
    log.warning(
        "torch sees no GPU where the %s would be, though Ray counts one: what learns goes to processors. Is torch's "
        "build for processors installed there?",
        kind,
    )


def gpu_is_usable(demand: Demand) -> bool:
    """Whether torch sees the GPU of an actor of this demand. That of a node still to be added is taken on trust."""
    having = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    if having == [ray.get_runtime_context().get_node_id()]:
        return torch_sees_a_gpu()
    if _own_group() is None and not fits_now([demand]):
        return True
    options = actor_options({name: amount for name, amount in demand.resources.items() if name != "CPU"}, ONE_THREAD)
    try:
        return ray.get(ray.remote(torch_sees_a_gpu).options(**options).remote(), timeout=LOOK_S)
    except GetTimeoutError:
        return True


def torch_sees_a_gpu() -> bool:
    """Whether torch can use a GPU in this process."""
    import torch

    return torch.cuda.is_available()


def _by_gpus(demand: Demand) -> float:
    return demand.num_gpus


def _reserved(demands: Sequence[Demand], bundles: Sequence[Mapping[str, float]]) -> Resources:
    """GPUs of one of each kind, in the bundles of `bundles_of`."""
    gpus, index = {}, 1
    for demand in demands:
        if demand.kind == POLICY_LEARNER:
            continue
        gpus[demand.kind] = bundles[index].get("GPU", 0.0)
        index += demand.count
    return gpus | ({POLICY_LEARNER: bundles[index].get("GPU", 0.0)} if index < len(bundles) else {})


def nodes_of(demands: Sequence[Demand]) -> list[tuple[Demand, Counter[str]]]:
    """Where the actors of each demand find room, in words, and how many there; Ray may choose another node that fits.

    Ray is connected, and the demands are settled and have been checked.
    """
    living = [node for node in ray.nodes() if node["Alive"]]
    addable = _addable_nodes(sum(demand.count for demand in demands))
    here = ray.get_runtime_context().get_node_id()
    names = [
        f"{'this machine' if node['NodeID'] == here else node['NodeManagerAddress']} ({_size(node['Resources'])})"
        for node in living
    ] + [f"a node to be added ({_size(node)})" for node in addable]
    found = places(demands, [node["Resources"] for node in living] + addable)
    return [
        (demand, Counter("nowhere" if number is None else names[number] for one, number in found if one is demand))
        for demand in demands
    ]


def fits_now(demands: Sequence[Demand]) -> bool:
    """Whether settled `demands` have room without waiting for an autoscaler. Ray is connected."""
    return not unplaced(demands, free_resources())


def _size(node: Mapping[str, float]) -> str:
    return as_text(
        {name: node.get(name, 0.0) for name in ("CPU", "GPU")}
        | {n: a for n, a in node.items() if ":" in n and n.startswith(ACCELERATOR_TYPE)}
    )


def most_that_fit(demands: Callable[[int], Sequence[Demand]], most: int) -> int:
    """The largest number up to `most` for which `demands(number)` fits the cluster's nodes, or those it may add."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for number in range(1, most + 1):
        wanted = demands(number)
        if unplaced(wanted, nodes + _addable_nodes(sum(demand.count for demand in wanted))):
            return number - 1
    return most


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
        missing = f"; no node has {' or '.join(plain_name(name) for name in nowhere)}" if nowhere else ""
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
