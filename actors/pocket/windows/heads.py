"""Linear heads that ask a model what it must know to judge actions; thrown away when it has learnt that."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actors.pocket.model import TEXT_WIDTH
from actors.pocket.pictures import MERGE
from actors.pocket.windows import NUM_FRAMES
from actors.pocket.windows.model import LAYOUT, VISION_WIDTH
from actors.pocket.windows.teacher import ABSENT, NEIGHBOURS
from actors.pocket.windows.words import SIGHTS

SIDE, FRAME_TOKENS = LAYOUT.frame_side, LAYOUT.frame_tokens
CELLS = 2 * MERGE * SIDE
"""Cells on a side of a frame: two by two in each patch."""
PLACES = (CELLS, CELLS, 4)
"""Rows, columns and directions of an agent."""
SIGHT_WEIGHTS = (3.0, 1.0, 1.5, 1.5, 3.0)
"""How much each of SIGHTS counts: a thing that is gone, or is not, shows least."""
NOTHING_LEARNT = ABSENT
"""Targets that torch's losses pass over."""


class CellHeads(nn.Module):
    """Linear heads on the patches of single frames: contents of each cell, place of the agent, number of the frame."""

    def __init__(self, weights: Tensor) -> None:
        """`weights` [contents]: how much each counts."""
        super().__init__()
        self.register_buffer("weights", weights)
        self.norm = nn.LayerNorm(VISION_WIDTH)
        self.contents = nn.Linear(VISION_WIDTH, 4 * len(weights))
        self.place = nn.Linear(VISION_WIDTH, sum(PLACES) + NUM_FRAMES)

    def loss(self, states: Tensor, contents: Tensor, places: Tensor) -> Tensor:
        """Of states [B, patches, width], contents [B, frames, 12, 12] and places [B, frames, 3]."""
        batch = len(states)
        hidden = self.norm(states).view(batch, NUM_FRAMES, -1, VISION_WIDTH)
        cells = self.contents(hidden).view(-1, self.contents.out_features // 4)
        seen = F.cross_entropy(cells, _by_patch(contents).reshape(-1), self.weights)
        # Any patch of a frame should know the frame's agent and number.
        return 3.0 * seen + _place_loss(self.place(hidden.mean(dim=2)).flatten(0, 1), places)


class FrameHeads(nn.Module):
    """Linear heads on the tokens of a window's frames: contents, number, place of the agent, what the action after it
    changed."""

    def __init__(self, weights: Tensor) -> None:
        """`weights` [contents]: how much each counts."""
        super().__init__()
        self.register_buffer("weights", weights)
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.contents = nn.Linear(TEXT_WIDTH, (CELLS // SIDE) ** 2 * len(weights))
        self.place = nn.Linear(TEXT_WIDTH, sum(PLACES) + NUM_FRAMES)
        self.sight = nn.Linear(TEXT_WIDTH, len(SIGHTS))
        self.register_buffer("sight_weights", torch.tensor(SIGHT_WEIGHTS))

    def loss(self, features: Tensor, contents: Tensor, places: Tensor, sights: Tensor) -> Tensor:
        """Of features [B, frames, tokens, width], contents [B, frames, 12, 12], places [B, frames, 3] and sights
        [B, frames]; -100 where there is none."""
        hidden = self.norm(features)
        # One token of each frame is enough, and cheaper.
        token = int(torch.randint(FRAME_TOKENS, (1,)))
        cells = self.contents(hidden[:, :, token]).view(-1, self.contents.out_features // (CELLS // SIDE) ** 2)
        seen = F.cross_entropy(cells, _by_token(contents)[:, :, token].reshape(-1), self.weights)
        mean = hidden.mean(dim=2)
        placed = _place_loss(self.place(mean).flatten(0, 1), places)
        sight = F.cross_entropy(self.sight(mean).view(-1, len(SIGHTS)), sights.view(-1), self.sight_weights)
        return 0.5 * seen + 0.3 * placed + 4.0 * sight


class ActionHeads(nn.Module):
    """Linear head on the states from which the text model judges an action: the facts that it is judged by. From the
    judgements alone these are found no faster than by chance."""

    def __init__(self, num_names: int) -> None:
        """`num_names`: how many names actions may have."""
        super().__init__()
        self.sizes = (len(SIGHTS), num_names) * len(NEIGHBOURS)
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.facts = nn.Linear(TEXT_WIDTH, sum(self.sizes))

    def loss(self, states: Tensor, facts: Tensor) -> Tensor:
        """Mean of the facts' cross-entropies, of states [N, width] and `teacher.facts_of` [N, 10]."""
        parts = self.facts(self.norm(states)).float().split(self.sizes, dim=-1)
        losses = [F.cross_entropy(part, fact, reduction="sum") for part, fact in zip(parts, facts.T, strict=True)]
        return torch.stack(losses).sum() / (facts != NOTHING_LEARNT).sum()


def _place_loss(said: Tensor, places: Tensor) -> Tensor:
    """Cross-entropies of row, column, direction and the frame's number, of logits [B * frames, 37] and places [B,
    frames, 3]; -100 where there is no frame."""
    flat = places.view(-1, 3)
    numbers = torch.arange(NUM_FRAMES).repeat(len(places)).where(flat[:, 0] >= 0, NOTHING_LEARNT)
    truth = (*flat.unbind(1), numbers)
    parts = said.split((*PLACES, NUM_FRAMES), dim=1)
    losses = [F.cross_entropy(part, true) for part, true in zip(parts, truth, strict=True)]
    return torch.stack(losses).sum()


def _by_patch(contents: Tensor) -> Tensor:
    """Contents [B, frames, patches, 4] in the order of the tower's patches, of cells [B, frames, 12, 12]."""
    cut = contents.view(*contents.shape[:2], SIDE, MERGE, 2, SIDE, MERGE, 2)
    return cut.permute(0, 1, 2, 5, 3, 6, 4, 7).reshape(*contents.shape[:2], -1, 4)


def _by_token(contents: Tensor) -> Tensor:
    """Contents [B, frames, FRAME_TOKENS, 16] in the order of the tower's tokens, of cells [B, frames, 12, 12]."""
    size = CELLS // SIDE
    cut = contents.view(*contents.shape[:2], SIDE, size, SIDE, size)
    return cut.transpose(3, 4).reshape(*contents.shape[:2], FRAME_TOKENS, -1)
