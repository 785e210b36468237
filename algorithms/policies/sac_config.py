"""Settings of `RatedSAC`, as RLlib has settings."""

from typing import Any, Literal

import gymnasium
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from algorithms.pixel_frames import PixelShape
from algorithms.policies.fed_config import FedConfig
from algorithms.policies.sac_learner import RatedSACLearner
from algorithms.policies.sac_losses import CriticLoss
from algorithms.policies.sac_module import RatedSACModule, check_space
from algorithms.policies.sac_pixels import PixelSACModule, shape_of


class RatedSACConfig(FedConfig):
    """Settings of `RatedSAC`.

    With `environment("Name")` RLlib's env runners collect experience, and the environment's reward is learned. With
    spaces only, experience comes from outside:

        config = RatedSACConfig().environment(observation_space=..., action_space=...)
        algo = config.build_algo()
        algo.add_chunk(chunk, learned_rewards, version)
        algo.update(num_updates=50)

    With `pixels` it learns from pictures, of experience from outside; the observation space is that of the numbers that
    come with them.
    """

    # Of the class, so that settings in checkpoints have it that were written before there was a choice.
    termination: Literal["ends", "stays"] = "ends"

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class)
        self.hidden = (256, 256)
        self.actor_lr = 3e-4
        self.critic_lr = 3e-4
        self.alpha_lr = 3e-4
        self.initial_alpha = 1.0
        self.target_entropy: float | Literal["auto"] = "auto"
        self.critic_loss: CriticLoss = "mse"
        self.tau = 0.005
        self.target_update_interval = 1
        self.pixels: dict[str, Any] | None = None
        self.replay_capacity = 1_000_000
        self.updates_per_agent_step = 1.0
        self.num_steps_sampled_before_learning_starts = 1_000
        self.train_batch_size_per_learner = 256
        self.rollout_fragment_length = 1
        self.min_sample_timesteps_per_iteration = 200

    def training(
        self,
        *,
        hidden: tuple[int, ...] = NotProvided,
        actor_lr: float = NotProvided,
        critic_lr: float = NotProvided,
        alpha_lr: float = NotProvided,
        initial_alpha: float = NotProvided,
        target_entropy: float | Literal["auto"] = NotProvided,
        critic_loss: CriticLoss = NotProvided,
        tau: float = NotProvided,
        target_update_interval: int = NotProvided,
        pixels: dict[str, Any] | None = NotProvided,
        termination: Literal["ends", "stays"] = NotProvided,
        replay_capacity: int = NotProvided,
        updates_per_agent_step: float = NotProvided,
        num_steps_sampled_before_learning_starts: int = NotProvided,
        learning_seed: int | None = NotProvided,
        **kwargs: Any,
    ) -> "RatedSACConfig":
        """Set what concerns learning.

        Args:
            hidden: Hidden layers of actor and critics.
            actor_lr: Adam step size of the actor.
            critic_lr: Adam step size of the critics.
            alpha_lr: Adam step size of the temperature.
            initial_alpha: Entropy temperature at the start.
            target_entropy: In nats; `auto` is minus the number of action dimensions.
            critic_loss: `mse`, as published, or `huber`, as in RLlib's own SAC.
            tau: Polyak step of the target critics.
            target_update_interval: Gradient steps between two Polyak steps.
            pixels: Fields of a `PixelShape`, for a policy that sees pictures; None for one that sees numbers.
            termination: What a step that ends its episode is worth: its reward, or that again and again.
            replay_capacity: Agent steps that the replay holds.
            updates_per_agent_step: Gradient steps per agent step that RLlib's env runners collect.
            num_steps_sampled_before_learning_starts: Agent steps that they collect before the first.
            learning_seed: Seeds networks, noise and sampling, and leaves global generators alone. If None,
                `debugging(seed=...)` does so too; that one also seeds environments and, by RLlib, all global
                generators, and makes torch insist on deterministic operations.
            **kwargs: What every RLlib algorithm has: `gamma`, `train_batch_size_per_learner`, `grad_clip` and others.
        """
        super().training(**kwargs)
        return self._set_given(
            hidden=hidden,
            actor_lr=actor_lr,
            critic_lr=critic_lr,
            alpha_lr=alpha_lr,
            initial_alpha=initial_alpha,
            target_entropy=target_entropy,
            critic_loss=critic_loss,
            tau=tau,
            target_update_interval=target_update_interval,
            pixels=pixels,
            termination=termination,
            replay_capacity=replay_capacity,
            updates_per_agent_step=updates_per_agent_step,
            num_steps_sampled_before_learning_starts=num_steps_sampled_before_learning_starts,
            learning_seed=learning_seed,
        )

    def validate(self) -> None:
        super().validate()
        if self.critic_loss not in ("mse", "huber"):
            raise ValueError(f"critic_loss {self.critic_loss!r}: use 'mse' or 'huber'")
        if self.target_update_interval < 1:
            raise ValueError(f"target_update_interval {self.target_update_interval}: at least 1 update")
        for name, space in (("observation_space", self.observation_space), ("action_space", self.action_space)):
            if space is not None:
                check_space(name, space)
        shape = self.pixel_shape
        if shape is not None and self.is_online:
            raise ValueError("pixels: RLlib's env runners stack no frames; feed it by add_chunk() and update()")
        if shape is not None and shape.convolved_px < 1:
            raise ValueError(f"pixels: frames of {shape.px} pixels are too small for {shape.convolutions}")

    @property
    def pixel_shape(self) -> PixelShape | None:
        """What a policy of pictures sees; None for one that sees numbers alone."""
        return None if self.pixels is None else shape_of(self.pixels)

    @property
    def is_online(self) -> bool:
        """Whether RLlib collects experience: with an environment, but not with spaces only."""
        return self.env is not None

    def target_entropy_of(self, action_space: gymnasium.spaces.Box) -> float:
        """The target entropy in nats (`auto`: Haarnoja et al. 2018, appendix D)."""
        return -float(action_space.shape[0]) if self.target_entropy == "auto" else float(self.target_entropy)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=RatedSACModule if self.pixels is None else PixelSACModule)

    def get_default_learner_class(self) -> type[Learner]:
        return RatedSACLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "hidden": self.hidden,
            "initial_alpha": self.initial_alpha,
            "pixels": self.pixels,
        }
