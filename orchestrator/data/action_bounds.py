"""The bounds of each entry of a set's continuous actions: what `metadata.json` says, or what the actions show.

A policy acts within [-1, 1], so bounds decide what it can do, and how finely. They are the exact range of the actions,
with one exception. A single bad value of a sensor would squeeze all others into a small part of [-1, 1]. So if one
action in `FAULT_EVERY`, or a single one, makes an entry's range `STRETCH` times as wide as all others need it, the
bounds are those of the others, and it is learned as the nearest of them. Quantiles would be simpler, but cut what is
rare and decisive, such as a gripper that closes once in an episode; what is as rare as faults are here is not learned
anyway. Entries that else never change keep their exact range: there a rare value is all that they say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from algorithms.action_scale import ActionScale
from algorithms.transitions import ACTION_LIMIT
from orchestrator.data.check import PartError
from orchestrator.data.parts import open_part
from orchestrator.data.schema import ActionBounds, ActionSpace
from orchestrator.errors import SettingsError

FAULT_EVERY = 1000
"""At most one value in so many is taken for a fault, of fewer a single one."""
FEWEST = 100
"""Among fewer actions nothing is taken for a fault."""
STRETCH = 5.0
"""So many times as wide as all others need it makes a fault the range."""
MUCH_WIDER = 2.0
"""A recording's own statement counts unless it is so many times as wide as its actions: they were seen, too."""


StatedBounds = tuple[tuple[float, ...], tuple[float, ...]]
"""Lowest and highest value of each entry, as a recording says."""


@dataclass(frozen=True)
class KnownBounds:
    """What is known of bounds beside the actions themselves."""

    given: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest value of entries by name, as somebody set them: these count."""
    stated: StatedBounds | None = None
    """What the recording says."""

    def check(self, actions: ActionSpace) -> None:
        """Raise SettingsError if what is given does not fit."""
        if self.given and actions.kind == "discrete":
            raise SettingsError("action_bounds: these actions are discrete, and have no bounds; leave it out")
        for name, (low, high) in self.given.items():
            if name not in actions.names:
                raise SettingsError(
                    f"action_bounds: {name!r} is no entry of the actions; there are {', '.join(actions.names)}"
                )
            if not (np.isfinite(np.float32([low, high])).all() and low <= high):
                raise SettingsError(f"action_bounds: {name} = {low:g}, {high:g}: give two numbers, the lower one first")


def recorded_actions(parts: Iterable[Path], size: int) -> np.ndarray:
    """All actions of `size` entries in these parts, float32 [N, size], without those that are not finite or not whole.

    A part that cannot be read has none.
    """
    found = [np.empty((0, size), np.float32)]
    for part in parts:
        try:
            with open_part(part) as file:
                for group in range(file.num_row_groups):
                    column = file.read_row_group(group, columns=["action"])["action"].drop_null()
                    whole = column.filter(pc.equal(pc.list_value_length(column), size)).combine_chunks()
                    found.append(np.asarray(whole.flatten(), dtype=np.float32).reshape(-1, size))
        except (PartError, pa.ArrowException, OSError, ValueError, KeyError):
            continue  # Whoever reads the part says why.
    actions = np.concatenate(found)
    return actions[np.isfinite(actions).all(axis=1)]


def with_bounds(actions: ActionSpace, recorded: np.ndarray, known: KnownBounds) -> tuple[ActionSpace, list[str]]:
    """The action space with bounds for these actions [N, entries], and what is to be said of them."""
    low, high, faults = range_without_faults(recorded)
    sources = ["data"] * len(actions.names)
    notes = []
    for i, name in enumerate(actions.names):
        if name in known.given:
            low[i], high[i] = known.given[name]
            sources[i] = "given"
        elif known.stated is not None and _fits(known.stated[0][i], known.stated[1][i], low[i], high[i]):
            low[i], high[i] = known.stated[0][i], known.stated[1][i]
            sources[i] = "recording"
        elif faults[i]:
            values = recorded[:, i].astype(np.float64)
            farthest = values[np.argmax(np.maximum(low[i] - values, values - high[i]))]
            notes.append(
                f"{name}: {faults[i]:,} of {len(recorded):,} values lie far beyond all others, as {farthest:.6g}. They "
                f"are taken for faults and learned as the nearest of {low[i]:.6g} and {high[i]:.6g}. If they are "
                f"meant, set bounds: likert data bounds FOLDER {name}=LOW,HIGH"
            )
    bounds = ActionBounds(low=tuple(map(_plain, low)), high=tuple(map(_plain, high)), sources=tuple(sources))
    return actions.model_copy(update={"bounds": bounds}), notes


def scale_for(actions: ActionSpace, recorded: np.ndarray) -> tuple[ActionScale, str | None]:
    """How a set's continuous actions become a policy's, and a word on it if `metadata.json` does not say.

    `recorded` [N, entries] are the set's actions; looked at only if it has no bounds. Those that all lie within
    [-1, 1] are then learned as they are, as they were before there were bounds.
    """
    if actions.bounds is not None:
        return ActionScale(actions.bounds.low, actions.bounds.high), None
    remedy = "`likert data bounds` notes bounds in metadata.json, which has none"
    if not len(recorded) or (np.abs(recorded) <= ACTION_LIMIT).all():
        return ActionScale.identity(len(actions.names)), (
            f"its actions all lie within [-1, 1], and are learned as they are; {remedy}"
        )
    found, notes = with_bounds(actions, recorded, KnownBounds())
    assert found.bounds is not None
    return ActionScale(found.bounds.low, found.bounds.high), "; ".join(
        [f"its actions are scaled by what they show: {told_bounds(found)}; {remedy}", *notes]
    )


def told_bounds(actions: ActionSpace, most: int = 40) -> str:
    """Bounds in one line, of `most` entries at most."""
    if actions.bounds is None:
        return "no bounds"
    parts = []
    for name, low, high in zip(actions.names, actions.bounds.low, actions.bounds.high, strict=True):
        parts.append(f"{name} {low:.6g} to {high:.6g}" if low < high else f"{name} always {low:.6g}")
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def range_without_faults(recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest value of each entry of actions [N, A], float64 [A] each, and how many lie beyond, int [A]."""
    ordered = np.sort(np.asarray(recorded, dtype=np.float64), axis=0)
    number, size = ordered.shape
    if not number:
        return np.zeros(size), np.zeros(size), np.zeros(size, dtype=int)
    low, high, faults = ordered[0].copy(), ordered[-1].copy(), np.zeros(size, dtype=int)
    most = max(1, number // FAULT_EVERY) if number >= FEWEST else 0
    for index in range(size):
        values = ordered[:, index]
        # The narrowest range of all values but `most`, which may lie at either end.
        widths = values[number - most - 1 :] - values[: most + 1]
        first = int(np.argmin(widths))
        if 0.0 < widths[first] < (high[index] - low[index]) / STRETCH:
            low[index], high[index] = values[first], values[number - most - 1 + first]
            faults[index] = int(((values < low[index]) | (values > high[index])).sum())
    return low, high, faults


def _fits(stated_low: float, stated_high: float, low: float, high: float) -> bool:
    """Whether a statement holds the range of actions and fits it; a constant entry is kept as it is."""
    room = 1e-6 * max(abs(low), abs(high), high - low)
    fits = stated_low <= low + room and stated_high >= high - room
    return bool(low < high and fits and stated_high - stated_low <= MUCH_WIDER * (high - low))


def _plain(value: float) -> float:
    """A float32's shortest decimal number, for people: it becomes the same float32 again. Zero has no sign."""
    return float(str(np.float32(value))) + 0.0
