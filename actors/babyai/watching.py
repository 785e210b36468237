"""Episodes of any skill, watched with several chains in mind: how far each of them was at every moment.

For a rater of episodes it is not enough to see what an expert does. Here whoever acts does now what is asked, now
something else, and now nothing sensible; and the same actions are held against chains that nobody tried to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from minigrid.envs.babyai.core.verifier import ActionInstr, OpenInstr

from actors.babyai.distance import UNREACHABLE, DistanceTable
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.level import THEN, ChainLevel, descriptions
from actors.babyai.settings import ACTION_NAMES, DROP, FORWARD, LEFT, PICK_UP, RIGHT, TOGGLE, SubtaskKind

_ACTOR = 5
"""Sets the random stream of whoever acts apart from that of levels, and from those of demonstrators."""
SKILLS = {
    "able": {"asked": 0.85, "other": 0.1, "random": 0.05, "stuck": 0.0},
    "distracted": {"asked": 0.45, "other": 0.35, "random": 0.1, "stuck": 0.1},
    "poor": {"asked": 0.2, "other": 0.15, "random": 0.45, "stuck": 0.2},
    "none": {"asked": 0.0, "other": 0.0, "random": 0.7, "stuck": 0.3},
}
"""How often whoever acts begins to do the sub-task that is asked, one of another chain, random actions, or the same
action again and again, as untrained policies do."""
LONGEST = {"asked": 40, "other": 20, "random": 15, "stuck": 15}
"""Actions after which something else is begun, at most."""
RANDOM_SHARES = (0.0, 0.3)
"""Bounds of an episode's share of random actions amid what is done on purpose."""
STAYS = 0.8
"""Probability of the same action again in who is stuck."""

Named = tuple[str | None, str]
"""Colour, or None for any, and kind of a thing that a sub-task names."""


@dataclass(frozen=True)
class WatchedChain:
    """A chain, and what the episode was for it."""

    instruction: str
    kinds: tuple[SubtaskKind, ...]
    named: tuple[tuple[Named, ...], ...]
    """The things that each sub-task names, in its order."""
    num_done: np.ndarray
    """int8 [T + 1]: sub-tasks done so far, from the start on."""


@dataclass(frozen=True)
class Watched:
    """An episode. For a chain that was completed it is over when it was."""

    symbolic: np.ndarray
    """uint8 [T + 1, rows, columns, 3]; see `ChainLevel.symbolic`."""
    chains: tuple[WatchedChain, ...]
    skill: str


class _Watcher:
    """Follows one chain through an episode."""

    def __init__(self, level: ChainLevel, chain: list[ActionInstr], kinds: tuple[SubtaskKind, ...]) -> None:
        self._level, self._chain, self._kinds = level, chain, kinds
        self.instruction = THEN.join(instr.surface(level) for instr in chain)
        self.done = [0]
        level.begin(chain[0])

    @property
    def current(self) -> ActionInstr | None:
        """What is to be done now; None at the end."""
        return self._chain[self.done[-1]] if self.done[-1] < len(self._chain) else None

    def see(self, action: int) -> bool:
        """Note what an action did; whether it ended a sub-task."""
        current = self.current
        if current is None:
            self.done.append(self.done[-1])
            return False
        self._level.update_objs_poss(current)
        completed = self._level.completes(action, current)
        self.done.append(self.done[-1] + completed)
        if completed and self.current is not None:
            self._level.begin(self.current)
        return completed

    def result(self) -> WatchedChain:
        named = tuple(tuple((desc.color, desc.type) for desc in descriptions(instr)) for instr in self._chain)
        return WatchedChain(self.instruction, self._kinds, named, np.array(self.done, dtype=np.int8))


