"""Linear heads that ask a model what it must know to rate episodes; thrown away when it has learnt that."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actors.pocket.episodes import CELLS, NUM_FRAMES
from actors.pocket.episodes.model import LAYOUT
from actors.pocket.episodes.words import NUM_PORTABLE, THINGS
from actors.pocket.model import TEXT_WIDTH

NUM_FACTS = 3
"""Of `data.facts_of`."""
PAIR_WEIGHT = 3.0
"""How much a pair of things that is there counts: most are not."""


class SightHeads(nn.Module):
    """Linear heads on a picture's tokens: contents of each cell, what is in hand, which things lie side by side."""

    def __init__(self, weights: Tensor) -> None:
        """`weights` [contents]: how much each counts."""
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("pair_weight", torch.tensor(PAIR_WEIGHT))
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.contents = nn.Linear(TEXT_WIDTH, CELLS**2 // LAYOUT.num_tokens * len(weights))
        self.in_hand = nn.Linear(TEXT_WIDTH, len(THINGS) + 1)
        self.pairs = nn.Linear(TEXT_WIDTH, NUM_PORTABLE * len(THINGS))

    def loss(self, features: Tensor, contents: Tensor, in_hand: Tensor, pairs: Tensor) -> Tensor:
        """Of features [B, tokens, width], contents [B, CELLS, CELLS], in_hand [B] and pairs [B, portable, things]."""
        hidden = self.norm(features.float())
        # One token of each picture is enough, and cheaper.
        token = int(torch.randint(LAYOUT.num_tokens, (1,)))
        cells = self.contents(hidden[:, token]).view(-1, len(self.weights))
        seen = F.cross_entropy(cells, by_token(contents)[:, token].reshape(-1), self.weights)
        mean = hidden.mean(dim=1)
        held = F.cross_entropy(self.in_hand(mean), in_hand + 1)
        beside = F.binary_cross_entropy_with_logits(
            self.pairs(mean), pairs.flatten(1).float(), pos_weight=self.pair_weight, reduction="sum"
        ) / len(mean)
        return seen + held + 0.1 * beside


class GroundHeads(nn.Module):
    """Linear head on the text model's state at a sub-task's last word: what that is judged by, frame by frame, and
    whether it is done by then."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.facts = nn.Linear(TEXT_WIDTH, (NUM_FACTS + 1) * NUM_FRAMES)

    def loss(self, states: Tensor, facts: Tensor, done: Tensor | None) -> Tensor:
        """Mean of the facts' errors, of states [N, width], facts [N, NUM_FACTS, NUM_FRAMES] and done [N, NUM_FRAMES],
        or None where nobody did these sub-tasks."""
        said = self.facts(self.norm(states.float())).view(len(states), NUM_FACTS + 1, NUM_FRAMES)
        seen = F.binary_cross_entropy_with_logits(said[:, :NUM_FACTS], facts)
        return seen if done is None else seen + F.binary_cross_entropy_with_logits(said[:, NUM_FACTS], done)


def by_token(contents: Tensor) -> Tensor:
    """Contents [B, tokens, cells of a token], in the order of the tower's tokens, of cells [B, CELLS, CELLS]."""
    size = CELLS // LAYOUT.side
    cut = contents.view(-1, LAYOUT.side, size, LAYOUT.side, size)
    return cut.transpose(2, 3).reshape(len(contents), LAYOUT.num_tokens, -1)
