"""Implicit Q-learning on a learned, changing reward, conditioned on language, as an RLlib algorithm.

The learner is that of `LanguageIQL`; what it learns from is a replay that grows.
"""

from typing import Any, Literal

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from algorithms.acting import InstructedActor
from algorithms.episodes import EpisodeChunk
from algorithms.instructions import HashedWords, ReadRows
from algorithms.language_networks import PolicyShape, policy_shape, seen_by
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.pixel_frames import PixelShape
from algorithms.policies.iql_config import LanguageIQLConfig
from algorithms.policies.iql_learner import METRICS, REWARD_KNOWN
from algorithms.policies.iql_module import INSTRUCTION, OBSERVATION, shape_of, spaces_of
from algorithms.policies.rated_algorithm import RatedAlgorithm
from algorithms.policy_settings import OnlineIQLSettings
from algorithms.replay import ColumnarReplay
from algorithms.spaces import AgentSpaces


class RatedIQLConfig(LanguageIQLConfig):
    """Settings of `RatedIQL`: those of `LanguageIQL`, and what a replay needs."""

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class)
        self.replay_capacity = 200_000
        self.observation_size = 0
        self.instruction = ""
        self.termination: Literal["ends", "stays"] = "stays"
        self.exploration_temperature = 1.0

    def training(
        self,
        *,
        replay_capacity: int = NotProvided,
        observation_size: int = NotProvided,
        instruction: str = NotProvided,
        termination: Literal["ends", "stays"] = NotProvided,
        exploration_temperature: float = NotProvided,
        **kwargs: Any,
    ) -> "RatedIQLConfig":
        """Set what concerns learning.

        Args:
            replay_capacity: Agent steps that the replay holds.
            observation_size: Numbers of an observation in the replay, a grid's too.
            instruction: Of episodes whose chunks say nothing of their own.
            termination: What a step that ends its episode is worth: its reward, or that again and again.
            exploration_temperature: What actors sample at.
            **kwargs: What `LanguageIQLConfig` has.
        """
        super().training(**kwargs)
        return self._set_given(
            replay_capacity=replay_capacity,
            observation_size=observation_size,
            instruction=instruction,
            termination=termination,
            exploration_temperature=exploration_temperature,
        )

    @property
    def shape(self) -> PolicyShape:
        """What the networks fit."""
        return shape_of(self.observation_space, self.action_space, self.network.history)

    @property
    def pixel_shape(self) -> PixelShape | None:
        """What a policy of pictures sees; None for one that sees numbers or a grid."""
        shape = self.shape
        if shape.kind != "image":
            return None
        return PixelShape(shape.observation_shape[0], self.network.history, (), 0, 0, sees_state=False)


@RatedIQLConfig.builds
class RatedIQL(RatedAlgorithm):
    """IQL that learns from a `ColumnarReplay` whose rewards a reward model writes, and writes anew."""

    told = METRICS
    losses = ("actor_loss", "critic_loss", "value_loss")

    @classmethod
    def get_default_config(cls) -> RatedIQLConfig:
        return RatedIQLConfig()

    def setup(self, config: RatedIQLConfig) -> None:
        super().setup(config)
        self._shape = self.config.shape
        self._pixels = self.config.pixel_shape
        action_size = 1 if self._shape.num_actions else self._shape.action_size
        self.replay = ColumnarReplay(
            self.config.replay_capacity, self.config.observation_size, action_size, self._pixels
        )
        self._rows = ReadRows(HashedWords(self._shape.num_words, self._shape.instruction_length))

    def add_chunk(
        self,
        chunk: EpisodeChunk,
        learned_rewards: np.ndarray,
        version: int,
        picture_features: np.ndarray | None = None,
    ) -> np.ndarray:
        """As `RatedAlgorithm.add_chunk`. Raises InstructionError if its instruction cannot be read."""
        self._rows.of([chunk.instruction or self.config.instruction])
        return super().add_chunk(chunk, learned_rewards, version, picture_features)

    def actor_weights(self) -> dict[str, np.ndarray]:
        """The actor's weights and what else `actor_from_numpy` needs, for wherever it acts."""
        told = InstructedActor.told(self._shape, self.config.network, self.config.exploration_temperature)
        return super().actor_weights() | told

    def training_step(self) -> None:
        """RLlib cannot feed it: its env runners know no instructions."""
        raise ValueError("feed a RatedIQL by add_chunk() and update()")

    def _learn(self, num_updates: int) -> list[dict[str, Any]]:
        num_rows = num_updates * self.config.train_batch_size_per_learner
        rows = self._sample(num_rows)
        texts = [text or self.config.instruction for text in self.replay.instructions(rows["index"])]
        asked = self._rows.of(texts)
        if self._pixels is None:
            seen, next_seen = rows["observation"], rows["next_observation"]
        else:
            seen, next_seen = rows["pixels"][:, :-1], rows["pixels"][:, 1:]
        actions = rows["action"]
        columns = SampleBatch(
            {
                Columns.OBS: {OBSERVATION: self._seen(seen), INSTRUCTION: asked},
                Columns.NEXT_OBS: {OBSERVATION: self._seen(next_seen), INSTRUCTION: asked},
                Columns.ACTIONS: actions[:, 0].astype(np.int64) if self._shape.num_actions else actions,
                Columns.REWARDS: rows["learned_reward"],
                REWARD_KNOWN: np.ones(num_rows, dtype=np.float32),
                Columns.TERMINATEDS: rows["terminated"],
            }
        )
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: columns}, env_steps=num_rows)
        return self.learner_group.update(batch=batch, timesteps={})

    def _seen(self, observations: np.ndarray) -> np.ndarray:
        return seen_by(self._shape, torch.from_numpy(np.ascontiguousarray(observations))).numpy()


def build_rated_iql(policy: OnlineIQLSettings, spaces: AgentSpaces, instruction: str, seed: int) -> RatedIQL:
    """A `RatedIQL` that is fed from outside. Without a GPU it needs no running Ray, and starts none.

    `instruction` is of episodes whose chunks say nothing of their own.
    """
    pixels = policy.pixel_shape
    network: PolicyNetworkSettings = policy.network
    if pixels is not None:
        network = network.model_copy(update={"history": pixels.frame_stack})
    shape = policy_shape(spaces, pixels, policy.num_words, policy.instruction_length)
    observation_space, action_space = spaces_of(shape, network.history)
    return (
        RatedIQLConfig()
        .environment(observation_space=observation_space, action_space=action_space)
        .learns_where(policy.num_gpus, policy.accelerator_type, policy.resources)
        .training(
            expectile=policy.expectile,
            beta=policy.beta,
            largest_weight=policy.largest_weight,
            tau=policy.tau,
            weight_decay=policy.weight_decay,
            entropy_bonus=policy.entropy_bonus,
            network=network,
            lr=policy.learning_rate,
            gamma=policy.discount,
            train_batch_size_per_learner=policy.batch_size,
            learning_seed=seed,
            replay_capacity=policy.replay_capacity,
            observation_size=spaces.observation_size,
            instruction=instruction,
            termination=policy.termination,
            exploration_temperature=policy.exploration_temperature,
        )
        .build_algo()
    )
