"""The online loop of ERL-VLM (Luu et al., ICML 2025): act, rate, learn the reward, learn the policy.

    rollout -> replay (state, not pixels) -> segment -> frame -> rating request -> rating -> rating store
            -> reward model (version + 1) -> relabel the replay -> policy update -> evaluation -> tracking

`OnlineLoop.run` is that line. A round is `rollout.chunk_agent_steps` agent steps of every environment. While the
policy learns from one round the workers already collect the next, except across the end of a period, where all
environments have ended their episodes: there everything stands still, and there sessions are opened, policies evaluated
and checkpoints written. So with `max_rating_lag: 0` a run is a function of its settings, and a resumed run equals one
that was never stopped.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from actors.rollout.playing import metrics_of
from actors.worlds.world import WorldSpec
from algorithms.instructions import InstructionError
from algorithms.pixel_networks import PictureFeatures
from algorithms.policies import RatedAlgorithm
from algorithms.scaling import observation_scale
from algorithms.state_entropy import StateEntropy
from orchestrator.errors import RatingsFailing, SettingsError, disk_errors_told
from orchestrator.online.rewards.source import UNKNOWN, NewRewards, RewardSource, StillUnknown
from orchestrator.online.rollouts import Collected, Pending, Rollouts, Weights
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.stopping.checkpoint import LoopCheckpoint
from orchestrator.online.stopping.progress import Progress
from orchestrator.online.telling.audit import rewards_beside_progress
from orchestrator.runs.folder import RunFolder


@dataclass
class OnlineLoop:
    """One run. The parts are handed in; `restore` may put them back to a checkpoint; `run` drives them to the end."""

    experiment: OnlineExperiment
    world: WorldSpec
    rollouts: Rollouts
    policy: RatedAlgorithm
    reward: RewardSource
    folder: RunFolder = field(init=False)
    """What the run writes and shows; known once it runs."""
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        settings = self.experiment
        self._entropy = StateEntropy(settings.policy.entropy_neighbours)
        self._parts = LoopCheckpoint(self.rollouts, self.policy, self.reward, self._entropy)
        self._picture_features = _picture_features(settings)
        self._round_agent_steps = 0
        """Of the latest round, as collected."""
        self._updates_owed = 0.0
        self.progress = Progress(
            next_evaluation=settings.evaluation.interval_env_steps,
            next_checkpoint=settings.checkpoint.interval_env_steps,
        )

    # ---------------------------------------------------------------------------------------------- the line

    def run(self, folder: RunFolder) -> None:
        """Go on until `total_env_steps`.

        Raises RatingsFailing, after a checkpoint, if the rater fails; DiskFailing, if a disk is full or broken;
        ActorsLost, if actors died and find no place any more. In each case the run can be resumed. Raises SettingsError
        if the policy cannot read an episode's instruction.
        """
        self.folder = folder
        self.reward.begin(folder)
        try:
            with disk_errors_told(folder.path):
                self._go_on()
        except InstructionError as error:
            raise SettingsError(str(error)) from error

    def _go_on(self) -> None:
        self.folder.save_world(asdict(self.world))
        if self.experiment.learns_reward and self.progress.began_older and not self.experiment.feedback.ask_again:
            self.folder.note(
                "an older likert-rl began this run: from here on no picture of it is asked about twice "
                "(feedback.ask_again), and while all ratings are of one level it explores on"
            )
        if self.progress.env_steps == 0:
            self._evaluate_controls()
        # A session that failed before a resume is due again at once.
        self._learn_reward()
        pending: Pending | None = None
        while self.progress.env_steps < self.experiment.total_env_steps or not self.rollouts.stands:
            self._show("acting")
            collected = self.rollouts.finish(pending or self.rollouts.start(self._behaviour()))
            self._count_round(collected)
            pending = None if self.rollouts.stands else self.rollouts.start(self._behaviour())
            self._remember(collected)
            self._improve_policy()
            self._learn_reward()
            if self.rollouts.stands:
                self._evaluate_if_due()
                self._save_if_due()
        self._finish()

    # ---------------------------------------------------------------------------------------------- experience

    def _behaviour(self) -> Weights | None:
        """Weights to act with; None, random actions, during the seed steps."""
        random = self.progress.env_steps < self.experiment.policy.seed_env_steps
        return None if random else self.policy.actor_weights()

    def _count_round(self, collected: list[Collected]) -> None:
        self.progress.rounds += 1
        self._round_agent_steps = sum(len(chunk) for part in collected for chunk in part.chunks)
        self.progress.env_steps += self._round_agent_steps * self.experiment.task.action_repeat

    def _remember(self, collected: list[Collected]) -> None:
        """Put a round into the replay, with what its steps are worth as far as that is known."""
        replay = self.policy.replay
        for part in filter(lambda part: part.chunks, collected):
            observations = np.concatenate([chunk.observations[1:] for chunk in part.chunks])
            features = [self._picture_features and self._picture_features.of(chunk.pixels[1:]) for chunk in part.chunks]
            explored = observations if self._picture_features is None else np.concatenate(features)
            rewards = self._rewards_of_new(observations, explored, part, first_index=replay.next_index)
            version = self.reward.version(self.progress)
            start = 0
            for chunk, of_pictures in zip(part.chunks, features, strict=True):
                first_index = replay.next_index
                self.policy.add_chunk(chunk, rewards[start : start + len(chunk)], version, of_pictures)
                self.reward.keep(first_index, chunk, int(replay.indices[0]))
                start += len(chunk)
        chunks = [chunk for part in collected for chunk in part.chunks]
        metrics = {"rollout/env_reward": float(np.mean([chunk.env_rewards.mean() for chunk in chunks]))}
        if self.world.knows_success:
            metrics["rollout/success"] = float(np.mean([chunk.successes.any() for chunk in chunks]))
        self.folder.log(metrics, self.progress.env_steps)

    def _rewards_of_new(
        self, observations: np.ndarray, explored: np.ndarray, part: Collected, first_index: int
    ) -> np.ndarray:
        rewards = self.reward.of_new(observations, part, first_index, self.progress)
        return self._exploration_bonus(explored) if rewards is None else rewards

    def _exploration_bonus(self, states: np.ndarray) -> np.ndarray:
        """State-entropy reward while nobody gives one (PEBBLE); zero during the seed steps.

        `states` are the new observations, or for a policy that sees pictures alone the features of these.
        """
        if not self._explores or not len(self.policy.replay):
            return np.zeros(len(states), dtype=np.float32)
        if self._picture_features is None:
            states = states[:, list(self.experiment.policy.entropy_dimensions) or slice(None)]
        return self._entropy.reward(states, self._stored_states())

    def _stored_states(self) -> np.ndarray:
        """What of the replay's states counts for exploration, [N, F] float32."""
        if self._picture_features is not None:
            return self.policy.replay.stored_picture_features()
        columns = list(self.experiment.policy.entropy_dimensions) or slice(None)
        return self.policy.replay.stored_next_observations()[:, columns]

    @property
    def _explores(self) -> bool:
        """Whether new states are rewarded as long as nothing else is."""
        return bool(self.experiment.policy.unsupervised_env_steps) or self.progress.starving

    # ---------------------------------------------------------------------------------------------- policy

    def _improve_policy(self) -> None:
        """One update per agent step (by settings), once the seed steps are over and there is a reward to learn."""
        settings = self.experiment.policy
        if self.progress.env_steps < settings.seed_env_steps:
            return
        if settings.normalise_observations and not self.progress.observations_scaled:
            self.policy.set_observation_normalisation(*observation_scale(self.policy.replay.stored_next_observations()))
            self.progress.observations_scaled = True
        if not self.reward.known(self.progress) and not self._explores:
            return
        self._update_policy(settings.updates_per_agent_step * self._round_agent_steps)

    def _update_policy(self, num_updates: float) -> None:
        self._updates_owed += num_updates
        due = int(self._updates_owed)
        self._updates_owed -= due
        if due and len(self.policy.replay) >= self.experiment.policy.batch_size:
            self._show("policy")
            started = time.monotonic()
            metrics = self.policy.update(due)
            self.folder.log(
                {f"policy/{name}": value for name, value in metrics.items()}
                | {"time/policy_update_ms": 1000.0 * (time.monotonic() - started) / due},
                self.progress.env_steps,
            )

    # ---------------------------------------------------------------------------------------------- reward

    def _learn_reward(self) -> None:
        """Let the source ask and learn what is due, and rewrite the replay by what it found."""
        self._rewrite(lambda: self.reward.advance(self.policy.replay, self.progress, self.rollouts.stands))

    def _rewrite(self, learn: Callable[[], NewRewards | StillUnknown | None]) -> None:
        """Rewrite the replay by what `learn` brings; if the rater fails, what there is is saved first."""
        try:
            new = learn()
        except RatingsFailing:
            if self.rollouts.stands:
                self.save()
            raise
        if isinstance(new, StillUnknown):
            replay = self.policy.replay
            self.policy.relabel(replay.indices, self._entropy.anew(self._stored_states()), UNKNOWN)
        elif new is not None:
            self.policy.relabel(new.indices, new.rewards, new.version)
            if new.are_first and self.experiment.policy.reset_critic:
                self.policy.reset_critic()
                self._update_policy(self.experiment.policy.critic_reset_updates)

    # ---------------------------------------------------------------------------------------------- evaluation

    def _evaluate_controls(self) -> None:
        """What random actions and the untrained policy reach: without them, a gain looks larger than it is."""
        self._show("evaluation")
        for name, weights in (("random", None), ("untrained", self.policy.actor_weights())):
            self._judge(weights, f"eval/{name}_")

    def _evaluate_if_due(self) -> None:
        rewarded = self.reward.known(self.progress) or self.progress.starving
        if self.progress.env_steps < self.progress.next_evaluation or not rewarded:
            return
        interval = self.experiment.evaluation.interval_env_steps
        self.progress.next_evaluation = (self.progress.env_steps // interval + 1) * interval
        self.progress.evaluated_at = self.progress.env_steps
        self._show("evaluation")
        weights = self.policy.actor_weights()
        metrics = self._judge(weights, "eval/")
        score = metrics.get("success", metrics["env_return"])
        if self.progress.best_score is None or score > self.progress.best_score:
            self.progress.best_score = score
            known = {name: metrics[name] for name in ("success", "env_return") if name in metrics}
            self.folder.save_best_policy(weights, self.progress.env_steps, known)

    def _judge(self, weights: Weights | None, prefix: str) -> dict[str, float]:
        settings = self.experiment.evaluation
        # Starts of their own, the same at every evaluation, so that points of a curve can be compared.
        number, seed = settings.num_episodes, self.experiment.seed
        spread = settings.start_spread or 0.0
        drawn_anywhere = settings.randomised_starts and not spread
        results = self.rollouts.evaluate(weights, number, seed, drawn_anywhere, spread)
        metrics = metrics_of(results, self.world)
        told = {prefix + name: value for name, value in metrics.items()}
        if settings.judges_anywhere_besides:
            anywhere = self.rollouts.evaluate(weights, number, seed, True)
            told |= {f"{prefix}anywhere_{name}": value for name, value in metrics_of(anywhere, self.world).items()}
        self.folder.log(told, self.progress.env_steps)
        if prefix == "eval/":
            told = "success" if self.world.knows_success else "env_return"
            self.folder.show(**{told: metrics[told]})
        return metrics

    # ---------------------------------------------------------------------------------------------- bookkeeping

    def _show(self, phase: str) -> None:
        self.folder.show(phase=phase, env_steps=self.progress.env_steps)

    def _save_if_due(self) -> None:
        if self.progress.env_steps < self.progress.next_checkpoint or self.reward.waits:
            # A session under way would be asked again; its checkpoint is written once it is closed.
            return
        interval = self.experiment.checkpoint.interval_env_steps
        self.progress.next_checkpoint = (self.progress.env_steps // interval + 1) * interval
        self.save()

    # ---------------------------------------------------------------------------------------------- stop and resume

    def save(self) -> None:
        """Write a checkpoint: with the rating store, all that the rest of the run depends on."""
        self._show("checkpoint")
        self.folder.checkpoints.save(self.progress.env_steps, self._parts.writer(self.progress, self._updates_owed))

    def restore(self, folder: Path) -> None:
        """Go back to a checkpoint. Frames come from the rating store, and replayed ones are drawn when next needed."""
        self.progress, self._updates_owed = self._parts.restore(folder)

    def _finish(self) -> None:
        """Evaluate and save what the last episode left, and keep what people want to look at."""
        self._rewrite(lambda: self.reward.finish(self.policy.replay, self.progress))
        if self.progress.evaluated_at < self.progress.env_steps:
            self.progress.next_evaluation = min(self.progress.next_evaluation, self.progress.env_steps)
            self._evaluate_if_due()
        self.save()
        self.reward.leave()
        told = not self.experiment.is_privileged and self.reward.known(self.progress)
        audit = rewards_beside_progress(self.experiment.task, self.policy.replay) if told else None
        if audit is not None:
            self.folder.save_progress_audit(*audit)
        self._show("done")


def _picture_features(experiment: OnlineExperiment) -> PictureFeatures | None:
    """What tells new states from known ones where the policy sees pictures alone and explores; else None."""
    policy = experiment.policy
    may_explore = policy.unsupervised_env_steps or experiment.feedback.explore_until_two_levels
    if policy.observation != "pixels" or not may_explore or not experiment.learns_reward:
        return None
    return PictureFeatures(policy.image_px, experiment.seed)
