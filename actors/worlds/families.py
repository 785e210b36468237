"""The list of the families of worlds; nothing else knows one by name."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from actors.worlds.babyai.family import BabyAIFamily
from actors.worlds.babyai.settings import BabyAITask
from actors.worlds.family import Family
from actors.worlds.gymnasium.family import GymnasiumFamily
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.metaworld.family import MetaWorldFamily
from actors.worlds.metaworld.settings import MetaWorldTask
from actors.worlds.settings import TaskSettings
from actors.worlds.thor.family import ThorFamily
from actors.worlds.thor.settings import ThorTaskSettings

FAMILIES: dict[str, Family] = {
    family.name: family for family in (MetaWorldFamily(), GymnasiumFamily(), BabyAIFamily(), ThorFamily())
}
"""By name; a task that names none is of the first."""


def family_of(task: TaskSettings) -> Family:
    """The family that a task is of."""
    return next(family for family in FAMILIES.values() if isinstance(task, family.task))


def _named(given: Any) -> Any:
    return {"world": next(iter(FAMILIES))} | given if isinstance(given, dict) else given


AnyTask = Annotated[
    Annotated[MetaWorldTask | GymnasiumTask | BabyAITask | ThorTaskSettings, Field(discriminator="world")],
    BeforeValidator(_named),
]
"""The field `task` of an experiment."""
