"""Soft actor-critic on a learned, changing reward, as an RLlib algorithm (new API stack)."""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.policies.sac_config import RatedSACConfig
from algorithms.policies.sac_learner import METRICS
from algorithms.replay import ColumnarReplay
from algorithms.settings import PolicySettings

UPDATES_PER_CALL = 64
"""Gradient steps that one call to the learner takes at most: what a call costs is then shared, and memory bounded."""
ENV_REWARD_VERSION = 0
"""Version of rewards that come from a Gymnasium environment itself."""

_REPLAY = "replay"
_SAMPLING = "rated_sac_sampling"


class RatedSAC(Algorithm):
    """SAC that learns from a `ColumnarReplay` whose rewards a reward model writes, and writes anew.

    A checkpoint (`save_to_path`, `restore_from_path`, `from_checkpoint`) holds all that learning depends on: networks,
    targets, temperature, optimiser moments, replay, and the states of both random generators. An algorithm that is fed
    from outside continues from it bit for bit.
    """

    replay: ColumnarReplay

    @classmethod
    def get_default_config(cls) -> RatedSACConfig:
        return RatedSACConfig()

    def setup(self, config: RatedSACConfig) -> None:
        super().setup(config)
        if self.env_runner_group is None:
            observation_space, action_space = self.config.observation_space, self.config.action_space
        else:
            observation_space, action_space = self.spaces[DEFAULT_MODULE_ID]
        self.replay = ColumnarReplay(self.config.replay_capacity, observation_space.shape[0], action_space.shape[0])
        self._rng = np.random.default_rng(self.config.seed_of_learning)
        self._updates_owed = 0.0

    # ------------------------------------------------------------------------------------------------ fed from outside

    def add_chunk(self, chunk: EpisodeChunk, learned_rewards: np.ndarray, version: int) -> np.ndarray:
        """Store experience with the rewards [T] of reward model `version`; returns the steps' global indices [T]."""
        return self.replay.add(chunk, learned_rewards, version)

    def relabel(self, indices: np.ndarray, rewards: np.ndarray, version: int) -> None:
        """Write the learned rewards of these steps anew, as given by reward model `version`."""
        self.replay.relabel(indices, rewards, version)

    def update(self, num_updates: int) -> dict[str, float]:
        """Take gradient steps on fresh batches; returns the means over them of `sac_learner.METRICS`.

        Raises ValueError without updates or experience, and FloatingPointError if a loss is no longer finite.
        """
        if num_updates < 1:
            raise ValueError(f"num_updates {num_updates}: at least 1")
        sums = dict.fromkeys(METRICS, 0.0)
        for count in _shares(num_updates, UPDATES_PER_CALL):
            metrics = self._learn(count)[0][DEFAULT_MODULE_ID]
            for name in METRICS:
                sums[name] += count * float(metrics[name].peek())
        means = {name: total / num_updates for name, total in sums.items()}
        if not math.isfinite(means["critic_loss"] + means["actor_loss"]):
            raise FloatingPointError(
                f"the policy's losses are no longer finite ({means}); lower its learning rates or look at the rewards"
            )
        return means

    def actor_weights(self) -> dict[str, np.ndarray]:
        """The actor's weights, for `SquashedGaussianActor.load_numpy` wherever it acts."""
        return self._on_learner(lambda learner: learner.module[DEFAULT_MODULE_ID].unwrapped().actor.numpy_weights())

    def reset_critic(self) -> None:
        """Start the critics and their targets anew: what they learned from other rewards is of no use now."""
        self._on_learner(lambda learner: learner.reset_critic())

    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See observations as (observation - shift) * scale, both [observation], from now on."""
        self._on_learner(lambda learner: learner.set_observation_normalisation(shift, scale))

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
            for count in _shares(due, UPDATES_PER_CALL):
                self.metrics.aggregate(self._learn(count), key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)

    # ------------------------------------------------------------------------------------------------ checkpoints

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_REPLAY, components, not_components):
            state[_REPLAY] = self.replay.state()
            state[_SAMPLING] = {"rng": self._rng.bit_generator.state, "updates_owed": self._updates_owed}
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        if self.env_runner_group is None and COMPONENT_LEARNER_GROUP in rest:
            # RLlib goes on to synchronise env runners, without asking whether there are any.
            self.learner_group.set_state(rest.pop(COMPONENT_LEARNER_GROUP))
        super().set_state(rest)
        if _REPLAY in state:
            self.replay.set_state(state[_REPLAY])
            self._rng.bit_generator.state = state[_SAMPLING]["rng"]
            self._updates_owed = state[_SAMPLING]["updates_owed"]

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restore a checkpoint of `save_to_path`. Checkpoints hold pickles: restore only what you wrote yourself."""
        if self.env_runner_group is None:
            # As in `set_state`: there are no env runners to synchronise.
            Checkpointable.restore_from_path(self, path, *args, **kwargs)
        else:
            super().restore_from_path(path, *args, **kwargs)

    # ------------------------------------------------------------------------------------------------ inside

    def _learn(self, num_updates: int) -> list[dict[str, Any]]:
        num_rows = num_updates * self.config.train_batch_size_per_learner
        rows = self.replay.sample(num_rows, self._rng)
        columns = SampleBatch(
            {
                Columns.OBS: rows["observation"],
                Columns.ACTIONS: rows["action"],
                Columns.REWARDS: rows["learned_reward"],
                Columns.NEXT_OBS: rows["next_observation"],
                Columns.TERMINATEDS: rows["terminated"],
            }
        )
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: columns}, env_steps=num_rows)
        return self.learner_group.update(batch=batch, timesteps={})

    def _on_learner(self, function: Any) -> Any:
        (result,) = self.learner_group.foreach_learner(function)
        return result.get()

    def _setup_logdir(self) -> None:
        """Under Tune the trial's folder; else none, where RLlib would leave an empty one in the home directory."""
        if self._storage:
            super()._setup_logdir()


def rated_sac_config(policy: PolicySettings, observation_size: int, action_size: int, seed: int) -> RatedSACConfig:
    """Settings of a `RatedSAC` that is fed from outside.

    Without a GPU it learns in this process. With one its learner is an actor, which Ray puts where a GPU is free.
    """
    return (
        RatedSACConfig()
        .environment(
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (action_size,), np.float32),
        )
        .learners(num_learners=1 if policy.num_gpus else 0, num_gpus_per_learner=policy.num_gpus)
        .training(
            hidden=policy.hidden,
            actor_lr=policy.actor_learning_rate,
            critic_lr=policy.critic_learning_rate,
            alpha_lr=policy.temperature_learning_rate,
            initial_alpha=policy.initial_temperature,
            target_entropy=policy.target_entropy,
            tau=policy.tau,
            target_update_interval=policy.target_update_interval,
            replay_capacity=policy.replay_capacity,
            updates_per_agent_step=policy.updates_per_agent_step,
            gamma=policy.discount,
            train_batch_size_per_learner=policy.batch_size,
            learning_seed=seed,
        )
    )


def build_rated_sac(policy: PolicySettings, observation_size: int, action_size: int, seed: int) -> RatedSAC:
    """A `RatedSAC` that is fed from outside. Without a GPU it needs no running Ray, and starts none."""
    return rated_sac_config(policy, observation_size, action_size, seed).build_algo()


def _shares(total: int, largest: int) -> list[int]:
    """`total` in parts of at most `largest`."""
    return [min(largest, total - start) for start in range(0, total, largest)]


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
