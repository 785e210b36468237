"""One BabyAI level: rooms, objects and a chain of sub-tasks, all drawn from one seed."""

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel
from minigrid.envs.babyai.core.verifier import (
    ActionInstr,
    GoToInstr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
)
from minigrid.minigrid_env import MiniGridEnv

from actors.babyai.settings import COLOURS, OBJECTS, BabyAISettings, Split, SubtaskKind

MAX_LAYOUTS = 1_000
MAX_DRAWS = 100
FEW_DRAWS = 10
"""Where it matters little whether there is another chain."""
ROOMIER = "take larger rooms or fewer objects"
THEN = ", then "
"""Joins the sub-tasks of a chain in words; no sub-task's own words have it."""
CARRIED_CELL = (0, 0)
"""Cell of the symbolic observation that shows what is carried; a wall otherwise."""


class ChainLevel(RoomGridLevel):
    """Rooms and a chain of sub-tasks. `instrs` is the current sub-task, as BabyAI's bot and verifiers want it.

    Objects are never named by where they are: such words are understood from where the agent stands when a sub-task
    begins, which nobody knows when the chain is worded.
    """

    def __init__(
        self, settings: BabyAISettings, chain_length: int, split: Split, kinds: tuple[SubtaskKind, ...] = ()
    ) -> None:
        """`kinds` are those of the chain's sub-tasks, in order, in place of drawn ones; what is put next to something
        is then what was picked up before, if anything was."""
        self._settings = settings
        self._chain_length = chain_length
        self._split = split
        self._kinds = kinds
        self._blind = False
        self._max_draws = MAX_DRAWS
        self.chain: list[ActionInstr] = []
        # No limit of BabyAI's own: whoever runs an episode limits it.
        super().__init__(
            room_size=settings.room_size, num_rows=settings.num_rows, num_cols=settings.num_cols, max_steps=10**9
        )

    def reset_level(self) -> None:
        """Draw everything anew from `np_random`, which the caller has set."""
        self.agent_pos, self.agent_dir = (-1, -1), -1
        self.carrying = None
        self.step_count = 0
        self._gen_grid(self.width, self.height)

    def _gen_grid(self, width: int, height: int) -> None:
        # BabyAI's own prints each layout that it rejects.
        for _ in range(MAX_LAYOUTS):
            try:
                super(RoomGridLevel, self)._gen_grid(width, height)
                self.gen_mission()
                return
            except (RejectSampling, RecursionError):
                continue
        raise ValueError(
            f"no chain of {self._chain_length} sub-tasks was found in {MAX_LAYOUTS} layouts: take more objects, more "
            f"rooms or more kinds of sub-tasks; where rooms are full, {ROOMIER}"
        )

    def gen_mission(self) -> None:
        """Draw doors, objects, the agent's start and the chain."""
        self.connect_all()
        pairs = self._pairs()
        for _ in range(self._settings.num_objects):
            colour, kind = pairs[self._rand_int(0, len(pairs))]
            self.add_object(self._rand_int(0, self.num_cols), self._rand_int(0, self.num_rows), kind, colour)
        self.place_agent()
        self.check_objs_reachable()
        self.chain = self._draw_chain()
        self.instrs = self.chain[0]
        self.mission = THEN.join(instr.surface(self) for instr in self.chain)

    def another_chain(self, kinds: tuple[SubtaskKind, ...]) -> list[ActionInstr] | None:
        """A chain of these kinds for the level as it is now, drawn as its own; None if none is found soon."""
        own = self._kinds, self._chain_length
        self._kinds, self._chain_length, self._max_draws = kinds, len(kinds), FEW_DRAWS
        try:
            return self._draw_chain()
        except RejectSampling:
            return None
        finally:
            (self._kinds, self._chain_length), self._max_draws = own, MAX_DRAWS

    def move_agent(self, rng: np.random.Generator) -> None:
        """Put the agent somewhere else; all else stays. It does not face an object."""
        self.np_random = rng
        for _ in range(MAX_LAYOUTS):
            try:
                self.place_agent()
                return
            except RejectSampling:
                # Another room is drawn.
                continue
        raise ValueError(f"no place for the agent was found in {MAX_LAYOUTS} rooms drawn: {ROOMIER}")

    def place_agent(self, i: int | None = None, j: int | None = None, rand_dir: bool = True) -> tuple[int, int]:
        """BabyAI's own, which looks for ever in a room where the agent would face an object or a door from anywhere.

        Raises RejectSampling for such a room.
        """
        # In BabyAI's order, so that a seed draws what it has always drawn.
        i = self._rand_int(0, self.num_cols) if i is None else i
        j = self._rand_int(0, self.num_rows) if j is None else j
        if not self._has_place(i, j):
            raise RejectSampling("no place in this room for the agent")
        return super().place_agent(i, j, rand_dir)

    def _has_place(self, i: int, j: int) -> bool:
        (left, top), (width, height) = self.room_grid[j][i].top, self.room_grid[j][i].size

        def is_free(x: int, y: int) -> bool:
            return self.grid.get(x, y) is None

        return any(
            is_free(x + dx, y + dy) or self.grid.get(x + dx, y + dy).type == "wall"
            for x in range(left, left + width)
            for y in range(top, top + height)
            if is_free(x, y)
            for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1))
        )

    def move(self, action: int) -> None:
        """Take an action, without drawing what the agent would see."""
        self._blind = True
        try:
            MiniGridEnv.step(self, action)
        finally:
            self._blind = False
        self.update_objs_poss()

    def begin_subtask(self, number: int) -> None:
        """Make a sub-task of the chain the current one."""
        self.instrs = self.chain[number]
        self.begin(self.instrs)

    def begin(self, instr: ActionInstr) -> None:
        """Begin to watch a sub-task, of whatever chain; what is in hand is among the things that it may name."""
        instr.reset_verifier(self)
        for desc in descriptions(instr):
            # BabyAI looks in the grid alone, and what is carried lies nowhere in it.
            if self.carrying is not None and matches(desc, self.carrying):
                desc.obj_set.append(self.carrying)
        self.update_objs_poss(instr)
        # BabyAI's verifiers believe that hands are empty at their start.
        instr.preCarrying = self.carrying

    def completes(self, action: int, instr: ActionInstr | None = None) -> bool:
        """Whether the action just taken ended the current sub-task, or another one that was begun."""
        # Not `verify`, which waits for "done" if BABYAI_DONE_ACTIONS stands in the environment.
        return (instr or self.instrs).verify_action(self.actions(action)) == "success"

    def update_objs_poss(self, instr: ActionInstr | None = None) -> None:
        """Note where the things that a sub-task names are now; those that are gone, such as opened boxes, are dropped.

        BabyAI's own does so after a drop only, and then no longer in the order of the things, which its bot relies on.
        What is carried has its place outside the grid, (-1, -1).
        """
        for desc in descriptions(instr or self.instrs):
            desc.obj_set = [thing for thing in desc.obj_set if self._is_there(thing)]
            desc.obj_poss = [tuple(int(number) for number in thing.cur_pos) for thing in desc.obj_set]

    def _is_there(self, thing: WorldObj) -> bool:
        return thing is self.carrying or self.grid.get(*thing.cur_pos) is thing

    def gen_obs(self) -> dict:
        """BabyAI's own observation; not while `move` is at work, because nobody would look at it."""
        return {} if self._blind else super().gen_obs()

    def changeable(self) -> tuple:
        """All but the agent's place: what lies where, which doors are open, what is carried."""
        cells = [None if cell is None or cell.type == "wall" else (id(cell), cell.encode()) for cell in self.grid.grid]
        return (*cells, id(self.carrying))

    def symbolic(self) -> np.ndarray:
        """uint8 [height, width, 3]: kind, colour and state of each cell, as MiniGrid numbers them.

        The agent's cell holds (agent, 0, direction); the cell at (0, 0) what is carried.
        """
        cells = self.grid.encode()
        cells[tuple(self.agent_pos)] = (OBJECT_TO_IDX["agent"], 0, self.agent_dir)
        if self.carrying is not None:
            cells[CARRIED_CELL] = (OBJECT_TO_IDX[self.carrying.type], COLOR_TO_IDX[self.carrying.color], 0)
        return np.ascontiguousarray(cells.transpose(1, 0, 2))

    def frame(self) -> np.ndarray:
        """uint8 [H, W, 3]: the grid from above, with a black column on its left and a black row above it.

        What is carried is drawn at the row's right end. The top left corner stays free, for a number.
        """
        tile = self._settings.tile_px
        grid = self.grid.render(tile, self.agent_pos, self.agent_dir)
        height, width, _ = grid.shape
        picture = np.zeros((height + tile, width + tile, 3), dtype=np.uint8)
        picture[tile:, tile:] = grid
        if self.carrying is not None:
            picture[:tile, -tile:] = Grid.render_tile(self.carrying, tile_size=tile)
        return picture

    def _pairs(self) -> list[tuple[str, str]]:
        held_out = set(self._settings.held_out_pairs)
        return [
            (colour, kind)
            for colour in COLOURS
            for kind in OBJECTS
            if self._split == "held_out_pairs" or (colour, kind) not in held_out
        ]

    def _draw_chain(self) -> list[ActionInstr]:
        chain: list[ActionInstr] = []
        said: set[str] = set()
        for _ in range(self._max_draws):
            instr = self._draw_subtask(chain)
            text = instr.surface(self)
            if text in said:
                continue
            said.add(text)
            chain.append(instr)
            if len(chain) == self._chain_length:
                if self._split == "held_out_pairs" and not any(self._names_held_out(instr) for instr in chain):
                    raise RejectSampling("the chain names no held-out pair")
                return chain
        raise RejectSampling("too few different sub-tasks")

    def _draw_subtask(self, before: list[ActionInstr]) -> ActionInstr:
        kind = self._kinds[len(before)] if self._kinds else self._rand_elem(self._settings.subtasks)
        if kind == "open":
            instr: ActionInstr = OpenInstr(self._draw_object(("door",)))
        elif kind == "pickup":
            instr = PickupInstr(self._draw_object(OBJECTS))
        elif kind == "goto":
            instr = GoToInstr(self._draw_object((*OBJECTS, *self._doors())))
        else:
            picked_up = [instr.desc for instr in before if isinstance(instr, PickupInstr)] if self._kinds else []
            moved = ObjDesc(picked_up[-1].type, picked_up[-1].color) if picked_up else self._draw_object(OBJECTS)
            instr = PutNextInstr(moved, self._draw_object((*OBJECTS, *self._doors())))
        self.validate_instrs(instr)
        return instr

    def _draw_object(self, kinds: tuple[str, ...]) -> ObjDesc:
        for _ in range(self._max_draws):
            desc = ObjDesc(self._rand_elem(kinds), self._rand_elem((None, *COLOURS)))
            if desc.find_matching_objs(self)[0]:
                return desc
        raise RejectSampling("no such object")

    def _doors(self) -> tuple[str, ...]:
        return ("door",) if self.num_rows * self.num_cols > 1 else ()

    def _names_held_out(self, instr: ActionInstr) -> bool:
        held_out = set(self._settings.held_out_pairs)
        return any((desc.color, desc.type) in held_out for desc in descriptions(instr))


def matches(desc: ObjDesc, thing: WorldObj) -> bool:
    """Whether a thing, wherever it is, is of the kind and colour that is named."""
    return desc.type in (None, thing.type) and desc.color in (None, thing.color)


def descriptions(instr: ActionInstr) -> list[ObjDesc]:
    """The objects that a sub-task names."""
    return [getattr(instr, name) for name in ("desc", "desc_move", "desc_fixed") if hasattr(instr, name)]