def watch(
    environment: ChainEnvironment,
    seed: int,
    task: ChainTask,
    others: Sequence[tuple[SubtaskKind, ...]],
    max_steps: int,
) -> Watched:
    """An episode of `task`, whose chain names its kinds, watched for it and for chains of the kinds of `others` too.

    It ends with the task's chain or after `max_steps`. Equal arguments, equal result. Raises ValueError if there is no
    such level.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_ACTOR, task.index, task.chain_length)))
    environment.reset(options={"task": task})
    level = environment.level
    chains = [(level.chain, task.chain), *((level.another_chain(kinds), kinds) for kinds in others)]
    watchers = [_Watcher(level, chain, kinds) for chain, kinds in chains if chain is not None]
    skill = tuple(SKILLS)[int(rng.integers(len(SKILLS)))]
    actor = _Actor(level, watchers, SKILLS[skill], rng)
    symbolic = [level.symbolic()]
    while watchers[0].current is not None and len(symbolic) <= max_steps:
        action = actor.act()
        level.move(action)
        ended = [watcher.see(action) for watcher in watchers]
        actor.note(action, any(ended))
        symbolic.append(level.symbolic())
    return Watched(np.stack(symbolic), tuple(watcher.result() for watcher in watchers), skill)


class _Walker:
    """Does a sub-task by the shortest way, with what is in hand where it can stay there: BabyAI's bot would put it
    down first, which nobody who learns would do."""

    def __init__(self, level: ChainLevel, instr: ActionInstr) -> None:
        self._level, self._instr = level, instr
        self._table: DistanceTable | None = None
        self._made_for: tuple = ()

    def act(self) -> int | None:
        """The next action; None if objects block every way."""
        level, changeable = self._level, self._level.changeable()
        if self._table is None or changeable != self._made_for:
            self._table, self._made_for = self._new_table(), changeable
        x, y, table = *level.agent_pos, self._table.table
        here = int(table[level.agent_dir, x, y])
        if here >= UNREACHABLE:
            return None
        ways = {LEFT: table[(level.agent_dir - 1) % 4, x, y], RIGHT: table[(level.agent_dir + 1) % 4, x, y]}
        ahead = level.grid.get(*level.front_pos)
        if ahead is None or ahead.type == "door":
            ways[FORWARD] = table[level.agent_dir, *level.front_pos]
        best = min(ways, key=lambda action: int(ways[action]))
        if ways[best] < here:
            return TOGGLE if best == FORWARD and ahead is not None and not ahead.is_open else best
        if isinstance(self._instr, OpenInstr):
            return TOGGLE
        return PICK_UP if level.carrying is None else DROP

    def _new_table(self) -> DistanceTable:
        level, current = self._level, self._level.instrs
        level.instrs = self._instr
        try:
            return DistanceTable(level)
        finally:
            level.instrs = current


class _Actor:
    """Does one thing for a while, then another."""

    def __init__(
        self, level: ChainLevel, watchers: list[_Watcher], shares: dict[str, float], rng: np.random.Generator
    ) -> None:
        self._level, self._watchers, self._shares, self._rng = level, watchers, shares, rng
        self._random_share = rng.uniform(*RANDOM_SHARES)
        self._last: int | None = None
        self._begin()

    def act(self) -> int:
        """The next action."""
        if not self._left:
            self._begin()
        self._left -= 1
        if self._walker is not None:
            action = self._walker.act()
            return self._any() if action is None or self._rng.random() < self._random_share else action
        if self._stuck and self._last is not None and self._rng.random() < STAYS:
            return self._last
        return self._any()

    def note(self, action: int, ended: bool) -> None:
        """What was done in the end, and whether it ended a sub-task of any chain."""
        self._last = action
        if ended and self._walker is not None:
            self._left = 0

    def _begin(self) -> None:
        names = list(self._shares)
        what = names[int(self._rng.choice(len(names), p=list(self._shares.values())))]
        self._left = int(self._rng.integers(LONGEST[what] // 4, LONGEST[what] + 1))
        self._stuck, self._last = what == "stuck", None
        wanted = self._watchers[:1] if what == "asked" else self._watchers[1:] if what == "other" else []
        wanted = [watcher.current for watcher in wanted if watcher.current is not None]
        self._walker = _Walker(self._level, wanted[int(self._rng.integers(len(wanted)))]) if wanted else None

    def _any(self) -> int:
        return int(self._rng.integers(len(ACTION_NAMES)))
