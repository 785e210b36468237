"""What our RLlib modules share: networks from a seed, and target critics that follow."""

from abc import abstractmethod

import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule


class SeededModule(TorchRLModule):
    """Draws its networks from `model_config["seed"]`, or from torch's global generator if that is None.

    A subclass makes them in `_build_networks`, among them `critic` and `target_critic` where it learns by critics.
    """

    def setup(self) -> None:
        seed = self.model_config["seed"]
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            self._build_networks()

    @abstractmethod
    def _build_networks(self) -> None:
        """Make the networks; torch's generator has the seed."""

    @torch.no_grad()
    def update_targets(self, tau: float) -> None:
        """Move the target critics towards the critics by a share of tau (Polyak)."""
        torch._foreach_lerp_(list(self.target_critic.parameters()), list(self.critic.parameters()), tau)
