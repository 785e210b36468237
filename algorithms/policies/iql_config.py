"""Settings of `LanguageIQL`, as RLlib has settings."""

from collections.abc import Callable
from typing import Any, Literal

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from algorithms.offline_settings import IQLSettings, PolicyNetworkSettings
from algorithms.policies.fed_config import FedConfig
from algorithms.policies.iql_learner import LanguageIQLLearner
from algorithms.policies.iql_module import LanguageIQLModule
from algorithms.transitions import Transitions

ITERATION_UPDATES = 1_000
"""Gradient steps of one `train()`, by default."""
_DEFAULTS = IQLSettings()


class LanguageIQLConfig(FedConfig):
    """Settings of `LanguageIQL`.

        config = LanguageIQLConfig().environment(observation_space=..., action_space=...)
        config.training(transitions=open_my_transitions, beta=3.0)
        algo = config.build_algo()
        algo.train()

    With `environment("Name")` and `evaluation(...)` RLlib's evaluation workers judge the policy there; nothing is ever
    learned from an environment.
    """

    # Of the class, so that settings in checkpoints have it that were written before there was a choice.
    entropy_bonus = 0.0

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class)
        self.transitions: Callable[[], Transitions] | None = None
        self.actor_loss = _DEFAULTS.actor_loss
        self.expectile = _DEFAULTS.expectile
        self.beta = _DEFAULTS.beta
        self.largest_weight = _DEFAULTS.largest_weight
        self.tau = _DEFAULTS.tau
        self.weight_decay = _DEFAULTS.weight_decay
        self.network = _DEFAULTS.network
        self.iteration_updates = ITERATION_UPDATES
        self.lr = _DEFAULTS.learning_rate
        self.gamma = _DEFAULTS.discount
        self.train_batch_size_per_learner = _DEFAULTS.batch_size

    def training(
        self,
        *,
        transitions: Callable[[], Transitions] | None = NotProvided,
        actor_loss: Literal["advantage_weighted", "cloning"] = NotProvided,
        expectile: float = NotProvided,
        beta: float = NotProvided,
        largest_weight: float = NotProvided,
        tau: float = NotProvided,
        weight_decay: float = NotProvided,
        entropy_bonus: float = NotProvided,
        network: PolicyNetworkSettings = NotProvided,
        iteration_updates: int = NotProvided,
        learning_seed: int | None = NotProvided,
        **kwargs: Any,
    ) -> "LanguageIQLConfig":
        """Set what concerns learning; `IQLSettings` says what the values mean.

        Args:
            transitions: Opens the data, wherever the algorithm is made; without it call `set_transitions`.
            actor_loss: `advantage_weighted`, or `cloning` for behaviour cloning.
            expectile: In [0.5, 1).
            beta: Above 0; unlike RLlib's own IQL this one takes more than 1.
            largest_weight: Where the actor's weights are cut.
            tau: Polyak step of the target critics.
            weight_decay: Of AdamW.
            entropy_bonus: Weight of the policy's entropy in the actor's loss; 0, as published.
            network: The networks' sizes.
            iteration_updates: Gradient steps of one `train()`.
            learning_seed: Seeds networks and the order of the data, and leaves global generators alone. If None,
                `debugging(seed=...)` does so too.
            **kwargs: What every RLlib algorithm has: `lr`, `gamma`, `train_batch_size_per_learner` and others.
        """
        super().training(**kwargs)
        return self._set_given(
            transitions=transitions,
            actor_loss=actor_loss,
            expectile=expectile,
            beta=beta,
            largest_weight=largest_weight,
            tau=tau,
            weight_decay=weight_decay,
            entropy_bonus=entropy_bonus,
            network=network,
            iteration_updates=iteration_updates,
            learning_seed=learning_seed,
        )

    def validate(self) -> None:
        super().validate()
        # The same rules, and the same words, as in an experiment's settings.
        IQLSettings(
            actor_loss=self.actor_loss,
            expectile=self.expectile,
            beta=self.beta,
            largest_weight=self.largest_weight,
            tau=self.tau,
            weight_decay=self.weight_decay,
            discount=self.gamma,
            learning_rate=self.lr,
            batch_size=self.train_batch_size_per_learner,
            network=self.network,
        )

    @property
    def is_online(self) -> bool:
        """Never: an environment serves evaluation only."""
        return False

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=LanguageIQLModule)

    def get_default_learner_class(self) -> type[Learner]:
        return LanguageIQLLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "network": self.network,
            "cloning": self.actor_loss == "cloning",
            "tells_entropy": self.entropy_bonus > 0.0,
        }
