"""How well a pocket rater's levels agree with the true stages."""

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from actors.pocket.answering import label_logits, spoken
from actors.pocket.frames.model import image_features
from actors.pocket.frames.questions import FrameQuestions, PocketTask, Question

MAX_ANALYSIS_TOKENS = 48
BATCH = 128


def features_of(model: Qwen2VLForConditionalGeneration, images: np.ndarray) -> Tensor:
    """Tokens [N, tokens, width] of images uint8 [N, 112, 112, 3]."""
    with torch.inference_mode():
        return torch.cat([image_features(model, part) for part in torch.from_numpy(images).split(BATCH)])


def answer_only_levels(
    model: Qwen2VLForConditionalGeneration,
    questions: FrameQuestions,
    task: PocketTask,
    features: Tensor,
    num_ratings: int,
    with_rubric: bool,
) -> np.ndarray:
    """Levels, int64 [N], chosen in one pass for pictures with `features`."""
    question = questions.answer_only(task, num_ratings, with_rubric)
    return np.concatenate([_choose(model, questions, question, len(seen), seen) for seen in features.split(BATCH)])


def two_turn_levels(
    model: Qwen2VLForConditionalGeneration,
    questions: FrameQuestions,
    task: PocketTask,
    said: list[str],
    num_ratings: int,
    with_rubric: bool,
) -> np.ndarray:
    """Levels, int64 [N], chosen from the analyses `said`."""
    level_of = {
        analysis: int(_choose(model, questions, questions.rating(task, num_ratings, with_rubric, analysis), 1, None)[0])
        for analysis in sorted(set(said))
    }
    return np.array([level_of[analysis] for analysis in said], dtype=np.int64)


def analyses_of(
    model: Qwen2VLForConditionalGeneration, questions: FrameQuestions, task: PocketTask, features: Tensor
) -> list[str]:
    """What the model says about pictures with `features`."""
    prompt = questions.analysis(task).prompt
    texts: list[str] = []
    for seen in features.split(BATCH):
        said = spoken(model, questions, [prompt] * len(seen), seen, MAX_ANALYSIS_TOKENS)
        texts.extend(questions.text(tokens) for tokens in said)
    return texts


def confusion(true_levels: np.ndarray, chosen_levels: np.ndarray, num_ratings: int) -> np.ndarray:
    """Counts, int64 [n, n]: a row for each true level, a column for each chosen one."""
    counts = np.zeros((num_ratings, num_ratings), dtype=np.int64)
    np.add.at(counts, (true_levels, chosen_levels), 1)
    return counts


def balanced_accuracy(counts: np.ndarray) -> float:
    """Mean over the levels that occur of the share of their pictures that got that level."""
    totals = counts.sum(axis=1)
    occurs = totals > 0
    return float((counts.diagonal()[occurs] / totals[occurs]).mean())


def _choose(
    model: Qwen2VLForConditionalGeneration,
    questions: FrameQuestions,
    question: Question,
    count: int,
    seen: Tensor | None,
) -> np.ndarray:
    """The likeliest of a question's answers, int64 [count], to that many pictures, or to none."""
    labels = [answer[0] for answer in question.answers]
    return label_logits(model, questions, [question.prompt] * count, seen, labels).argmax(dim=-1).numpy()
