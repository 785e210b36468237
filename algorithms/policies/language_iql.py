"""Implicit Q-learning from recorded, labelled transitions, conditioned on language, as an RLlib algorithm."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import LEARNER_RESULTS, LEARNER_UPDATE_TIMER, TIMERS

from algorithms.fitted_q import FittedQPlan
from algorithms.language_networks import PolicyShape
from algorithms.offline_settings import IQLSettings
from algorithms.policies.fed_algorithm import UPDATES_PER_CALL, FedAlgorithm, shares
from algorithms.policies.iql_config import LanguageIQLConfig
from algorithms.policies.iql_learner import METRICS, REWARD_KNOWN
from algorithms.policies.iql_module import INSTRUCTION, OBSERVATION, spaces_of
from algorithms.scaling import observation_scale
from algorithms.transitions import EpochSampler, Transitions

_SAMPLING = "language_iql_sampling"
_ROWS_TO_SCALE_BY = 100_000
"""States from which the normalisation of flat observations is taken, at most."""


@LanguageIQLConfig.builds
class LanguageIQL(FedAlgorithm):
    """IQL on `Transitions`; with `actor_loss="cloning"`, behaviour cloning on the same data.

    The data is read by rows from arrays, which may be memory-mapped files: Ray Data's reading actors would ask for
    more processors than a small machine has. A checkpoint holds all that learning depends on: networks, targets,
    optimiser moments and where in the data it stands. An algorithm continues from it bit for bit.
    """

    transitions: Transitions | None

    @classmethod
    def get_default_config(cls) -> LanguageIQLConfig:
        return LanguageIQLConfig()

    def setup(self, config: LanguageIQLConfig) -> None:
        super().setup(config)
        self.transitions = None
        self._sampler: EpochSampler | None = None
        self._position: Mapping[str, Any] | None = None
        """Where a checkpoint stood, until there is data to go on in."""
        if self.config.transitions is not None:
            self.set_transitions(self.config.transitions())

    def set_transitions(self, transitions: Transitions) -> None:
        """Learn from these. Flat observations are normalised by them.

        Raises ValueError if a restored checkpoint learned from data of another size.
        """
        self.transitions = transitions
        seed = self.config.seed_of_learning
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._sampler = EpochSampler(len(transitions), seed)
        if self._position is not None:
            self._sampler.set_state(self._position)
            self._position = None
        if transitions.observations.ndim == 2:
            step = -(-len(transitions.observations) // _ROWS_TO_SCALE_BY)
            shift, scale = observation_scale(np.asarray(transitions.observations[::step], dtype=np.float32))
            self._on_learner(lambda learner: learner.set_observation_normalisation(shift, scale))

    def update(self, num_updates: int) -> dict[str, float]:
        """Take gradient steps; returns the means over them of `iql_learner.METRICS`.

        Raises ValueError without updates or data, and FloatingPointError if a loss is no longer finite.
        """
        return self._mean_metrics(num_updates, METRICS, ("actor_loss", "critic_loss", "value_loss"), "the labels")

    def training_step(self) -> None:
        """`iteration_updates` gradient steps, for RLlib and Tune."""
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            for count in shares(self.config.iteration_updates, UPDATES_PER_CALL):
                self.metrics.aggregate(self._learn(count), key=LEARNER_RESULTS)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Judge the policy by RLlib's evaluation workers."""
        if self.eval_env_runner_group is not None:
            # RLlib sends the weights without waiting, and not at all to a worker that is still at its last message, as
            # one is that has just been made.
            name = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
            learner = self.learner_group.get_state(components=[name], inference_only=True)[COMPONENT_LEARNER]
            weights = {COMPONENT_RL_MODULE: learner[COMPONENT_RL_MODULE]}
            self.eval_env_runner_group.foreach_env_runner(lambda runner: runner.set_state(weights))
        return super().evaluate(*args, **kwargs)

    # ------------------------------------------------------------------------------------------------ judging

    def predict(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of columns of `Transitions.batch`: the policy's `likeliest` actions, the recorded ones' `log_prob` [B] and,
        unless it is cloning, the states' `value` [B]."""
        return self._on_learner(lambda learner: learner.predict(batch))

    def fitted_q(
        self,
        plan: FittedQPlan,
        batches: Iterable[Sequence[Mapping[str, np.ndarray]]],
        starts: Iterable[Mapping[str, np.ndarray]],
    ) -> np.ndarray:
        """What the policy is worth from the first states `starts` on, float32 [E, R], fitted to the batches.

        Both are columns of `Transitions.batch`, of `batches` with `reward` and `reward_known` as [B, R].
        """
        self._on_learner(lambda learner: learner.start_fitted_q(plan))
        for some in batches:
            self._on_learner(lambda learner, some=some: learner.update_fitted_q(some))
        found = [self._on_learner(lambda learner, one=one: learner.fitted_q_values(one)) for one in starts]
        self._on_learner(lambda learner: learner.end_fitted_q())
        return np.concatenate(found)

    # ------------------------------------------------------------------------------------------------ checkpoints

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._sampler is not None and self._check_component(_SAMPLING, components, not_components):
            state[_SAMPLING] = dict(self._sampler.state())
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        if _SAMPLING in state:
            if self._sampler is None:
                self._position = state[_SAMPLING]
            else:
                self._sampler.set_state(state[_SAMPLING])

    # ------------------------------------------------------------------------------------------------ inside

    def _learn(self, num_updates: int) -> list[dict[str, Any]]:
        if self._sampler is None:
            raise ValueError("there is no data: call set_transitions, or name it by training(transitions=...)")
        num_rows = num_updates * self.config.train_batch_size_per_learner
        rows = self.transitions.batch(self._sampler.take(num_rows), self.config.network.history)
        columns = SampleBatch(
            {
                Columns.OBS: {OBSERVATION: rows["observation"], INSTRUCTION: rows["instruction"]},
                Columns.NEXT_OBS: {OBSERVATION: rows["next_observation"], INSTRUCTION: rows["instruction"]},
                Columns.ACTIONS: rows["action"],
                Columns.REWARDS: rows["reward"],
                REWARD_KNOWN: rows["reward_known"],
                Columns.TERMINATEDS: rows["terminated"],
            }
        )
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: columns}, env_steps=num_rows)
        return self.learner_group.update(batch=batch, timesteps={})


def language_iql_config(policy: IQLSettings, shape: PolicyShape, seed: int) -> LanguageIQLConfig:
    """Settings of a `LanguageIQL` that is given its data by `set_transitions`.

    Without a GPU it learns in this process. With one its learner is an actor, which Ray puts where a GPU is free.
    """
    observation_space, action_space = spaces_of(shape, policy.network.history)
    return (
        LanguageIQLConfig()
        .environment(observation_space=observation_space, action_space=action_space)
        .learns_where(policy.num_gpus)
        .training(
            actor_loss=policy.actor_loss,
            expectile=policy.expectile,
            beta=policy.beta,
            largest_weight=policy.largest_weight,
            tau=policy.tau,
            weight_decay=policy.weight_decay,
            network=policy.network,
            lr=policy.learning_rate,
            gamma=policy.discount,
            train_batch_size_per_learner=policy.batch_size,
            learning_seed=seed,
        )
    )


def build_language_iql(policy: IQLSettings, shape: PolicyShape, seed: int) -> LanguageIQL:
    """A `LanguageIQL` that is given its data. Without a GPU it needs no running Ray, and starts none."""
    return language_iql_config(policy, shape, seed).build_algo()
