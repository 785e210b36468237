"""Training of the pocket rater of windows: see cells, compare frames, speak, then all together.

1. `cells`: the vision tower's blocks that look at one frame learn, patch by patch, what lies in each cell, and where
   the agent is. Pictures of nine unrelated frames show most for the cost.
2. `frames`: the whole tower learns from real windows where the agent is in each frame, and what the action after it
   did, as far as that can be seen without the instruction.
3. `text`: the text model learns every question on the tower's frozen tokens. Where it is about to judge an action, a
   linear head must tell what it judges by: the action's name, where it led from where, and where the goal lies. From
   the judgements alone it learns to look these things up no faster than by chance.
4. `joint`: both learn together.

The linear heads of phases 1 to 3 are thrown away.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.babyai.settings import ACTION_NAMES
from actors.rating.pocket.model import next_token_states
from actors.rating.pocket.together import ALONE, OnStep, Peers
from actors.rating.pocket.tokenizer import MERGE
from actors.rating.pocket.training import half_precision, steps
from actors.rating.pocket.windows import NUM_FRAMES
from actors.rating.pocket.windows.data import TiledTrajectory, TiledWindow, picture, windows_in
from actors.rating.pocket.windows.model import (
    FRAME_TOKENS,
    FULL_BLOCK,
    SIDE,
    VISION_WIDTH,
    WIDTH,
    image_features,
    in_reading_order,
    patch_states,
)
from actors.rating.pocket.windows.questions import Conversation, WindowQuestions, batch_of
from actors.rating.pocket.windows.words import SIGHTS
from algorithms.label_settings import WindowSettings

CELLS = 2 * MERGE * SIDE
"""Cells on a side of a frame: two by two in each patch."""
PLACES = (CELLS, CELLS, 4)
"""Rows, columns and directions of an agent."""
FACTS = (len(SIGHTS), len(ACTION_NAMES), *PLACES, *PLACES, CELLS, CELLS)
"""Numbers of values of the facts that an action is judged by: what is seen of it, its name, the agent's place before
and after it, row and column of the goal."""
FACTS_WEIGHT = 0.2
MODES = ("two_turns", "single_turn", "one_score")
MODE_SHARES = (0.6, 0.15, 0.25)
MAX_SHIFT = WindowSettings().num_actions
NOTHING_LEARNT = -100


@dataclass(frozen=True)
class WindowPlan:
    """How long each phase lasts and how large its steps are."""

    cell_steps: int = 600
    cell_batch: int = 12
    frame_steps: int = 1200
    frame_batch: int = 16
    text_pool: int = 4000
    """Windows whose tokens are computed once."""
    text_steps: int = 2500
    text_batch: int = 12
    joint_steps: int = 150
    joint_batch: int = 12
    learning_rate: float = 2e-3
    joint_learning_rate: float = 6e-4
    weight_decay: float = 0.05


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
        self.norm = nn.LayerNorm(WIDTH)
        self.contents = nn.Linear(WIDTH, (CELLS // SIDE) ** 2 * len(weights))
        self.place = nn.Linear(WIDTH, sum(PLACES) + NUM_FRAMES)
        self.sight = nn.Linear(WIDTH, len(SIGHTS))

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
        sight = F.cross_entropy(self.sight(mean).view(-1, len(SIGHTS)), sights.view(-1))
        return 0.5 * seen + 0.3 * placed + 2.0 * sight


class ActionHeads(nn.Module):
    """Linear head on the states from which the text model judges an action: facts about that action."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.facts = nn.Linear(WIDTH, sum(FACTS))

    def loss(self, states: Tensor, facts: Tensor) -> Tensor:
        """Sum of the facts' cross-entropies, of states [N, width] and facts [N, 10]; -100 where one is unknown."""
        parts = self.facts(self.norm(states)).float().split(FACTS, dim=-1)
        known = (facts >= 0).sum(dim=0).clamp(min=1)
        sums = [F.cross_entropy(part, fact, reduction="sum") for part, fact in zip(parts, facts.T, strict=True)]
        return (torch.stack(sums) / known).sum()


