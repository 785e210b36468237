"""The settings of one offline experiment: labelled trajectories, IQL, and what it is judged by."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from algorithms.label_settings import LabellerName, SparseJoin
from algorithms.offline_settings import IQLSettings
from algorithms.reward_forms import RewardForm
from algorithms.settings import PositiveFloat, PositiveInt, Settings
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings, Evaluation, HeldOutEvaluationSettings
from orchestrator.settings.experiment import CheckpointSettings, Experiment


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
    cost what it lacks to 5 of 10. A detour and the way back pay nothing if it lies no lower than half way between what
    the labeller gives actions that lead away and those that help. Published: 0."""
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
    """Height of the picture that the policy sees; its width follows, so that its shape stays. Absent: as recorded."""
    sentence_model: str | None = None
    """A sentence-embedding model, by name at the hub or by folder. Absent: a small encoder learns the words."""
    sentence_model_revision: str | None = None
    """Commit or tag of a model at the hub; absent: its newest."""
    reward: OfflineRewardSettings = OfflineRewardSettings()
    """What is learned from."""


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
    evaluation: Evaluation = ChainEvaluationSettings()
    """What it is judged by: chains of sub-tasks in a simulator or, with `environment: none`, held-out episodes."""
    checkpoint: OfflineCheckpointSettings = OfflineCheckpointSettings()

    @property
    def chains(self) -> ChainEvaluationSettings | None:
        """How chains of sub-tasks judge it; None where they do not."""
        return self.evaluation if isinstance(self.evaluation, ChainEvaluationSettings) else None

    @property
    def held_out(self) -> HeldOutEvaluationSettings | None:
        """How held-out episodes judge it; None where they do not."""
        return self.evaluation if isinstance(self.evaluation, HeldOutEvaluationSettings) else None
