"""A reward network that reads the instruction, by the networks of policies that do."""

import torch
from torch import nn

from algorithms.language_networks import Asked, LanguageEncoder, PolicyShape, seen_by
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.reward_networks import LAST_LAYER_BOUND


class ReadingRewardNetwork(nn.Module):
    """From what is seen, and the instruction, to a reward in (-1, 1).

    Instructions are read apart from what is seen, so that one that is asked of many steps is read once.
    """

    def __init__(self, shape: PolicyShape, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self._shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            self.encoder = LanguageEncoder(shape, PolicyNetworkSettings(hidden=hidden))
            self.head = nn.Linear(self.encoder.num_features, 1)
            nn.init.uniform_(self.head.weight, -LAST_LAYER_BOUND, LAST_LAYER_BOUND)
            nn.init.zeros_(self.head.bias)

    def read(self, words: torch.Tensor) -> torch.Tensor:
        """What becomes of instructions int32 [N, words], [N, size]."""
        return self.encoder.instruction(Asked(words, torch.arange(len(words), device=words.device)))

    def standardise_by(self, states: torch.Tensor) -> None:
        """Take shift and scale of plain numbers from rated states [N, observation]; what never varied is ignored."""
        if self._shape.kind == "vector":
            deviation, mean = torch.std_mean(states, dim=0, correction=0)
            self.encoder.observation.shift.copy_(mean)
            self.encoder.observation.scale.copy_(torch.where(deviation > 1e-6, 1.0 / deviation.clamp(min=1e-6), 0.0))

    def forward(self, inputs: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Rewards float32 [N] of frames uint8 [N, px, px, 3] or states float32 [N, observation], in the light of what
        was `read`, [N, size]."""
        seen = inputs[:, None] if self._shape.kind == "image" else seen_by(self._shape, inputs)
        return torch.tanh(self.head(self.encoder.see(seen, read))).squeeze(1)
