"""What is to be done in an episode, where the environment says it."""

from typing import Any

from gymnasium import spaces

from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.gymnasium.spaces import entry_of, is_text
from actors.worlds.world import WorldError

MISSION = "mission"
"""Entry that MiniGrid and BabyAI have, whoever names no other."""


class Instructions:
    """Reads the instruction of an episode off its reset, or knows that all have the task's."""

    def __init__(self, task: GymnasiumTask, space: spaces.Space) -> None:
        """Raises WorldError if the task names an entry of the observations that is no text."""
        self._task = task
        given = task.instruction_key
        self._key = MISSION if given is None else given or ""
        found = space[self._key] if isinstance(space, spaces.Dict) and self._key in space.spaces else None
        self._in_observation = found is not None and is_text(found)
        if given and found is not None and not self._in_observation:
            raise WorldError(f"{task.source}: task.instruction_key {given!r} is {found}, and no text")
        self.of_episodes = bool(given) or self._in_observation
        """Every episode says its own."""

    def read(self, observation: Any, info: dict[str, Any]) -> str:
        """What the episode that has just been reset is about, in one line. Raises WorldError if it does not say."""
        if not self.of_episodes:
            return self._task.instruction
        key, source = self._key, self._task.source
        if self._in_observation:
            found, where = entry_of(observation, key, source), f"an observation's {key!r}"
        elif key in info:
            found, where = info[key], f"the reset's info[{key!r}]"
        else:
            raise WorldError(
                f"{source}: task.instruction_key {key!r} is neither a text among its observations nor an entry of the "
                f"reset's info, which has {', '.join(sorted(map(str, info))) or 'nothing'}. Name what says the "
                "instruction; or set it to false, and all episodes have task.instruction"
            )
        said = " ".join(found.split()) if isinstance(found, str) else ""
        if not said:
            raise WorldError(f"{source}: {where} is {found!r}, and says no instruction")
        return said
