"""Demands of actors, and whether nodes have room for them. Needs no Ray."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

ACCELERATOR_TYPE = "accelerator_type:"
"""Ray names a node's kind of GPU by a resource with this prefix; a thousandth of it is what an actor takes."""

Resources = dict[str, float]

_ROUNDING = 1e-6
"""Ray counts in ten-thousandths."""


@dataclass(frozen=True)
class GpuWish:
    """What an actor takes where there are GPUs, if its settings leave that to the cluster; see `gpus.share_gpus`."""

    num_gpus: float
    """Whole GPUs, or a share of one."""
    role: Literal["yields", "keeps", "shares"] = "shares"
    """An engine `yields` a part of its GPU to what learns, or `keeps` what it wishes. What learns `shares` a GPU with
    others, and makes do with less, or with a processor."""
    only_with_gpu: bool = False
    """Without a GPU it is no actor: then it works in the run's own process."""


@dataclass(frozen=True)
class Demand:
    """So many actors of one kind, and what each asks."""

    kind: str
    """For messages: 'rollout worker'."""
    count: int
    resources: Resources
    """Ray resources of one; without GPUs as long as there is a `wish`."""
    remedy: str
    """Settings that would change it."""
    wish: GpuWish | None = None
    """What it takes of GPUs, where its settings do not say so; None once that is settled."""

    @property
    def num_gpus(self) -> float:
        """GPUs of one, once that is settled."""
        return self.resources.get("GPU", 0.0)

    def with_gpus(self, num_gpus: float) -> "Demand":
        """With its wish settled."""
        resources = {**self.resources, **({"GPU": num_gpus} if num_gpus else {})}
        return replace(self, resources=resources, wish=None)


def unplaced(demands: Sequence[Demand], nodes: Sequence[Mapping[str, float]]) -> Counter[str]:
    """Number of actors of each kind for which `nodes` have no room; see `places`."""
    return Counter(demand.kind for demand, node in places(demands, nodes) if node is None)


def places(demands: Sequence[Demand], nodes: Sequence[Mapping[str, float]]) -> list[tuple[Demand, int | None]]:
    """A node's number for each actor, None where there is no room, when the most demanding are placed first.

    Each goes to the node where least is left over, rare resources counted first, so that processors of a node with
    GPUs go last to those that need none. A share of a GPU is found on one GPU only.
    """
    room = [_Room(node) for node in nodes]
    found: list[tuple[Demand, int | None]] = []
    for demand in sorted(demands, key=lambda demand: _rarity(demand.resources), reverse=True):
        for _ in range(demand.count):
            fitting = [number for number, node in enumerate(room) if node.fits(demand.resources)]
            best = min(fitting, key=lambda number: room[number].rarity(), default=None)
            if best is not None:
                room[best].take(demand.resources)
            found.append((demand, best))
    return found


class _Room:
    """What a node has left. Its GPUs are single things; of what is free only the sum is known, so whole ones first."""

    def __init__(self, node: Mapping[str, float]) -> None:
        self._others = {name: amount for name, amount in node.items() if name != "GPU"}
        gpus = node.get("GPU", 0.0)
        whole = math.floor(gpus + _ROUNDING)
        self._gpus = [1.0] * whole + ([gpus - whole] if gpus - whole > _ROUNDING else [])

    def fits(self, demand: Resources) -> bool:
        """Whether one actor of this demand has room."""
        others = all(
            self._others.get(name, 0.0) >= amount - _ROUNDING for name, amount in demand.items() if name != "GPU"
        )
        return others and len(self._fitting(demand)) >= self._number(demand)

    def take(self, demand: Resources) -> None:
        """Give that room away; a share of a GPU where least is left over, as Ray does."""
        for name, amount in demand.items():
            if name != "GPU":
                self._others[name] = self._others.get(name, 0.0) - amount
        share = min(1.0, demand.get("GPU", 0.0))
        for place in sorted(self._fitting(demand), key=self._gpus.__getitem__)[: self._number(demand)]:
            self._gpus[place] -= share

    def rarity(self) -> tuple[float, float, float]:
        """As of resources."""
        return _rarity(self._others | {"GPU": sum(self._gpus)})

    def _fitting(self, demand: Resources) -> list[int]:
        share = min(1.0, demand.get("GPU", 0.0))
        return [place for place, left in enumerate(self._gpus) if left >= share - _ROUNDING]

    def _number(self, demand: Resources) -> int:
        return math.ceil(demand.get("GPU", 0.0) - _ROUNDING)


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
    return ", ".join(amounts + [plain_name(name) for name, amount in resources.items() if _is_label(name) and amount])


def plain_name(resource: str) -> str:
    """A resource's name for people: 'GPU of type A100'."""
    return f"GPU of type {resource.removeprefix(ACCELERATOR_TYPE)}" if _is_label(resource) else resource


def _is_label(name: str) -> bool:
    return name.startswith(ACCELERATOR_TYPE)
