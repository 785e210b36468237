"""How well the pocket CLIP's similarities agree with the true stages, asked as a run asks it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from actors.pocket.frames.data import TaskFrames
from actors.pocket.similarity.sentences import DONE, TaskSentences
from actors.rating.labellers.clip import ClipModel, goal_baseline_reward
from actors.rating.labellers.settings import ModelSettings
from algorithms.images import encode_png

BATCH = 64
MIDDLE_ALPHA = 0.5
"""The strength whose reward is cut into success and failure."""


@dataclass(frozen=True)
class Judged:
    """How one task's held-out frames were compared."""

    task: str
    correlations: dict[float, float]
    """By strength of regularisation: Kendall's tau-b of VLM-RM's reward and the true stage."""
    success_accuracy: float
    """Balanced accuracy of "done", where the reward is cut in two at the best place for these frames."""
    object_accuracy: float
    """Share of frames whose likeliest sentence on the object is the true one."""


def judged(folder: Path, task: str, sentences: TaskSentences, frames: TaskFrames, alphas: Sequence[float]) -> Judged:
    """Judge the checkpoint in `folder` on frames of a task; one of `alphas` is `MIDDLE_ALPHA`."""
    model = ClipModel(ModelSettings(model=str(folder), device="cpu", dtype="float32"), "checkpoint")
    seen = model.frames([encode_png(image) for image in frames.images], BATCH)
    goal, baseline = model.text(sentences.goal), model.text(sentences.scene)
    rewards = {alpha: goal_baseline_reward(seen, goal, baseline, alpha).numpy() for alpha in alphas}
    things = torch.stack([model.text(text) for text in sentences.words.object])
    said = (seen @ things.T).argmax(dim=1).numpy()
    return Judged(
        task,
        {alpha: float(kendalltau(reward, frames.stages).statistic) for alpha, reward in rewards.items()},
        best_cut_accuracy(rewards[MIDDLE_ALPHA], frames.stages == DONE),
        float(np.mean(said == frames.object_states)),
    )


def best_cut_accuracy(rewards: np.ndarray, done: np.ndarray) -> float:
    """Balanced accuracy of `rewards` [N] above a cut for `done` bool [N], at the cut where it is best."""
    order = np.argsort(-rewards, kind="stable")
    sorted_rewards, sorted_done = rewards[order], done[order]
    hits = np.cumsum(sorted_done) / max(1, done.sum())
    alarms = np.cumsum(~sorted_done) / max(1, (~done).sum())
    # Equal rewards lie on one side of any cut.
    ends = np.append(sorted_rewards[1:] != sorted_rewards[:-1], True)
    return float(((hits + 1 - alarms) / 2)[ends].max())
