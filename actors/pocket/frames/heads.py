"""Linear heads that ask a vision tower what it must know to rate frames; thrown away when it has learnt that."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actors.pocket.frames.data import NUM_MEASURES, NUM_STAGES
from actors.pocket.model import TEXT_WIDTH


class StageHeads(nn.Module):
    """Linear heads on the mean of a picture's tokens, a set for each task."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.all = nn.Linear(TEXT_WIDTH, num_tasks * (NUM_STAGES + NUM_MEASURES))

    def loss(self, features: Tensor, tasks: Tensor, stages: Tensor, measures: Tensor) -> Tensor:
        """Cross-entropy of the stage plus absolute error of the measures, of features [B, tokens, width]."""
        every = self.all(self.norm(features.mean(dim=1).float()))
        own = every.view(len(features), -1, NUM_STAGES + NUM_MEASURES)[torch.arange(len(features)), tasks]
        stage_loss = F.cross_entropy(own[:, :NUM_STAGES], stages)
        return stage_loss + 3.0 * F.smooth_l1_loss(own[:, NUM_STAGES:], measures, beta=0.1)
