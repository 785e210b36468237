"""One demonstration in ALFRED's own layout, read strictly: its plan, who said what, and its pictures' lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

TRAJECTORY_FILE = "traj_data.json"
NAVIGATION, SLICE, END = "GotoLocation", "SliceObject", "NoOp"
"""Kinds of skills that are treated apart; the last only says that the plan ends, and as a rule has no sentence."""

Index = Annotated[int, Field(ge=0)]


class NotALFRED(ValueError):
    """A file is not as ALFRED's are; the message says where and how."""


class _Read(BaseModel):
    """A block of which the named entries are read, with exactly these types, and the others passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Kind(_Read):
    action: str


class _Api(_Read):
    object_id: Annotated[str | None, Field(alias="objectId")] = None
    receptacle_id: Annotated[str | None, Field(alias="receptacleObjectId")] = None


class HighAction(_Read):
    """A skill of the plan."""

    discrete_action: _Kind


class LowAction(_Read):
    """An action of the agent."""

    high_idx: Index
    """Number of the skill that it belongs to."""
    discrete_action: _Kind
    api_action: _Api | None = None

    @property
    def name(self) -> str:
        """One of ALFRED's twelve."""
        return self.discrete_action.action

    @property
    def object_id(self) -> str:
        """THOR's id of what it is about, or of what is put; empty if it is about nothing."""
        return (self.api_action and self.api_action.object_id) or ""

    @property
    def receptacle_id(self) -> str:
        """THOR's id of what something is put into, or empty."""
        return (self.api_action and self.api_action.receptacle_id) or ""


class Plan(_Read):
    """What the expert did."""

    high_pddl: list[HighAction]
    low_actions: list[LowAction]

    @model_validator(mode="after")
    def _in_order(self) -> "Plan":
        highs = self.highs
        for index, high in enumerate(highs):
            if high >= len(self.kinds):
                raise ValueError(f"action {index} belongs to skill {high}, and there are {len(self.kinds)}")
            if self.kinds[high] == END:
                raise ValueError(f"action {index} belongs to skill {high}, which is {END}")
        for index, (one, following) in enumerate(pairwise(highs), start=1):
            if following < one:
                raise ValueError(f"action {index} belongs to skill {following}, and the one before it to skill {one}")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the skills."""
        return tuple(skill.discrete_action.action for skill in self.high_pddl)

    @property
    def num_told(self) -> int:
        """Skills that have a sentence, where each has its own."""
        return sum(kind != END for kind in self.kinds)

    @property
    def highs(self) -> tuple[int, ...]:
        """For each action the number of its skill."""
        return tuple(action.high_idx for action in self.low_actions)


class Annotation(_Read):
    """What one annotator said."""

    high_descs: list[str]
    """Sentences, in the order of the skills."""


class _Annotations(_Read):
    anns: list[Annotation]


class Picture(_Read):
    """An entry of a list of pictures: the picture was taken during an action, the first one before it."""

    low_idx: Index
    high_idx: Index | None = None
    image_name: str


class Demonstration(_Read):
    """A `traj_data.json`, as far as it is read."""

    plan: Plan
    turk_annotations: _Annotations
    images: list[Picture] = Field(default_factory=list)
    """Empty in files without pictures."""

    @property
    def annotations(self) -> list[Annotation]:
        """One for each annotator."""
        return self.turk_annotations.anns


class Augmented(_Read):
    """An `augmented_traj_data.json`, as far as it is read."""

    images: list[Picture]
    plan: Plan | None = None


@dataclass(frozen=True)
class Skill:
    """Consecutive low-level actions with one sentence."""

    high_idx: int
    """Number of the skill whose sentence counts."""
    sentence: int
    """Number of the sentence in an annotation."""
    low: range


Block = TypeVar("Block", bound=_Read)


def read_json(path: Path, block: type[Block]) -> Block:
    """Read a file. Raises NotALFRED, naming the entry and what is wrong with it."""
    try:
        return block.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NotALFRED(f"{path.name} cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise NotALFRED(f"{path.name}: {_first(error)}") from None


def parsed(found: Any) -> Demonstration:
    """A `traj_data.json` that was read already. Raises NotALFRED."""
    try:
        return Demonstration.model_validate(found)
    except ValidationError as error:
        raise NotALFRED(f"{TRAJECTORY_FILE}: {_first(error)}") from None


def skills_of(plan: Plan, num_sentences: int) -> list[Skill]:
    """The skills of a plan for an annotation of so many sentences, navigation at the front of what follows it.

    A sentence belongs to each skill; the end of the plan has none, or one as well. If there are fewer, as in one of 77
    annotations, skills that slice one right after the other share one, and are one. Skills without an action are left
    out; a navigation that nothing follows keeps its own sentence. Raises NotALFRED if the sentences fit none of this.
    """
    groups = _told_together(plan.kinds, num_sentences)
    skills: list[Skill] = []
    waiting: list[int] = []
    for number, group in enumerate(groups):
        own = [index for index, high in enumerate(plan.highs) if high in group]
        follows = any(high >= group.stop for high in plan.highs)
        waiting += own
        if own and not (plan.kinds[group.start] == NAVIGATION and follows):
            # Actions are in the order of their skills, and every skill with actions is in a group.
            skills.append(Skill(group.stop - 1, number, range(waiting[0], waiting[-1] + 1)))
            waiting = []
    return skills


def _told_together(kinds: Sequence[str], num_sentences: int) -> list[range]:
    """For each sentence the skills that it tells."""
    entries = [range(index, index + 1) for index in range(len(kinds))]
    each = [one for one in entries if kinds[one.start] != END]
    sliced: list[range] = []
    for one in each:
        if sliced and sliced[-1].stop == one.start and kinds[one.start] == kinds[sliced[-1].start] == SLICE:
            sliced[-1] = range(sliced[-1].start, one.stop)
        else:
            sliced.append(one)
    fitting = next((groups for groups in (each, sliced, entries) if len(groups) == num_sentences), None)
    if fitting is None:
        raise NotALFRED(f"there are {num_sentences} sentences for {len(each)} skills")
    return fitting


def _first(error: ValidationError) -> str:
    """Where the first fault is, and what it is."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
