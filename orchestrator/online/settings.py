"""The settings of one online experiment: a task, a rater, a reward model and a policy."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from actors.rating.settings import POCKET, POCKET_PAIRS, POCKET_PIXELS, RaterSettings
from actors.rating.similarity.settings import SimilaritySettings
from actors.rollout.settings import RolloutSettings
from actors.worlds.families import AnyTask, family_of
from actors.worlds.world import WorldSpec
from algorithms.instructions import HashedWords, InstructionError
from algorithms.policy_settings import AnyPolicy, OnlineIQLSettings, SACSettings
from algorithms.scales import RatingScale
from algorithms.settings import FeedbackSettings, PositiveInt, RewardModelSettings, RewardSettings, Settings
from algorithms.spaces import MOST_CATEGORIES
from orchestrator.settings.experiment import CheckpointSettings, Experiment
from orchestrator.storage.locations import Location


class EvaluationSettings(Settings):
    """How the policy is judged: deterministic actions, its own starts, the simulator's success flag."""

    interval_env_steps: PositiveInt = 10_000
    """Environment steps between evaluations."""
    num_episodes: PositiveInt = 10
    """Episodes in an evaluation."""
    randomised_starts: bool = True
    """Draw a start for every episode, also where the task itself has a fixed one: with fixed starts, ten episodes are
    ten copies of one. False judges the task's own starts. With `start_spread`: whether to judge both."""
    start_spread: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """For tasks with a fixed start, as the published ones: judge from starts drawn around it, each this share of the
    way to a start that is drawn anywhere. If `randomised_starts`, as many episodes besides are judged from starts drawn
    anywhere; their success is `eval/anywhere_success`."""

    @property
    def judges_anywhere_besides(self) -> bool:
        """Whether starts drawn anywhere are judged beside those around a fixed one."""
        return self.start_spread is not None and self.randomised_starts


class OnlineCheckpointSettings(CheckpointSettings):
    """How often a run saves all it needs to go on."""

    interval_env_steps: PositiveInt = 10_000
    """Environment steps between checkpoints, rounded up to the end of an episode."""
    keep: PositiveInt = 2
    """Latest checkpoints kept; the best policy by evaluation is kept besides."""


