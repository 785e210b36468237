"""Who takes what of the GPUs there are, where the settings leave it to the cluster.

An engine takes whole GPUs, and what learns shares the others. Where there are no others, the engine leaves it a part of
its own. Ray only counts these shares; what runs out is memory, and an engine takes its part of that at its start (nine
tenths of its share: `RaterSettings.engine_memory_fraction`), so that what it left is still there for the others.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from orchestrator.cluster.packing import Demand, Resources, unplaced

REWARD_LEARNER_SHARE = 0.1
"""The published network on 224 pixels takes 2 to 3 GB while it trains on batches of 512."""
SIMILARITY_SHARE = 0.1
"""The largest CLIPs take 5 GB in half precision."""
POLICY_SHARE = 0.05
"""Small networks on vectors: what CUDA itself takes is most of it."""
OFFLINE_POLICY_SHARE = 0.1
"""Networks on grids or pictures."""
MOST_YIELDED = 0.6
"""Share of its GPU that an engine leaves to others at most, however many trials a sweep is told to run at once."""
SMALLEST_ENGINE = 0.1
"""Share of its GPU below which an engine does not go, whatever shares the settings of others name."""
_STEPS = 10_000
"""Ray counts shares in steps of so many to a GPU."""

Nodes = Sequence[Mapping[str, float]]


def share_gpus(demands: Sequence[Demand], nodes: Nodes, addable: Nodes = ()) -> list[Demand]:
    """`demands` with what each takes of GPUs, where their settings do not say so.

    GPUs of `nodes` come before those that an autoscaler may add, and of these as few as will do. Where nothing else
    fits, what learns does so on processors; without any GPU so does everything. What fits in no way is returned in the
    last of these forms, for the caller to refuse.
    """
    there = [*nodes, *addable]
    if not any(node.get("GPU", 0.0) for node in there):
        return on_processors(demands)
    no_new_gpus = [*nodes, *(node for node in addable if not node.get("GPU", 0.0))]
    beside, last = _beside_engines(demands), learners_on_processors(demands)
    options = (
        (_whole(demands, no_new_gpus), no_new_gpus),
        (beside, no_new_gpus),
        (beside, there),
        (_whole(demands, there), there),
    )
    return next((option for option, room in options if option and not unplaced(option, room)), last)


def settled(demands: Sequence[Demand], gpus: Callable[[Demand], float]) -> list[Demand]:
    """`demands` with `gpus(demand)` for one of those that leave it to the cluster; what is an actor only with a GPU is
    left out where that is 0."""
    given = [(one, None if one.wish is None else gpus(one)) for one in demands]
    return [
        one if number is None else one.with_gpus(number)
        for one, number in given
        if number or one.wish is None or not one.wish.only_with_gpu
    ]


def learners_on_processors(demands: Sequence[Demand]) -> list[Demand]:
    """`demands` with GPUs for engines alone."""
    return _with_engines(demands, {})


def on_processors(demands: Sequence[Demand]) -> list[Demand]:
    """`demands` where there are no GPUs, or none is known of."""
    return settled(demands, lambda _: 0.0)


def gpus_by_kind(demands: Sequence[Demand]) -> Resources:
    """GPUs of one actor of each kind."""
    return {one.kind: one.num_gpus for one in demands}


def _whole(demands: Sequence[Demand], nodes: Nodes) -> list[Demand]:
    """Engines on GPUs of their own, and what learns on the others, as far as these are known to be others."""
    taken = sum(one.count * (one.wish.num_gpus if one.wish else one.num_gpus) for one in demands if not _shares(one))
    others = math.floor(sum(node.get("GPU", 0.0) for node in nodes) - taken + 1.0 / _STEPS)
    return _with_engines(demands, _learners_shares(demands, max(1, others), room=1.0))


def _beside_engines(demands: Sequence[Demand]) -> list[Demand]:
    """Engines that leave a part of their GPUs to all others; nothing if there are no engines that yield, or no room."""
    engines = [one for one in demands if one.wish and not _shares(one)]
    if not engines or any(one.wish.role != "yields" for one in engines):
        return []
    hosts = sum(one.count for one in engines)
    shares = _learners_shares(demands, hosts, MOST_YIELDED)
    others = [one for one in demands if one not in engines and one.num_gpus < 1.0]
    left = 1.0 - sum(_on_one(one, hosts) * shares.get(one.kind, one.num_gpus) for one in others)
    if left < SMALLEST_ENGINE:
        return []
    return settled(demands, lambda one: shares[one.kind] if _shares(one) else round(left, 4))


def _with_engines(demands: Sequence[Demand], learners: Resources) -> list[Demand]:
    """Engines as they wish, and what learns with these shares, by kind."""
    return settled(demands, lambda one: learners.get(one.kind, 0.0) if _shares(one) else one.wish.num_gpus)


def _learners_shares(demands: Sequence[Demand], num_gpus: int, room: float) -> Resources:
    """Share of one of each kind that learns, on so many GPUs with so much room each: as wished, or less if they are
    many."""
    learners = [one for one in demands if _shares(one)]
    wanted = sum(_on_one(one, num_gpus) * one.wish.num_gpus for one in learners)
    if wanted <= room + 1.0 / _STEPS:
        return {one.kind: one.wish.num_gpus for one in learners}
    return {one.kind: math.floor(_STEPS * one.wish.num_gpus * room / wanted) / _STEPS for one in learners}


def _on_one(demand: Demand, num_gpus: int) -> int:
    """Actors of a kind that one of so many GPUs has to hold at least."""
    return math.ceil(demand.count / num_gpus)


def _shares(demand: Demand) -> bool:
    return demand.wish is not None and demand.wish.role == "shares"
