"""Soft actor-critic on a learned, changing reward, as an RLlib algorithm (new API stack)."""

from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.policies.fed_algorithm import shares
from algorithms.policies.rated_algorithm import RatedAlgorithm
from algorithms.policies.sac_config import RatedSACConfig
from algorithms.policies.sac_learner import METRICS
from algorithms.policies.sac_pixels import NEXT_STATE, STATE
from algorithms.policy_settings import SACSettings
from algorithms.replay import ColumnarReplay

ENV_REWARD_VERSION = 0
"""Version of rewards that come from a Gymnasium environment itself."""


@RatedSACConfig.builds
class RatedSAC(RatedAlgorithm):
    """SAC that learns from a `ColumnarReplay` whose rewards a reward model writes, and writes anew."""

    told = METRICS
    losses = ("critic_loss", "actor_loss")

    @classmethod
    def get_default_config(cls) -> RatedSACConfig:
        return RatedSACConfig()

    def setup(self, config: RatedSACConfig) -> None:
        super().setup(config)
        if self.env_runner_group is None:
            observation_space, action_space = self.config.observation_space, self.config.action_space
        else:
            observation_space, action_space = self.spaces[DEFAULT_MODULE_ID]
        self._pixels = self.config.pixel_shape
        self.replay = ColumnarReplay(
            self.config.replay_capacity, observation_space.shape[0], action_space.shape[0], self._pixels
        )

    # ------------------------------------------------------------------------------------------------ fed from outside

    # ------------------------------------------------------------------------------------------------ fed by RLlib

    def training_step(self) -> None:
        """Collect with RLlib's env runners, then learn from the replay at the set number of updates a step."""
        if self.env_runner_group is None:
            raise ValueError(
                "this RatedSAC has no environment: feed it by add_chunk() and update(), "
                "or name an environment, RatedSACConfig().environment('Pendulum-v1')"
            )
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            episodes, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                concat=True,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        for chunk in map(chunk_of, filter(len, episodes)):
            self.add_chunk(chunk, chunk.env_rewards, ENV_REWARD_VERSION)
            self._updates_owed += len(chunk) * self.config.updates_per_agent_step
        if self.replay.next_index < self.config.num_steps_sampled_before_learning_starts:
            self._updates_owed = 0.0
            return
        due = int(self._updates_owed)
        self._updates_owed -= due
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            for count in shares(due, self.updates_per_call):
                self.metrics.aggregate(self._learn(count), key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)

    # ------------------------------------------------------------------------------------------------ inside

    def _learn(self, num_updates: int) -> list[dict[str, Any]]:
        num_rows = num_updates * self.config.train_batch_size_per_learner
        rows = self._sample(num_rows)
        columns = {
            Columns.ACTIONS: rows["action"],
            Columns.REWARDS: rows["learned_reward"],
            Columns.TERMINATEDS: rows["terminated"],
        }
        if self._pixels is None:
            columns |= {Columns.OBS: rows["observation"], Columns.NEXT_OBS: rows["next_observation"]}
        else:
            columns[Columns.OBS] = rows["pixels"]
        if self._pixels is not None and self._pixels.sees_state:
            columns |= {STATE: rows["observation"], NEXT_STATE: rows["next_observation"]}
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=num_rows)
        return self.learner_group.update(batch=batch, timesteps={})


def rated_sac_config(policy: SACSettings, observation_size: int, action_size: int, seed: int) -> RatedSACConfig:
    """Settings of a `RatedSAC` that is fed from outside.

    Without a GPU it learns in this process. With one its learner is an actor, which Ray puts where a GPU is free.
    """
    return (
        RatedSACConfig()
        .environment(
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (action_size,), np.float32),
        )
        .learns_where(policy.num_gpus, policy.accelerator_type, policy.resources)
        .training(
            hidden=policy.hidden,
            actor_lr=policy.actor_learning_rate,
            critic_lr=policy.critic_learning_rate,
            alpha_lr=policy.temperature_learning_rate,
            initial_alpha=policy.initial_temperature,
            target_entropy=policy.target_entropy,
            tau=policy.tau,
            target_update_interval=policy.target_update_interval,
            pixels=None if policy.pixel_shape is None else asdict(policy.pixel_shape),
            termination=policy.termination,
            replay_capacity=policy.replay_capacity,
            updates_per_agent_step=policy.updates_per_agent_step,
            gamma=policy.discount,
            train_batch_size_per_learner=policy.batch_size,
            learning_seed=seed,
        )
    )


def build_rated_sac(policy: SACSettings, observation_size: int, action_size: int, seed: int) -> RatedSAC:
    """A `RatedSAC` that is fed from outside. Without a GPU it needs no running Ray, and starts none."""
    return rated_sac_config(policy, observation_size, action_size, seed).build_algo()


def chunk_of(episode: SingleAgentEpisode) -> EpisodeChunk:
    """RLlib's episode, or its part since the last call, without frames."""
    num_steps = len(episode)
    return EpisodeChunk(
        episode_id=episode.id_,
        first_step=episode.t_started,
        observations=np.asarray(episode.get_observations(), dtype=np.float32),
        actions=np.asarray(episode.get_actions(), dtype=np.float32),
        env_rewards=np.asarray(episode.get_rewards(), dtype=np.float32),
        successes=np.zeros(num_steps, dtype=bool),
        terminated=bool(episode.is_terminated),
        truncated=bool(episode.is_truncated),
        frame_states=np.zeros((num_steps + 1, 0), dtype=np.float32),
        scene=Scene({}),
    )
