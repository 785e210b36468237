"""The settings of one offline experiment: labelled trajectories, IQL, and chains of sub-tasks to judge it by."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from actors.babyai.settings import MAX_CHAIN, Split
from actors.thor.settings import ThorSettings
from algorithms.label_settings import LabellerName, SparseJoin
from algorithms.offline_settings import IQLSettings
from algorithms.reward_forms import RewardForm
from algorithms.settings import PositiveFloat, PositiveInt, Settings
from orchestrator.settings.experiment import CheckpointSettings, Experiment

Start = Literal["fixed", "randomised"]


class OfflineRewardSettings(Settings):
    """Which of a data set's rewards are learned from."""

    labeller: LabellerName = "sparse"
    """`sparse`: 1 for the action that completes the instruction. Else a labeller of the data set, such as `rgvlm`."""
    form: RewardForm = "scores"
    """What the labeller's rewards become. `scores`: each its action's own (published). `progress`: for a labeller whose
    rewards say how far it has come, such as GVL's with `reward: level`: discounted differences of it (Ng et al. 1999).
    `cumulated`: the same of the sum of rewards so far. `success`: divided so that a trajectory's sum to its sparse
    reward, so that neither delay nor failure pays (RUDDER, Arjona-Medina et al. 2019)."""
    middle: float = 0.0
    """Taken from each reward before all else, for `scores` and `cumulated`: of rewards in [0, 1], 0.5 makes an action
    cost what scores below 5 of 10. Best above what the labeller gives actions that lead away. Published: 0."""
    dense_weight: PositiveFloat = 1.0
    """Factor on the labeller's rewards, in whatever form."""
    shift: float = 0.0
    """Added to every reward of the labeller, after the factor. Rewards that are never negative pay for delay; -1 makes
    each step cost, as the D4RL antmaze runs of IQL have it. Published: not said."""
    sparse: SparseJoin = "none"
    """How the sparse reward of the last action joins the labeller's: see `likert label`. `sum` is Sparse + RG-VLM."""

    @model_validator(mode="after")
    def _one_sparse(self) -> "OfflineRewardSettings":
        if self.labeller == "sparse" and self.sparse != "none":
            raise ValueError(
                f"sparse: {self.sparse!r} joins the sparse reward to itself; name a labeller, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _form_fits(self) -> "OfflineRewardSettings":
        if self.labeller == "sparse" and self.form != "scores":
            raise ValueError(f"form {self.form!r} is for a labeller's rewards; name a labeller, or leave it out")
        if self.middle and (self.labeller == "sparse" or self.form in ("progress", "success")):
            of = "the sparse reward" if self.labeller == "sparse" else f"form {self.form!r}"
            raise ValueError(f"middle {self.middle:g} means nothing to {of}; leave it out")
        return self


class OfflineDataSettings(Settings):
    """The data set, and what the policy sees of it."""

    path: Path
    """Folder of the data set, as `likert data` makes it."""
    observation: Literal["symbolic", "egocentric", "frame"] = "symbolic"
    """`symbolic`: the simulator's own description, for speed. `egocentric`: BabyAI's, with the agent in the middle and
    looking up, which is learned from far less data. `frame`: the picture."""
    image_px: PositiveInt | None = None
    """Side of the picture that the policy sees; absent: as recorded."""
    sentence_model: str | None = None
    """A sentence-embedding model, by name at the hub or by folder. Absent: a small encoder learns the words."""
    sentence_model_revision: str | None = None
    """Commit or tag of a model at the hub; absent: its newest."""
    reward: OfflineRewardSettings = OfflineRewardSettings()
    """What is learned from."""


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


class OfflineCheckpointSettings(CheckpointSettings):
    """How often a run saves all it needs to go on."""

    interval_updates: PositiveInt = 5_000
    """Updates between checkpoints; the last is at the end."""
    keep: PositiveInt = 1
    """Latest checkpoints kept."""


class OfflineExperiment(Experiment):
    """One offline run (RG-VLM): a labelled data set, a policy and its evaluation."""

    kind: Literal["offline"]
    """Tells `likert run` and `likert sweep` what this is."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds networks and the order of the data."""
    total_updates: PositiveInt = 100_000
    """Gradient steps of the whole run."""
    data: OfflineDataSettings
    """What is learned from."""
    policy: IQLSettings = IQLSettings()
    """Implicit Q-learning, or behaviour cloning."""
    evaluation: ChainEvaluationSettings = ChainEvaluationSettings()
    checkpoint: OfflineCheckpointSettings = OfflineCheckpointSettings()
