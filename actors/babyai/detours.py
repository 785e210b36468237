"""Demonstrators that take detours: they first go to something else, and then do what is asked, or do not."""

import numpy as np
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc

from actors.babyai.bot import BOT_ERRORS, Bot
from actors.babyai.level import ChainLevel
from actors.babyai.settings import DetourSettings


class Detour:
    """The way to the nearest thing of a kind, as the bot finds it: until the agent faces one, and no longer than so."""

    def __init__(self, level: ChainLevel, settings: DetourSettings) -> None:
        self._level = level
        self._left = settings.max_actions
        self._instr = GoToInstr(ObjDesc(settings.kind))
        self._instr.reset_verifier(level)
        self._bot = Bot(level, self._instr)

    def act(self, last_action: int | None) -> int | None:
        """The next action; None at the end, which may come before the first: there may be no such thing."""
        # The bot reads from here where things are; they are moved, and boxes opened.
        self._level.update_objs_poss(self._instr)
        places = self._instr.desc.obj_poss
        if not places or not self._left or tuple(int(number) for number in self._level.front_pos) in places:
            return None
        self._left -= 1
        try:
            return self._bot.act(last_action)
        except BOT_ERRORS:
            return None


class Demonstrator:
    """Does each sub-task of a chain by BabyAI's bot, made anew for each, after a detour where one is drawn."""

    def __init__(
        self, level: ChainLevel, settings: DetourSettings, rng: np.random.Generator, fails_at: int | None = None
    ) -> None:
        """`fails_at`: number of the sub-task that has a detour for certain, and nothing after it."""
        self._level = level
        self._settings = settings
        self._rng = rng
        self._fails_at = fails_at
        self._fails = False
        self._detour: Detour | None = None
        self._bot: Bot | None = None

    def begin_subtask(self, number: int) -> None:
        """Forget what was seen: the level has begun the sub-task of that number."""
        self._fails = number == self._fails_at
        drawn = self._rng.random() < self._settings.probability
        self._detour = Detour(self._level, self._settings) if drawn or self._fails else None
        self._bot = Bot(self._level, self._level.instrs)

    def act(self, last_action: int | None) -> int | None:
        """The next action, given the one that was taken, which need not be the one proposed; None: it has failed.

        Raises one of BOT_ERRORS where the bot does not know how to do the sub-task. `begin_subtask` comes first.
        """
        if self._detour is not None:
            action = self._detour.act(last_action)
            if action is not None:
                return action
            self._detour = None
        if self._fails:
            return None
        assert self._bot is not None
        return self._bot.act(last_action)
