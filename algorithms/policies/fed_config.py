"""What the settings of our RLlib algorithms share."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

A = TypeVar("A", bound=type[Algorithm])
C = TypeVar("C", bound="FedConfig")


class FedConfig(AlgorithmConfig):
    """Settings of a `FedAlgorithm`.

    RLlib's settings build their algorithm, and an algorithm needs its settings. So that no two modules import each
    other, settings know no algorithm until it enters itself:

        @MyConfig.builds
        class MyAlgorithm(FedAlgorithm): ...
    """

    _algorithm: ClassVar[type[Algorithm] | None] = None

    @classmethod
    def builds(cls, algorithm: A) -> A:
        """Make `algorithm` the one that these settings build."""
        cls._algorithm = algorithm
        return algorithm

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class=algo_class or self._algorithm)
        self.learning_seed: int | None = None
        self.log_sys_usage = False

    def _set_given(self: C, **values: Any) -> C:
        """Take the values that were given; those that were not are RLlib's `NotProvided`."""
        for name, value in values.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    def learns_where(
        self: C,
        num_gpus: float | None,
        accelerator_type: str | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> C:
        """Without a GPU learn in this process; with one in an actor, which Ray puts where such a GPU is free."""
        return self.learners(
            num_learners=1 if num_gpus else 0,
            num_gpus_per_learner=num_gpus or 0.0,
            # The name that Ray gives to a node's kind of GPU.
            custom_resources_per_learner=dict(resources or {})
            | ({f"accelerator_type:{accelerator_type}": 0.001} if accelerator_type else {}),
        )

    def validate(self) -> None:
        super().validate()
        if self.num_learners > 1:
            raise ValueError(
                f"num_learners {self.num_learners}: {self.algo_class.__name__} learns in one process; use 0 (here) or "
                "1 (an actor)"
            )

    @property
    def seed_of_learning(self) -> int | None:
        """What seeds networks and all that learning draws; None for a different run each time."""
        return self.seed if self.learning_seed is None else self.learning_seed

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {"seed": self.seed_of_learning}
