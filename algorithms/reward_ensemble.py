"""The ensemble that makes one reward of several networks."""

from collections.abc import Sequence

import torch
from torch import nn

from algorithms.language_networks import PolicyShape
from algorithms.reward_networks import FrameRewardNetwork, StateRewardNetwork, as_numbers
from algorithms.reward_reading import ReadingRewardNetwork
from algorithms.settings import RewardModelSettings


class RewardEnsemble(nn.Module):
    """Several networks whose mean is the reward.

    The rating loss sees rewards only up to a scale and an offset, so each member's are arbitrary, and in practice stay
    near a thousandth, where they started. `reward_scale` settles both unless it is `raw`: a member's lowest and highest
    output on rated inputs become 0 and 1, as inside the loss, and what lies outside is cut there. `raw` publishes the
    outputs as they are (reference code).
    """

    lowest: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        settings: RewardModelSettings,
        observation_size: int | None,
        seed: int,
        reads: PolicyShape | None = None,
    ) -> None:
        """`reads`: what networks that read the instruction fit; None for such as do not.

        Raises ValueError if the network sees states and `observation_size` is absent, or if images are too small.
        """
        super().__init__()
        self._raw = settings.reward_scale == "raw"
        generator = torch.Generator().manual_seed(seed)
        self.members = nn.ModuleList(
            _new_member(settings, observation_size, generator, reads) for _ in range(settings.num_members)
        )
        # A scale of 0 makes all rewards 0: the answer of a model that knows nothing.
        self.register_buffer("lowest", torch.zeros(settings.num_members))
        self.register_buffer("scale", torch.zeros(settings.num_members))

    def forward(self, inputs: torch.Tensor, reads: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Rewards float32 [N]: in [0, 1] under `rated_range`, in (-1, 1) under `raw`.

        `reads`: of members that read, what each made of the N instructions.
        """
        outputs = self.outputs(inputs, reads)
        if not self._raw:
            outputs = ((outputs - self.lowest[:, None]) * self.scale[:, None]).clamp(0.0, 1.0)
        # One after the other: how a reduction orders its terms may depend on how many columns there are.
        return sum(outputs[1:], outputs[0]) / len(outputs)

    def outputs(self, inputs: torch.Tensor, reads: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Each member's own output, float32 [members, N] in (-1, 1)."""
        if reads is None:
            if isinstance(self.members[0], FrameRewardNetwork):
                inputs = as_numbers(inputs)
            return torch.stack([member(inputs) for member in self.members])
        return torch.stack([member(inputs, read) for member, read in zip(self.members, reads, strict=True)])

    def set_range(self, lowest: torch.Tensor, highest: torch.Tensor) -> None:
        """Each member's lowest and highest output on rated inputs, [members] each; equal ones make its reward 0."""
        self.lowest.copy_(lowest)
        width = highest - lowest
        self.scale.copy_(torch.where(width > 0.0, 1.0 / width, 0.0))


def _new_member(
    settings: RewardModelSettings,
    observation_size: int | None,
    generator: torch.Generator,
    reads: PolicyShape | None,
) -> FrameRewardNetwork | StateRewardNetwork | ReadingRewardNetwork:
    if reads is not None:
        return ReadingRewardNetwork(reads, settings.hidden, generator)
    if settings.input == "frame":
        return FrameRewardNetwork(settings.network, settings.image_px, generator)
    if observation_size is None:
        raise ValueError("reward_model.input 'state' needs the size of an observation")
    return StateRewardNetwork(observation_size, settings.hidden, generator)
