"""Training of the pocket rater of windows: see cells, compare frames, speak, then all together.

1. `cells`: the vision tower's blocks that look at one frame learn, patch by patch, what lies in each cell, and where
   the agent is. Pictures of nine unrelated frames show most for the cost.
2. `frames`: the whole tower learns from real windows where the agent is in each frame, and what the action after it
   did, as far as that can be seen without the instruction.
3. `text`: the text model learns every question on the tower's frozen tokens, and to judge as its teacher does. Where
   it is about to judge an action, a linear head must tell what it judges by.
4. `joint`: both learn together.

The linear heads of phases 1 to 3 are thrown away.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.model import next_token_states
from actors.pocket.questions import padded
from actors.pocket.together import ALONE, OnStep, Peers
from actors.pocket.training import Trainer, answer_loss, half_precision
from actors.pocket.windows import NUM_FRAMES
from actors.pocket.windows.data import Levels, TiledTrajectory, TiledWindow, picture, windows_in
from actors.pocket.windows.heads import CELLS, NOTHING_LEARNT, PLACES, ActionHeads, CellHeads, FrameHeads
from actors.pocket.windows.model import FULL_BLOCK, image_features, in_reading_order, patch_states
from actors.pocket.windows.questions import WindowConversation, WindowQuestions
from actors.pocket.windows.teacher import Teacher, facts_of
from actors.pocket.windows.words import CHANGED_THINGS, NOTHING
from algorithms.label_settings import WindowSettings

FACTS_WEIGHT = 1.0
MODES = ("two_turns", "single_turn", "one_score")
MODE_SHARES = (0.6, 0.15, 0.25)
MAX_SHIFT = WindowSettings().num_actions
CHOICE = 2
"""A batch is chosen from so many times as many windows."""
RARE_WEIGHT = 2.0
"""How much likelier a window is chosen for each of its actions that did nothing or changed things. Those are few, and
easily taken for one another; the teacher's words on a window do not depend on how often it is drawn."""


@dataclass(frozen=True)
class WindowPlan:
    """How long each phase lasts and how large its steps are."""

    cell_steps: int = 600
    cell_batch: int = 12
    frame_steps: int = 2400
    frame_batch: int = 16
    text_pool: int = 12000
    """Windows whose tokens are computed once."""
    text_steps: int = 4000
    text_batch: int = 12
    joint_steps: int = 600
    joint_batch: int = 12
    learning_rate: float = 2e-3
    joint_learning_rate: float = 6e-4
    weight_decay: float = 0.05


@dataclass(frozen=True)
class Drawn:
    """A batch of windows."""

    windows: list[TiledWindow]
    images: Tensor
    """uint8 [B, 252, 252, 3]."""
    contents: Tensor
    places: Tensor
    sights: Tensor


