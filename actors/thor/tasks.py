"""What a chain of ALFRED's sub-tasks is, and when each is done.

A sub-task is what the expert brought about in a skill, read off its own actions: which object it took, what it put it
into, what it left closed. The rules are ALFRED's (`env/reward.py`) with SPRINT's changes: any slice of the object
counts, what the expert closed must be closed, and heating, cooling and cleaning end with the object in hand again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHECKED = (
    "PickupObject", "PutObject", "SliceObject", "ToggleObject", "CleanObject", "HeatObject", "CoolObject",
)  # fmt: skip
"""Kinds of skills whose end can be told. Navigation alone is no skill, as in the data."""
_TREATED = {"CleanObject": "cleaned", "HeatObject": "heated", "CoolObject": "cooled"}


@dataclass(frozen=True)
class ExpertAction:
    """A low-level action of a demonstration."""

    name: str
    """One of `settings.ACTIONS`."""
    object_id: str = ""
    """THOR's id of what it is about; of what is put, for PutObject."""
    receptacle_id: str = ""
    """What it is put into."""


@dataclass(frozen=True)
class Subtask:
    """One skill: what is told, and what must be so at its end."""

    instruction: str
    kind: str
    """One of CHECKED."""
    object_id: str
    receptacle_id: str = ""
    """For PutObject."""
    on: bool = True
    """For ToggleObject: whether it is left switched on."""
    closed: tuple[str, ...] = ()
    """Containers that the expert opened and closed again, or only closed."""


@dataclass(frozen=True)
class ThorTask:
    """A chain of skills in a recorded scene, begun where the expert began them."""

    name: str
    scene: Mapping[str, Any]
    """The block `scene` of `traj_data.json`."""
    before: tuple[ExpertAction, ...]
    """What the expert did in the scene before the chain; it is done again."""
    subtasks: tuple[Subtask, ...]
    num_expert_steps: int
    """The expert's actions in the chain."""
    acted_on: tuple[str, ...] = ()
    """THOR's ids of what the expert's actions in the chain are about, each once."""

    @property
    def instruction(self) -> str:
        """The whole chain in words."""
        return " ".join(subtask.instruction for subtask in self.subtasks)


@dataclass
class Treatments:
    """Ids of objects that were treated since the scene was loaded; THOR itself does not remember."""

    cleaned: set[str]
    heated: set[str]
    cooled: set[str]

    def note(self, name: str, object_id: str, metadata: Mapping[str, Any]) -> None:
        """Take a successful action into account, as ALFRED's `ThorEnv.update_states` does."""
        kind = class_of(object_id)
        if name == "ToggleObjectOn" and kind == "Faucet":
            basin = _nearest_basin(object_id, metadata)
            self.cleaned |= _inside(basin)
        elif name == "ToggleObjectOn" and kind == "Microwave":
            self.heated |= _inside(find(object_id, metadata))
        elif name == "CloseObject" and kind == "Fridge":
            self.cooled |= _inside(find(object_id, metadata))


def subtask_of(kind: str, instruction: str, actions: Sequence[ExpertAction]) -> Subtask:
    """What the expert brought about by `actions`. Raises ValueError if the end of such a skill cannot be told."""
    if kind not in CHECKED:
        raise ValueError(f"the end of a skill {kind!r} cannot be told")
    names = {
        "PutObject": ("PutObject",),
        "SliceObject": ("SliceObject",),
        "ToggleObject": ("ToggleObjectOn", "ToggleObjectOff"),
    }.get(kind, ("PickupObject",))
    deciding = next((action for action in reversed(actions) if action.name in names), None)
    if deciding is None:
        raise ValueError(f"a skill {kind!r} without {' or '.join(names)}")
    if kind == "SliceObject" and len({whole(a.object_id) for a in actions if a.name == "SliceObject"}) > 1:
        raise ValueError("a skill that slices several things, told in one sentence")
    doors = {a.object_id: a.name for a in actions if a.name in ("OpenObject", "CloseObject")}
    return Subtask(
        instruction,
        kind,
        deciding.object_id,
        deciding.receptacle_id,
        deciding.name != "ToggleObjectOff",
        tuple(sorted(door for door, last in doors.items() if last == "CloseObject")),
    )


def is_done(subtask: Subtask, metadata: Mapping[str, Any], treatments: Treatments) -> bool:
    """Whether a state of the scene is one that the sub-task ends in."""
    for door in subtask.closed:
        found = find(door, metadata)
        if found is None or found["isOpen"]:
            return False
    held = {whole(one["objectId"]) for one in metadata["inventoryObjects"]}
    target = whole(subtask.object_id)
    if subtask.kind == "PickupObject":
        return target in held
    if subtask.kind == "PutObject":
        return target in {whole(one) for one in _inside(find(subtask.receptacle_id, metadata))}
    if subtask.kind == "SliceObject":
        return any(
            whole(one["objectId"]) == target and (one["isSliced"] or one["objectId"] != target)
            for one in metadata["objects"]
        )
    if subtask.kind == "ToggleObject":
        found = find(subtask.object_id, metadata)
        return found is not None and found["isToggled"] == subtask.on
    treated = getattr(treatments, _TREATED[subtask.kind])
    return target in held and target in {whole(one) for one in treated}


def find(object_id: str, metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """An object of the scene by its id."""
    return next((one for one in metadata["objects"] if one["objectId"] == object_id), None)


def class_of(object_id: str) -> str:
    """The class in an id such as 'Mug|+00.10|+00.90|-01.20', as the data's `action_object` has it."""
    return object_id.split("|")[0]


def whole(object_id: str) -> str:
    """The id of what a slice was cut from: 'Apple|1|2|3|AppleSliced_4' is of 'Apple|1|2|3'."""
    head, _, tail = object_id.rpartition("|")
    return head if tail.startswith(f"{class_of(object_id)}Sliced") else object_id


def _inside(receptacle: Mapping[str, Any] | None) -> set[str]:
    return set() if receptacle is None else set(receptacle["receptacleObjectIds"] or ())


def _nearest_basin(faucet_id: str, metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    faucet = find(faucet_id, metadata)
    basins = [one for one in metadata["objects"] if one["objectType"] == "SinkBasin"]
    if faucet is None or not basins:
        return None
    return min(basins, key=lambda one: sum((one["position"][axis] - faucet["position"][axis]) ** 2 for axis in "xyz"))
