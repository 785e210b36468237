"""How many actions a sub-task still needs, where nothing has to be moved out of the way."""

from collections.abc import Sequence

import numpy as np
from minigrid.core.constants import DIR_TO_VEC
from minigrid.envs.babyai.core.verifier import ActionInstr, GoToInstr, ObjDesc, OpenInstr, PickupInstr, PutNextInstr

from actors.babyai.level import ChainLevel

UNREACHABLE = 10_000
"""Stands for no way at all, or only one past objects that would have to be moved."""

Cells = list[tuple[int, int]]


class DistanceTable:
    """Actions to go, for every place and direction of the agent, while doors, objects and its load stay as they are.

    Turning and walking cost 1; walking through a closed door costs 2. An object that is yet to be picked up counts as
    an obstacle also after that, so a number can be a little too high, until the table is made anew.
    """

    def __init__(self, level: ChainLevel) -> None:
        self._enter_cost = _enter_costs(level)
        self._floor = np.argwhere(_is_floor(level))
        self.table = self._fill(level, level.instrs)
        """int32 [direction, x, y]."""

    def _fill(self, level: ChainLevel, instr: ActionInstr) -> np.ndarray:
        if isinstance(instr, GoToInstr):
            # The action that ends the way is the last turn or step, so standing there costs nothing more.
            goals = self._at(self._facing(_places(level, instr.desc.obj_set)), 0)
            return self._spread(np.minimum(goals, self._put_down(level, instr.desc, 1)))
        if isinstance(instr, OpenInstr):
            goals = self._nowhere()
            for door in instr.desc.obj_set:
                # An open door is closed first.
                cost = self._at(self._facing([tuple(door.cur_pos)]), 2 if door.is_open else 1)
                goals = np.minimum(goals, cost)
            return self._spread(goals)
        if isinstance(instr, PickupInstr):
            others = self._pick_up(level, _places(level, instr.desc.obj_set), self._nowhere(1))
            return np.minimum(others, self._spread(self._put_down(level, instr.desc, 2)))
        return self._put_next(level, instr)

    def _put_down(self, level: ChainLevel, desc: ObjDesc, cost: int) -> np.ndarray:
        """Costs where what is in hand can be put down, if it is what is named."""
        named = any(level.carrying is thing for thing in desc.obj_set)
        return self._at(self._facing(list(map(tuple, self._floor.tolist()))), cost) if named else self._nowhere()

    def _put_next(self, level: ChainLevel, instr: PutNextInstr) -> np.ndarray:
        fixed = _places(level, instr.desc_fixed.obj_set)
        if any(level.carrying is thing for thing in instr.desc_fixed.obj_set):
            # It is put down first, and where that is decides where the other one goes.
            carrying_it = np.stack([self._beside([*fixed, tuple(place)], place) for place in self._floor.tolist()])
        else:
            carrying_it = self._beside(fixed)
        if any(level.carrying is thing for thing in instr.desc_move.obj_set):
            return carrying_it
        return self._pick_up(level, _places(level, instr.desc_move.obj_set), carrying_it + 1)

    def _beside(self, fixed: Cells, blocked: Sequence[int] | None = None) -> np.ndarray:
        """Costs of putting what is in hand next to one of `fixed`, while something lies in the cell `blocked`."""
        floor = set(map(tuple, self._floor.tolist()))
        enter = self._enter_cost.copy()
        if blocked is not None:
            floor -= {tuple(blocked)}
            enter[*blocked] = UNREACHABLE
        beside = {(x + dx, y + dy) for x, y in fixed for dx, dy in DIR_TO_VEC}
        goals = self._at(self._facing(sorted(beside & floor)), 1)
        goals[:, enter == UNREACHABLE] = UNREACHABLE
        return self._spread(goals, enter)

    def _pick_up(self, level: ChainLevel, targets: Cells, after: np.ndarray) -> np.ndarray:
        """Costs of picking up one of `targets`, which leaves `after` to go, the picking up included.

        `after` is [4, W, H], or [F, 4, W, H] if it depends on where what is in hand is put down.
        """
        goals = np.where(self._facing(targets), after, UNREACHABLE)
        if level.carrying is None:
            return self._spread(goals)
        # What is in hand is dropped first, somewhere; there it is in the way.
        num_places = np.arange(len(self._floor))
        blocked = np.repeat(self._enter_cost[None], len(self._floor), axis=0)
        blocked[num_places, self._floor[:, 0], self._floor[:, 1]] = UNREACHABLE
        goals = np.broadcast_to(goals, (len(self._floor), *goals.shape[-3:])).copy()
        goals[num_places, :, self._floor[:, 0], self._floor[:, 1]] = UNREACHABLE
        dropped = self._spread(goals, blocked)
        first = self._nowhere()
        for number, (x, y) in enumerate(self._floor.tolist()):
            here = self._facing([(x, y)])
            first[here] = dropped[number][here] + 1
        return self._spread(first)

    def _nowhere(self, cost: int = UNREACHABLE) -> np.ndarray:
        return np.full((4, *self._enter_cost.shape), cost, dtype=np.int32)

    def _at(self, places: np.ndarray, cost: int) -> np.ndarray:
        return np.where(places, cost, UNREACHABLE).astype(np.int32)

    def _facing(self, cells: Cells) -> np.ndarray:
        """bool [4, W, H]: where the agent stands in a cell that it can enter and looks at one of `cells`."""
        facing = np.zeros((4, *self._enter_cost.shape), dtype=bool)
        for x, y in cells:
            for direction, (dx, dy) in enumerate(DIR_TO_VEC):
                place = x - dx, y - dy
                if 0 <= place[0] < facing.shape[1] and 0 <= place[1] < facing.shape[2]:
                    facing[direction, *place] = self._enter_cost[place] < UNREACHABLE
        return facing

    def _spread(self, costs: np.ndarray, enter_cost: np.ndarray | None = None) -> np.ndarray:
        """Costs [..., 4, W, H] lowered to the shortest way, by turns and steps, to any place that has one."""
        enter = self._enter_cost if enter_cost is None else enter_cost
        while True:
            turned = np.minimum(np.roll(costs, 1, axis=-3), np.roll(costs, -1, axis=-3)) + 1
            lower = np.minimum(costs, turned)
            for direction, (dx, dy) in enumerate(DIR_TO_VEC):
                # Rows beyond the edge wrap around onto the outer wall, which nobody enters.
                ahead = np.roll(lower[..., direction, :, :] + enter, (-dx, -dy), axis=(-2, -1))
                lower[..., direction, :, :] = np.minimum(lower[..., direction, :, :], ahead)
            lower = np.minimum(lower, UNREACHABLE)
            if np.array_equal(lower, costs):
                return costs
            costs = lower


def distance(level: ChainLevel, table: DistanceTable) -> int:
    """Actions to go from where the agent is now; UNREACHABLE if there is no way."""
    return int(table.table[level.agent_dir, *level.agent_pos])


def _is_floor(level: ChainLevel) -> np.ndarray:
    """bool [W, H]: cells where something can be dropped."""
    return np.array([[level.grid.get(x, y) is None for y in range(level.height)] for x in range(level.width)])


def _enter_costs(level: ChainLevel) -> np.ndarray:
    costs = np.full((level.width, level.height), UNREACHABLE, dtype=np.int32)
    for x in range(level.width):
        for y in range(level.height):
            cell = level.grid.get(x, y)
            if cell is None or cell.can_overlap():
                costs[x, y] = 1
            elif cell.type == "door" and not cell.is_locked:
                costs[x, y] = 2
    return costs


def _places(level: ChainLevel, things: list) -> Cells:
    """Cells of those things that lie in the grid."""
    found = []
    for x in range(level.width):
        for y in range(level.height):
            cell = level.grid.get(x, y)
            if cell is not None and any(cell is thing for thing in things):
                found.append((x, y))
    return found