def facts_of(window: TiledWindow, place: int) -> list[int]:
    """What the action at a place of a window is judged by; the order is that of FACTS."""
    trajectory, action = window.trajectory, window.actions[place]
    before, after = window.window.frames[place], window.window.frames[place + 1]
    name = ACTION_NAMES.index(trajectory.action_names[action])
    places, goal = trajectory.places, trajectory.goals[before]
    return [int(trajectory.sights[action]), name, *places[before].tolist(), *places[after].tolist(), *goal.tolist()]


@dataclass(frozen=True)
class Drawn:
    """A batch of windows."""

    windows: list[TiledWindow]
    images: Tensor
    """uint8 [B, 252, 252, 3]."""
    contents: Tensor
    places: Tensor
    sights: Tensor


class WindowTrainer:
    """Trains one model on trajectories drawn of tiles."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        questions: WindowQuestions,
        trajectories: list[TiledTrajectory],
        pixels: np.ndarray,
        contents: np.ndarray,
        plan: WindowPlan,
        seed: int,
        on_step: OnStep,
        peers: Peers = ALONE,
    ) -> None:
        """`trajectories` are this process's own; the plan's batches are shared among `peers`.
        `pixels` uint8 [codes, 7, 7, 3] and `contents` int64 [codes] of each tile."""
        self._model, self._questions, self._plan, self._on_step = model, questions, plan, on_step
        self._peers = peers
        self._trajectories, self._pixels, self._contents = trajectories, pixels, contents
        # Longer ones have more windows, and are drawn more often.
        lengths = np.array([len(one) for one in trajectories], dtype=np.float64)
        self._shares = lengths / lengths.sum()
        model.set_attn_implementation({"text_config": "sdpa"})
        self._rng = np.random.default_rng([seed, peers.rank])
        weights = _weights(trajectories, contents)
        self.cell_heads, self.frame_heads, self.action_heads = CellHeads(weights), FrameHeads(weights), ActionHeads()
        peers.start_equal([model, self.cell_heads, self.frame_heads, self.action_heads])

    def fit(self) -> None:
        """All phases."""
        self.fit_cells()
        self.fit_frames()
        self.fit_text()
        self.fit_jointly()

    def fit_cells(self) -> None:
        """Phase 1."""
        tower, plan = self._model.model.visual, self._plan
        parameters = [*tower.patch_embed.parameters(), *self.cell_heads.parameters()]
        parameters += [weight for block in tower.blocks[:FULL_BLOCK] for weight in block.parameters()]
        for step in self._steps("cells", parameters, plan.cell_steps, plan.learning_rate):
            images, contents, places = self._draw_frames(self._peers.share(plan.cell_batch))
            step(self.cell_heads.loss(patch_states(self._model, images, FULL_BLOCK), contents, places))

    def fit_frames(self) -> None:
        """Phase 2."""
        parameters = [*self._model.model.visual.parameters(), *self.frame_heads.parameters()]
        for step in self._steps("frames", parameters, self._plan.frame_steps, self._plan.learning_rate):
            drawn = self._draw(self._peers.share(self._plan.frame_batch))
            step(self._frame_loss(drawn, image_features(self._model, drawn.images)))

    def fit_text(self) -> None:
        """Phase 3."""
        windows: list[TiledWindow] = []
        features: list[Tensor] = []
        with torch.no_grad(), half_precision():
            pool = self._peers.share(self._plan.text_pool)
            while len(windows) < pool:
                drawn = self._draw(min(32, pool - len(windows)))
                windows += drawn.windows
                features.append(image_features(self._model, drawn.images).float())
        known = torch.cat(features)
        parameters = [*self._model.model.language_model.parameters(), *self.action_heads.parameters()]
        for step in self._steps("text", parameters, self._plan.text_steps, self._plan.learning_rate):
            some = self._rng.integers(len(windows), size=self._peers.share(self._plan.text_batch))
            step(self._text_loss([windows[index] for index in some], known[torch.from_numpy(some)]))

    def fit_jointly(self) -> None:
        """Phase 4."""
        parameters = [*self._model.parameters(), *self.frame_heads.parameters(), *self.action_heads.parameters()]
        for step in self._steps("joint", parameters, self._plan.joint_steps, self._plan.joint_learning_rate):
            drawn = self._draw(self._peers.share(self._plan.joint_batch))
            features = image_features(self._model, drawn.images)
            step(0.3 * self._frame_loss(drawn, features) + self._text_loss(drawn.windows, features))

    def _frame_loss(self, drawn: Drawn, features: Tensor) -> Tensor:
        return self.frame_heads.loss(features, drawn.contents, drawn.places, drawn.sights)

    def _text_loss(self, windows: list[TiledWindow], features: Tensor) -> Tensor:
        mode = MODES[int(self._rng.choice(len(MODES), p=MODE_SHARES))]
        conversations = [self._conversation(mode, window) for window in windows]
        batch = batch_of(conversations, self._questions.image_token)
        seen = in_reading_order(features).flatten(0, 1)
        states = next_token_states(self._model, batch.tokens, batch.positions, seen)
        learnt = batch.targets != NOTHING_LEARNT
        said = F.cross_entropy(self._model.lm_head(states[learnt]).float(), batch.targets[learnt])
        rows, columns = (batch.judges >= 0).nonzero(as_tuple=True)
        judged = zip(rows.tolist(), batch.judges[rows, columns].tolist(), strict=True)
        facts = torch.tensor([facts_of(windows[row], place) for row, place in judged])
        return said + FACTS_WEIGHT * self.action_heads.loss(states[rows, columns], facts)

    def _conversation(self, mode: str, window: TiledWindow) -> Conversation:
        if mode == "one_score":
            return self._questions.one_score(window, int(self._rng.integers(len(window.actions))))
        return getattr(self._questions, mode)(window)

    def _draw(self, count: int) -> Drawn:
        """Windows as labelling cuts them, of trajectories that begin at a random one of their first actions."""
        windows = []
        for index in self._rng.choice(len(self._trajectories), size=count, p=self._shares):
            trajectory = self._trajectories[index]
            skipped = int(self._rng.integers(min(MAX_SHIFT, len(trajectory))))
            cut = windows_in(trajectory.without(skipped))
            windows.append(cut[int(self._rng.integers(len(cut)))])
        contents = np.zeros((count, NUM_FRAMES, CELLS, CELLS), dtype=np.int64)
        places = np.full((count, NUM_FRAMES, len(PLACES)), NOTHING_LEARNT)
        sights = np.full((count, NUM_FRAMES), NOTHING_LEARNT)
        for row, window in enumerate(windows):
            shown = list(window.window.frames)
            contents[row, : len(shown)] = self._contents[window.frames]
            places[row, : len(shown)] = window.trajectory.places[shown]
            sights[row, : len(shown) - 1] = window.trajectory.sights[shown[:-1]]
        images = np.stack([picture(window.frames, self._pixels) for window in windows])
        return Drawn(windows, *(torch.from_numpy(array) for array in (images, contents, places, sights)))

    def _draw_frames(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures of nine frames that have nothing to do with each other, contents and places."""
        chosen = self._rng.choice(len(self._trajectories), size=(count, NUM_FRAMES), p=self._shares)
        codes, places = [], []
        for row in chosen:
            trajectories = [self._trajectories[index] for index in row]
            times = [int(self._rng.integers(len(one.codes))) for one in trajectories]
            codes.append(np.stack([one.codes[time] for one, time in zip(trajectories, times, strict=True)]))
            places.append(np.stack([one.places[time] for one, time in zip(trajectories, times, strict=True)]))
        images = np.stack([picture(frames, self._pixels) for frames in codes])
        contents = self._contents[np.stack(codes)]
        return torch.from_numpy(images), torch.from_numpy(contents), torch.from_numpy(np.stack(places))

    def _steps(
        self, phase: str, parameters: list[Tensor], num_steps: int, peak: float
    ) -> Iterator[Callable[[Tensor], None]]:
        decay, on_step = self._plan.weight_decay, lambda *done: self._on_step(phase, *done)
        return steps(parameters, num_steps, peak, decay, on_step, self._peers)


def _weights(trajectories: list[TiledTrajectory], contents: np.ndarray) -> Tensor:
    """Weights float32 [contents]: what is rare counts more, above all the agent. The mean over all cells is 1."""
    counts = np.bincount(
        contents[np.concatenate([one.codes for one in trajectories])].ravel(), minlength=contents.max() + 1
    )
    weights = 1 / np.sqrt(counts + counts.sum() / 10_000)
    return torch.from_numpy(weights * counts.sum() / (weights * counts).sum()).float()


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
