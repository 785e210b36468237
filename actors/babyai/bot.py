"""BabyAI's bot, as whoever demonstrates uses it: for a sub-task, or for anything else that can be asked of it."""

from minigrid.envs.babyai.core.verifier import ActionInstr
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, Subgoal

from actors.babyai.level import ChainLevel
from actors.babyai.settings import DROP, LEFT

MOST_SUBGOALS = 1_000
"""What the bot may add to its plan before one action; it takes a few."""


class EndlessPlan(Exception):
    """The bot adds to its plan without end, as it may where objects block every way."""


BOT_ERRORS = (AssertionError, DisappearedBoxError, EndlessPlan, IndexError, RecursionError)
"""What `Bot.act` raises where the bot does not know how to go on."""


class _Plan(list):
    """The bot's stack of sub-goals, which notes how many were added."""

    num_added = 0

    def append(self, subgoal: Subgoal) -> None:
        self.num_added += 1
        if self.num_added > MOST_SUBGOALS:
            raise EndlessPlan
        super().append(subgoal)


class Bot:
    """Does one instruction. It sees what the agent would see, so it also looks around."""

    def __init__(self, level: ChainLevel, instr: ActionInstr) -> None:
        self._level = level
        self._instr = instr
        self._bot: BabyAIBot | None = None

    def act(self, last_action: int | None) -> int:
        """The next action, given the one that was taken, which need not be the one proposed.

        Raises one of BOT_ERRORS where the bot does not know how to go on.
        """
        level = self._level
        if self._bot is None:
            # The bot cannot begin with full hands.
            if level.carrying is not None:
                return DROP if level.grid.get(*level.front_pos) is None else LEFT
            self._bot, last_action = self._begun(), None
            self._bot.stack = _Plan(self._bot.stack)
        self._bot.stack.num_added = 0
        return int(self._bot.replan(last_action))

    def _begun(self) -> BabyAIBot:
        """The bot asks the level what to do, once, at its beginning."""
        current = self._level.instrs
        self._level.instrs = self._instr
        try:
            return BabyAIBot(self._level)
        finally:
            self._level.instrs = current
