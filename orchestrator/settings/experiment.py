"""The settings of one experiment: a YAML file plus `key.path=value` overrides, validated as a whole."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from actors.rating.settings import RaterSettings
from actors.rollout.settings import OBSERVATION_SIZE, RolloutSettings, TaskSettings
from algorithms.settings import (
    FeedbackSettings,
    PolicySettings,
    PositiveInt,
    RewardModelSettings,
    Settings,
)
from orchestrator.storage.locations import Location, RemotePath, working_copy


class EvaluationSettings(Settings):
    """How the policy is judged: deterministic actions, its own starts, the simulator's success flag."""

    interval_env_steps: PositiveInt = 10_000
    """Environment steps between evaluations."""
    num_episodes: PositiveInt = 10
    """Episodes in an evaluation."""
    randomised_starts: bool = True
    """Draw a start for every episode, also where the task itself has a fixed one: with fixed starts, ten episodes are
    ten copies of one. False judges the task's own starts."""


class CheckpointSettings(Settings):
    """How often a run saves all it needs to go on."""

    interval_env_steps: PositiveInt = 10_000
    """Environment steps between checkpoints, rounded up to the end of an episode."""
    keep: PositiveInt = 2
    """Latest checkpoints kept; the best policy by evaluation is kept besides."""


class TrackingSettings(Settings):
    """Where metrics go. `MLFLOW_TRACKING_URI` names a server; else an SQLite file beside the runs."""

    enabled: bool = True
    """Log to MLflow."""
    experiment: Annotated[str, Field(min_length=1)] = "likert"
    """MLflow experiment name."""


class Experiment(Settings):
    """One run: a task, a rater, a reward model and a policy."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Name of the run's folder and of its MLflow run; the seed is appended."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds starts, exploration, networks, sampling of segments and batches."""
    total_env_steps: PositiveInt = 1_000_000
    """Environment steps of the whole run."""
    runs_folder: Location = Path("runs")
    """Holds a folder per run, and the SQLite tracking file. An address such as `s3://bucket/runs` keeps checkpoints
    where every machine reaches them."""
    ratings_folder: Location = Path("ratings")
    """The rating store; share it between runs, and equal questions are asked once. May be an address too."""
    task: TaskSettings
    """A packaged task's name, or a block; a block may start from a packaged task with `base: name`."""
    rollout: RolloutSettings = RolloutSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    rater: RaterSettings = RaterSettings()
    reward_model: RewardModelSettings = RewardModelSettings()
    policy: PolicySettings = PolicySettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Experiment":
        if self.task.episode_agent_steps % self.rollout.chunk_agent_steps:
            raise ValueError(
                f"rollout.chunk_agent_steps {self.rollout.chunk_agent_steps} does not divide an episode of "
                f"{self.task.episode_agent_steps} agent steps (task.episode_env_steps / task.action_repeat)"
            )
        if self.reward_model.input == "frame" and self.reward_model.image_px > self.task.image_px:
            raise ValueError(
                f"reward_model.image_px {self.reward_model.image_px} is above task.image_px {self.task.image_px}"
            )
        outside = [entry for entry in self.policy.entropy_dimensions if entry >= OBSERVATION_SIZE]
        if outside:
            raise ValueError(
                f"policy.entropy_dimensions {outside}: an observation has {OBSERVATION_SIZE} entries, counted from 0"
            )
        if self.feedback.first_env_steps >= self.total_env_steps:
            raise ValueError(
                f"feedback.first_env_steps {self.feedback.first_env_steps} is not below total_env_steps "
                f"{self.total_env_steps}: no rating would be asked"
            )
        return self

    @property
    def run_folder(self) -> Path | RemotePath:
        """Where this run keeps everything it writes, the ratings apart."""
        return self.runs_folder / f"{self.name}-seed{self.seed}"

    @property
    def working_folder(self) -> Path:
        """Where a run writes while it goes on: its folder, or a copy on this machine of one that is remote."""
        return working_copy(self.run_folder)