class WindowTrainer(Trainer):
    """Trains one model on trajectories drawn of tiles."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        questions: WindowQuestions,
        levels: Levels,
        teacher: Teacher,
        plan: WindowPlan,
        seed: int,
        on_step: OnStep,
        peers: Peers = ALONE,
    ) -> None:
        """`levels` are this process's own; the plan's batches are shared among `peers`."""
        self._questions, self._teacher, self._plan = questions, teacher, plan
        self._trajectories, self._pixels, self._contents = levels.trajectories, levels.pixels, levels.contents
        # Longer ones have more windows, and are drawn more often.
        lengths = np.array([len(one) for one in self._trajectories], dtype=np.float64)
        self._shares = lengths / lengths.sum()
        model.set_attn_implementation({"text_config": "sdpa"})
        weights = _weights(self._trajectories, self._contents)
        self.cell_heads, self.frame_heads = CellHeads(weights), FrameHeads(weights)
        self.action_heads = ActionHeads(len(teacher.action_names))
        heads = [self.cell_heads, self.frame_heads, self.action_heads]
        super().__init__(model, heads, plan.weight_decay, seed, on_step, peers)

    def fit(self) -> None:
        """All phases."""
        self.fit_cells()
        self.fit_frames()
        self.fit_text()
        self.fit_jointly()

    def fit_cells(self) -> None:
        """Phase 1."""
        tower, plan = self.model.model.visual, self._plan

        def loss() -> Tensor:
            images, contents, places = self._draw_frames(self._peers.share(plan.cell_batch))
            return self.cell_heads.loss(patch_states(self.model, images, FULL_BLOCK), contents, places)

        modules = [tower.patch_embed, self.cell_heads, *tower.blocks[:FULL_BLOCK]]
        self._learn("cells", modules, plan.cell_steps, plan.learning_rate, loss)

    def fit_frames(self) -> None:
        """Phase 2."""

        def loss() -> Tensor:
            drawn = self.draw(self._peers.share(self._plan.frame_batch))
            return self._frame_loss(drawn, image_features(self.model, drawn.images))

        modules = [self.model.model.visual, self.frame_heads]
        self._learn("frames", modules, self._plan.frame_steps, self._plan.learning_rate, loss)

    def fit_text(self) -> None:
        """Phase 3."""
        windows: list[TiledWindow] = []
        features: list[Tensor] = []
        with torch.no_grad(), half_precision():
            pool = self._peers.share(self._plan.text_pool)
            while len(windows) < pool:
                drawn = self.draw(min(32, pool - len(windows)))
                windows += drawn.windows
                features.append(image_features(self.model, drawn.images).float())
        known, effects = torch.cat(features), self._teacher.judge(windows)

        def loss() -> Tensor:
            some = self._rng.integers(len(windows), size=self._peers.share(self._plan.text_batch))
            asked, said = [windows[index] for index in some], [effects[index] for index in some]
            return self._text_loss(asked, said, known[torch.from_numpy(some)])

        modules = [self.model.model.language_model, self.action_heads]
        self._learn("text", modules, self._plan.text_steps, self._plan.learning_rate, loss)

    def fit_jointly(self) -> None:
        """Phase 4."""

        def loss() -> Tensor:
            drawn = self.draw(self._peers.share(self._plan.joint_batch))
            features = image_features(self.model, drawn.images)
            effects = self._teacher.judge(drawn.windows)
            return 0.3 * self._frame_loss(drawn, features) + self._text_loss(drawn.windows, effects, features)

        modules = [self.model, self.frame_heads, self.action_heads]
        self._learn("joint", modules, self._plan.joint_steps, self._plan.joint_learning_rate, loss)

    def _frame_loss(self, drawn: Drawn, features: Tensor) -> Tensor:
        return self.frame_heads.loss(features, drawn.contents, drawn.places, drawn.sights)

    def _text_loss(self, windows: list[TiledWindow], effects: list[list[int]], features: Tensor) -> Tensor:
        mode = MODES[int(self._rng.choice(len(MODES), p=MODE_SHARES))]
        conversations = [self._conversation(mode, *one) for one in zip(windows, effects, strict=True)]
        batch = self._questions.batch_of(conversations)
        seen = in_reading_order(features).flatten(0, 1)
        states = next_token_states(self.model, batch.tokens, batch.positions, seen)
        judges = torch.from_numpy(padded([one.judges[1:] for one in conversations], fill=-1))
        rows, columns = (judges >= 0).nonzero(as_tuple=True)
        known = [torch.from_numpy(facts_of(window, self._teacher.action_names)) for window in windows]
        judged = zip(rows.tolist(), judges[rows, columns].tolist(), strict=True)
        facts = torch.stack([known[row][place] for row, place in judged])
        judging = FACTS_WEIGHT * self.action_heads.loss(states[rows, columns], facts)
        return answer_loss(self.model, states, batch) + judging

    def _conversation(self, mode: str, window: TiledWindow, effects: list[int]) -> WindowConversation:
        if mode == "one_score":
            return self._questions.one_score(window, int(self._rng.integers(len(window.actions))), effects)
        return getattr(self._questions, mode)(window, effects)

    def draw(self, count: int) -> Drawn:
        """Windows as labelling cuts them, of trajectories that begin at a random one of their first actions; those with
        rare actions more often."""
        some = []
        for index in self._rng.choice(len(self._trajectories), size=CHOICE * count, p=self._shares):
            trajectory = self._trajectories[index]
            skipped = int(self._rng.integers(min(MAX_SHIFT, len(trajectory))))
            cut = windows_in(trajectory.without(skipped))
            some.append(cut[int(self._rng.integers(len(cut)))])
        rare = np.array([np.isin(window.sights, (NOTHING, CHANGED_THINGS)).sum() for window in some])
        weights = 1 + RARE_WEIGHT * rare
        chosen = self._rng.choice(len(some), size=count, replace=False, p=weights / weights.sum())
        windows = [some[index] for index in chosen]
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


def _weights(trajectories: list[TiledTrajectory], contents: np.ndarray) -> Tensor:
    """Weights float32 [contents]: what is rare counts more, above all the agent. The mean over all cells is 1."""
    counts = np.bincount(
        contents[np.concatenate([one.codes for one in trajectories])].ravel(), minlength=contents.max() + 1
    )
    weights = 1 / np.sqrt(counts + counts.sum() / 10_000)
    return torch.from_numpy(weights * counts.sum() / (weights * counts).sum()).float()