class OnlineExperiment(Experiment):
    """One online run (ERL-VLM): a task, a rater, a reward model and a policy."""

    kind: Literal["online"] = "online"
    """A file that names no kind is of this one."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds starts, exploration, networks, sampling of segments and batches."""
    total_env_steps: PositiveInt = 1_000_000
    """Environment steps of the whole run."""
    ratings_folder: Location = Path("ratings")
    """The rating store; share it between runs, and equal questions are asked once. May be an address too."""
    task: AnyTask
    """A packaged task's name, or a block; a block may start from a packaged task with `base: name`."""
    rollout: RolloutSettings = RolloutSettings()
    reward: RewardSettings = RewardSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    rater: RaterSettings = RaterSettings()
    similarity: SimilaritySettings = SimilaritySettings()
    reward_model: RewardModelSettings = RewardModelSettings()
    policy: AnyPolicy = SACSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    checkpoint: OnlineCheckpointSettings = OnlineCheckpointSettings()

    @model_validator(mode="after")
    def _parts_fit(self) -> "OnlineExperiment":
        spec = family_of(self.task).known_spec(self.task)
        problem = (
            (spec and self.misfit(spec))
            or self._beyond_single_frames()
            or self._beyond_scores()
            or self._beyond_sessions()
            or self._beyond_studies()
            or self._beyond_pocket_raters()
        )
        if problem:
            raise ValueError(problem)
        if self.reward_px is not None and self.reward_px > self.task.image_px:
            raise ValueError(
                f"reward_model.image_px {self.reward_model.image_px} is above task.image_px {self.task.image_px}"
            )
        if self.policy.pixel_shape is not None and self.policy.image_px > self.task.image_px:
            raise ValueError(
                f"policy.image_px {self.policy.image_px} is above task.image_px {self.task.image_px}: the policy sees "
                "the task's frames made smaller; lower the one or raise the other"
            )
        if self.learns_reward and self.feedback.first_env_steps >= self.total_env_steps:
            raise ValueError(
                f"feedback.first_env_steps {self.feedback.first_env_steps} is not below total_env_steps "
                f"{self.total_env_steps}: no rating would be asked"
            )
        if self.evaluation.start_spread is not None and not self.task.has_fixed_start:
            raise ValueError(
                f"evaluation.start_spread {self.evaluation.start_spread}: this task has no fixed start to draw others "
                "around; leave it out, or take a task whose starts are fixed (task.randomised_starts: false)"
            )
        return self

    @property
    def asks_rater(self) -> bool:
        """Whether a rater is asked anything."""
        return self.reward.source in ("ratings", "preferences", "scores")

    @property
    def by_similarity(self) -> bool:
        """Whether pictures are compared with sentences."""
        return self.reward.source == "similarity"

    @property
    def is_privileged(self) -> bool:
        """Whether the reward is the world's own, or one written by hand: what outside of a comparison nobody has."""
        return not self.asks_rater and not self.by_similarity

    @property
    def is_told_truth(self) -> bool:
        """Whether what is learned from is the world's own knowledge: to be marked wherever the run is shown."""
        true_levels = self.reward.source == "ratings" and self.feedback.control == "true_stage"
        return self.is_privileged or true_levels

    @property
    def learns_reward(self) -> bool:
        """Whether a reward model learns."""
        return self.reward.source in ("ratings", "preferences")

    @property
    def compares(self) -> bool:
        """Whether the rater is asked about pairs of frames."""
        return self.reward.source == "preferences"

    @property
    def scale(self) -> RatingScale:
        """What the rater may answer."""
        if self.compares:
            return RatingScale.preference()
        asked = self.feedback.num_asked
        return RatingScale.likert(asked, self.task.rubrics.get(asked, ()))

    @property
    def num_learned(self) -> int:
        """Answers that a reward model can learn from: all levels, or either of two frames."""
        return 2 if self.compares else self.feedback.num_ratings

    @property
    def num_shown(self) -> int:
        """Frames that one question shows."""
        return 2 if self.compares else self.feedback.segment.num_frames

    @property
    def num_drawn(self) -> int:
        """Frames that are drawn for one question: of each candidate, where some are picked."""
        selection = self.feedback.selection
        return self.num_shown * (1 if selection.strategy == "uniform" else selection.candidates)

    @property
    def reward_px(self) -> int | None:
        """Side of the frames that a reward model sees; None if there is none, or it sees states."""
        return self.reward_model.image_px if self.learns_reward and self.reward_model.input == "frame" else None

    @property
    def num_scored(self) -> int:
        """Frames that the source `scores` asks about at least: more where rounds or episodes end between."""
        if self.reward.source != "scores":
            return 0
        return -(-self.total_env_steps // (self.task.action_repeat * self.reward.every_agent_steps))

    def _beyond_single_frames(self) -> str | None:
        """What of the segments a source cannot ask about that looks at single frames; None if nothing."""
        source, kind = self.reward.source, self.feedback.segment.kind
        if source not in ("preferences", "scores") or kind == "frame":
            return None
        about = "pairs of single frames" if self.compares else "single frames"
        return (
            f"feedback.segment.kind {kind!r}: reward.source {source!r} asks about {about}; leave feedback.segment out"
        )

    def _beyond_scores(self) -> str | None:
        """What cannot be scored step by step; None if all can, or nothing is to be."""
        if self.reward.source != "scores":
            return None
        if self.feedback.control != "none":
            return f"feedback.control {self.feedback.control!r} is of reward.source 'ratings', and it is 'scores'"
        if self.feedback.mistakes.share:
            return (
                f"feedback.mistakes.share {self.feedback.mistakes.share:g} is of reward.source 'ratings' and "
                "'preferences', and it is 'scores'; leave feedback.mistakes out"
            )
        if self.feedback.budget < self.num_scored:
            return (
                f"feedback.budget {self.feedback.budget} is below the {self.num_scored} frames that reward.source "
                f"'scores' asks about, every {self.reward.every_agent_steps} agent steps: raise it, or "
                "reward.every_agent_steps"
            )
        return None

    def _beyond_sessions(self) -> str | None:
        """What of `feedback.selection`, `.canaries`, `.people` and `.analyse_below` cannot be done; None if nothing."""
        strategy, canaries = self.feedback.selection.strategy, self.feedback.canaries.number
        if self.reward.source == "scores" and strategy != "uniform":
            return (
                f"feedback.selection.strategy {strategy!r}: reward.source 'scores' asks about every "
                "reward.every_agent_steps; leave feedback.selection out"
            )
        if self.reward.source == "scores" and canaries:
            return (
                f"feedback.canaries.number {canaries}: they are asked before sessions, and reward.source 'scores' has "
                "none; leave feedback.canaries out"
            )
        if self.reward.source == "scores" and self.feedback.people.use != "ignore":
            return (
                f"feedback.people.use {self.feedback.people.use!r}: sessions hear people, and reward.source 'scores' "
                "has none; leave feedback.people out"
            )
        known = self.feedback.canaries.known
        if self.asks_rater and known is not None and (self.reward.source != "ratings" or self.num_shown != 1):
            return (
                f"feedback.canaries.known {known!r}: holds single frames with their levels, and reward.source "
                f"{self.reward.source!r} with feedback.segment.kind {self.feedback.segment.kind!r} does not ask about "
                "those: leave it out"
            )
        below = self.feedback.analyse_below
        if self.asks_rater and below is not None and (not self.learns_reward or self.rater.mode != "two_turn"):
            return (
                f"feedback.analyse_below {below}: it spares sessions the analysis of rater.mode 'two_turn', and here "
                f"rater.mode is {self.rater.mode!r} and reward.source {self.reward.source!r}; leave it out"
            )
        if self.learns_reward and strategy == "disagreement" and self.reward_model.num_members == 1:
            return (
                "feedback.selection.strategy 'disagreement' is between the reward model's members, and "
                "reward_model.num_members is 1: raise it, or take 'doubt' or 'novelty'"
            )
        return None

    def _beyond_studies(self) -> str | None:
        """What of the true stages cannot be told; None if all can, or none is to be."""
        if self.feedback.control != "true_stage" or not self.learns_reward:
            return None
        if self.compares:
            return "feedback.control 'true_stage' is of reward.source 'ratings', and it is 'preferences'"
        if not family_of(self.task).knows_levels(self.task):
            return (
                f"feedback.control 'true_stage': the stages of task {self.task.name!r} are not known; they are of "
                "MetaWorld's packaged tasks, and of BabyAI's and AI2-THOR's chains"
            )
        return None

    def _beyond_pocket_raters(self) -> str | None:
        """What a rater that ships with the package was not taught to answer; None if nothing."""
        model = self.rater.model
        if not self.asks_rater or self.rater.endpoint or model not in POCKET_PIXELS:
            return None
        if self.compares and model != POCKET_PAIRS:
            return (
                f"rater.model {model!r} was not taught to compare two frames, which reward.source 'preferences' asks: "
                f"name {POCKET_PAIRS!r}, or a real model"
            )
        if model == POCKET_PAIRS and not self.compares:
            return (
                f"rater.model {model!r} was taught to compare two frames alone, and reward.source "
                f"{self.reward.source!r} asks for levels: name {POCKET!r}, or set reward.source to 'preferences'"
            )
        return None

    def misfit(self, world: WorldSpec) -> str | None:
        """What of these settings does not fit such a world; None if all does."""
        rollout = self.rollout
        if world.fixed_length and world.longest_agent_steps % rollout.chunk_agent_steps:
            return (
                f"rollout.chunk_agent_steps {rollout.chunk_agent_steps} does not divide an episode of "
                f"{world.longest_agent_steps} agent steps (task.episode_env_steps / task.action_repeat)"
            )
        if world.fixed_length and rollout.period_agent_steps:
            return (
                f"rollout.period_agent_steps {rollout.period_agent_steps}: all episodes of this world have "
                f"{world.longest_agent_steps} agent steps, and a period is one of them; leave it out"
            )
        if isinstance(self.policy, SACSettings):
            problem = _beyond_sac(world)
        else:
            problem = self._beyond_iql(self.policy, world)
        if self.reward.source == "sparse" and not world.knows_success:
            problem = problem or (
                "reward.source 'sparse' pays for success, and this world tells of none: say by task.success how it is "
                "known, or take another source"
            )
        if self.compares and world.says_instruction:
            problem = problem or (
                "reward.source 'preferences' compares frames of one task, and in this world each episode has an "
                "instruction of its own: take another source"
            )
        if self.learns_reward and self.feedback.canaries.known is not None and world.says_instruction:
            problem = problem or (
                "feedback.canaries.known holds pictures of one task, and in this world each episode has an instruction "
                "of its own: leave it out"
            )
        network = self.reward_model.network
        if (
            self.learns_reward
            and world.says_instruction
            and network != RewardModelSettings.model_fields["network"].default
        ):
            problem = problem or (
                f"reward_model.network {network!r} is for tasks of one instruction; in this world each episode has one "
                "of its own, and another network sees frames in its light: leave it out"
            )
        if problem:
            return problem
        strategy = self.feedback.selection.strategy
        if not world.observation_size and self.learns_reward and strategy == "novelty":
            return (
                "feedback.selection.strategy 'novelty' goes by observations of numbers, and the task's are pictures "
                "alone: take 'disagreement' or 'doubt'"
            )
        if not world.observation_size:
            for name, reads in (
                ("policy.observation", self.policy.observation != "pixels" and self.policy.observation),
                ("reward_model.input", self.learns_reward and self.reward_model.input == "state" and "state"),
            ):
                if reads:
                    other = "pixels" if name == "policy.observation" else "frame"
                    return f"{name} is {reads}, and the task's observations are pictures alone: set it to {other}"
        outside = [entry for entry in self.policy.entropy_dimensions if entry >= world.observation_size]
        if outside:
            size = world.observation_size
            return f"policy.entropy_dimensions {outside}: an observation has {size} entries, counted from 0"
        return None

    def _beyond_iql(self, policy: OnlineIQLSettings, world: WorldSpec) -> str | None:
        """What of such a world the policy cannot see or read; None if nothing."""
        if world.grid_shape is not None and world.num_categories > MOST_CATEGORIES:
            return (
                f"the task's observations are a grid of {world.num_categories} categories, and policies see at most "
                f"{MOST_CATEGORIES}: let the environment give it as numbers"
            )
        if world.grid_shape is not None and policy.normalise_observations:
            return "policy.normalise_observations scales numbers, and the task's observations are a grid of categories"
        if not world.says_instruction:
            try:
                HashedWords(policy.num_words, policy.instruction_length).row(self.task.instruction)
            except InstructionError as error:
                return f"task.{error}"
        return None


def _beyond_sac(world: WorldSpec) -> str | None:
    """What of such a world SAC cannot do; None if nothing."""
    beyond = None
    if world.num_actions:
        beyond = f"acts by numbers, and an action of this world is one of {world.num_actions} choices"
    elif world.says_instruction:
        beyond = "reads no instruction, and every episode of this world has one of its own"
    return beyond and f"policy.algorithm 'sac' {beyond}: set policy.algorithm to 'iql'"
