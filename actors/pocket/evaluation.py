"""How well a pocket rater's levels agree with the true stages."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from actors.pocket.model import image_features, next_token_states
from actors.pocket.questions import PocketTask, Question, Questions, token_batch

MAX_ANALYSIS_TOKENS = 48
BATCH = 128


def features_of(model: Qwen2VLForConditionalGeneration, images: np.ndarray) -> Tensor:
    """Tokens [N, tokens, width] of images uint8 [N, 112, 112, 3]."""
    with torch.inference_mode():
        return torch.cat([image_features(model, torch.from_numpy(images[rows])) for rows in _rows(len(images))])


def answer_only_levels(
    model: Qwen2VLForConditionalGeneration,
    questions: Questions,
    task: PocketTask,
    features: Tensor,
    num_ratings: int,
    with_rubric: bool,
) -> np.ndarray:
    """Levels, int64 [N], chosen in one pass for pictures with `features`."""
    return _choose(model, questions.answer_only(task, num_ratings, with_rubric), features)


def two_turn_levels(
    model: Qwen2VLForConditionalGeneration,
    questions: Questions,
    task: PocketTask,
    said: list[str],
    num_ratings: int,
    with_rubric: bool,
) -> np.ndarray:
    """Levels, int64 [N], chosen from the analyses `said`."""
    level_of = {
        analysis: int(_choose(model, questions.rating(task, num_ratings, with_rubric, analysis), None)[0])
        for analysis in sorted(set(said))
    }
    return np.array([level_of[analysis] for analysis in said], dtype=np.int64)


def analyses_of(
    model: Qwen2VLForConditionalGeneration, questions: Questions, task: PocketTask, features: Tensor
) -> list[str]:
    """What the model says about pictures with `features`: its most likely token each time, as the server asks it."""
    prompt = questions.analysis(task).prompt
    end = model.config.text_config.eos_token_id
    texts: list[str] = []
    for rows in _rows(len(features)):
        seen = features[rows]
        spoken = np.zeros((len(seen), 0), dtype=np.int64)
        for _ in range(MAX_ANALYSIS_TOKENS):
            # The last token is there to be predicted, so any will do.
            answers = np.column_stack([spoken, np.full(len(seen), end)])
            batch = token_batch([(prompt, tuple(answer)) for answer in answers], model.config.image_token_id)
            with torch.inference_mode():
                states = next_token_states(model, batch.tokens, batch.positions, seen)
                spoken = np.column_stack([spoken, model.lm_head(states[:, -1]).argmax(dim=-1).numpy()])
            if (spoken == end).any(axis=1).all():
                break
        texts.extend(questions.text(_until(row, end)) for row in spoken)
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


def _choose(model: Qwen2VLForConditionalGeneration, question: Question, features: Tensor | None) -> np.ndarray:
    labels = torch.tensor([answer[0] for answer in question.answers])
    count = 1 if features is None else len(features)
    chosen = []
    for rows in _rows(count):
        seen = None if features is None else features[rows]
        asked = [(question.prompt, question.answers[0][:1])] * (1 if seen is None else len(seen))
        batch = token_batch(asked, model.config.image_token_id)
        with torch.inference_mode():
            states = next_token_states(model, batch.tokens, batch.positions, seen)
            chosen.append(model.lm_head(states[:, -1])[:, labels].argmax(dim=-1).numpy())
    return np.concatenate(chosen)


def _rows(count: int) -> Iterator[slice]:
    return (slice(first, first + BATCH) for first in range(0, count, BATCH))


def _until(tokens: np.ndarray, end: int) -> list[int]:
    ended = np.flatnonzero(tokens == end)
    return tokens[: ended[0]].tolist() if len(ended) else tokens.tolist()
