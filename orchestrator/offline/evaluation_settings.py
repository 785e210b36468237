"""How an offline run's policy is judged: by chains of sub-tasks in a simulator, or by episodes that it never saw."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from actors.babyai.settings import MAX_CHAIN, Split
from actors.thor.settings import ThorSettings
from algorithms.settings import PositiveInt, Settings

Start = Literal["fixed", "randomised"]
ENVIRONMENTS = ("babyai", "thor", "none")


class ChainEvaluationSettings(Settings):
    """How the policy is judged: chains of sub-tasks as in the data set, the proportion completed."""

    environment: Literal["babyai", "thor"] = "babyai"
    """`babyai`: its levels. `thor`: ALFRED's scenes in AI2-THOR; see docs/alfred.md."""
    thor: ThorSettings | None = None
    """Where ALFRED's scenes are; for `thor` only, and needed there."""
    interval_updates: PositiveInt = 10_000
    """Updates between evaluations; the last is at the end."""
    num_tasks: PositiveInt = 100
    """Tasks in an evaluation, as evenly over the chain lengths as can be (published: 100)."""
    chain_lengths: tuple[Annotated[int, Field(ge=1, le=MAX_CHAIN)], ...] = (1, 2, 3, 4, 5, 6)
    """Sub-tasks in a chain (published: 1 to 6)."""
    starts: tuple[Start, ...] = ("fixed", "randomised")
    """`fixed`: the agent starts as recorded. `randomised`: at a place drawn anew; all else stays."""
    split: Split = "train"
    """`train`: the levels of the data set, as published. `held_out`, `held_out_pairs`: levels that it does not have.
    With `thor` it stays `train`: `thor.source` says which scenes."""
    instruction: Literal["current", "whole"] = "current"
    """What the policy reads: the sub-task to be done now, as its data has it where that is of single sub-tasks; or the
    whole chain."""
    step_budget: Annotated[float, Field(ge=1.0)] = 2.0
    """Steps allowed, as a multiple of the expert's: BabyAI's bot, or ALFRED's demonstration (SPRINT: 2)."""
    sample_actions: bool = False
    """Draw actions from the policy; false takes the likeliest (SPRINT)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws tasks and starts: the same for all runs that are compared."""
    num_workers: PositiveInt = 1
    """Processes that act in levels or scenes."""

    @field_validator("environment", mode="before")
    @classmethod
    def _known(cls, environment: Any) -> Any:
        # Without this the message would leave out what other settings are for.
        if environment not in ENVIRONMENTS:
            raise ValueError(f"must be one of {', '.join(ENVIRONMENTS)}, and is {environment!r}")
        return environment

    @model_validator(mode="before")
    @classmethod
    def _nothing_of_held_out_episodes(cls, given: Any) -> Any:
        found = _of_others(given, HeldOutEvaluationSettings, cls)
        if found and given.get("environment", "babyai") in ENVIRONMENTS:
            raise ValueError(
                f"{found}: of held-out episodes, which judge with environment none alone; leave out what means nothing "
                "here, or set environment to none"
            )
        return given

    @model_validator(mode="after")
    def _one_simulator(self) -> "ChainEvaluationSettings":
        if self.environment == "thor" and self.thor is None:
            raise ValueError("environment 'thor' needs thor: {source: ALFRED's folder with traj_data.json files}")
        if self.environment != "thor" and self.thor is not None:
            raise ValueError(f"thor is set, but environment is {self.environment!r}; set it to thor, or leave thor out")
        if self.environment == "thor" and self.split != "train":
            raise ValueError(
                f"split {self.split!r} is of BabyAI's levels; with thor name scenes by thor.source, as valid_unseen"
            )
        return self

    @model_validator(mode="after")
    def _something_to_do(self) -> "ChainEvaluationSettings":
        for name in ("chain_lengths", "starts"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} {list(values)}: name at least one, and none twice")
        if self.num_tasks < len(self.chain_lengths):
            raise ValueError(
                f"num_tasks {self.num_tasks} is below the {len(self.chain_lengths)} chain_lengths; each needs a task"
            )
        return self


class FittedQSettings(Settings):
    """Fitted-Q evaluation (Le et al. 2019): a critic of the finished policy, fitted to the recorded transitions."""

    updates: PositiveInt = 5_000
    """Gradient steps of an evaluation, each on `policy.batch_size` transitions: what it costs, whatever the set's size.
    One costs about as much as an update of the policy."""
    when: Literal["end", "always"] = "end"
    """`end`: of the last evaluation only. `always`: of each."""


class HeldOutEvaluationSettings(Settings):
    """How a policy is judged without a simulator: by recorded episodes that it did not learn from."""

    environment: Literal["none"]
    """Tells that there is none."""
    interval_updates: PositiveInt = 10_000
    """Updates between evaluations; the last is at the end."""
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Of the recorded episodes held out, of those that succeeded and of those that failed alike; one of each at least.
    Pieces that were cut out of one recording stay together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws which, by their names alone: the same for all runs that are compared."""
    fitted_q: FittedQSettings | None = FittedQSettings()
    """What the policy is worth, by fitted-Q evaluation; null leaves it out."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_of_chains(cls, given: Any) -> Any:
        found = _of_others(given, ChainEvaluationSettings, cls)
        if found:
            raise ValueError(
                f"{found}: of chains in a simulator, and with environment none there is none; leave out what means "
                "nothing here: evaluation={environment: none} in place of the whole block"
            )
        return given


def _of_others(given: Any, others: type[Settings], own: type[Settings]) -> str:
    """Settings in a block that are not of its own class, but of the others'."""
    if not isinstance(given, Mapping):
        return ""
    return ", ".join(name for name in given if name in others.model_fields and name not in own.model_fields)


def _judged_by(given: Any) -> str:
    named = given.get("environment") if isinstance(given, Mapping) else getattr(given, "environment", None)
    return "none" if named == "none" else "simulator"


Evaluation = Annotated[
    Annotated[ChainEvaluationSettings, Tag("simulator")] | Annotated[HeldOutEvaluationSettings, Tag("none")],
    Discriminator(_judged_by),
]
"""Told apart by `environment`."""
