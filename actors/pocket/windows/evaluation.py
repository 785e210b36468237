"""How well the pocket rater's scores agree with the true contributions, and how often its answers are malformed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.answering import label_logits, spoken
from actors.pocket.windows.data import TiledWindow, picture
from actors.pocket.windows.model import image_features, in_reading_order
from actors.pocket.windows.questions import WindowQuestions
from algorithms.scores import ScoringMode
from algorithms.scoring_prompts import parse_scores

MAX_ANALYSIS_TOKENS = 128
MAX_SCORE_TOKENS = 32
BATCH = 32

Scored = list[tuple[float, ...] | None]
"""The scores of each window; None where the answer is malformed."""


@dataclass(frozen=True)
class WindowJudgement:
    """How windows were scored in one mode."""

    mode: ScoringMode
    num_windows: int
    num_failures: int
    """Windows whose answer could not be read."""
    num_actions: int
    """Actions that got a score."""
    correlation: float
    """Spearman's, of scores and true contributions, over all those actions."""


def judge(
    model: Qwen2_5_VLForConditionalGeneration,
    questions: WindowQuestions,
    windows: list[TiledWindow],
    pixels: np.ndarray,
    on_part: Callable[[], None] = lambda: None,
) -> list[WindowJudgement]:
    """Every mode on the same windows. Answers are the most likely tokens, with no grammar to hold them."""
    features = features_of(model, windows, pixels)
    judgements = []
    for mode, ask in (("two_turn", two_turns), ("single_turn", single_turns), ("logits", logits)):
        scores: Scored = []
        for part in _parts(len(windows)):
            scores += ask(model, questions, windows[part], features[part])
        judgements.append(judgement(mode, windows, scores))
        on_part()
    return judgements


def judgement(mode: ScoringMode, windows: list[TiledWindow], scores: Scored) -> WindowJudgement:
    """Compare scores with the truth."""
    answered = [(window, said) for window, said in zip(windows, scores, strict=True) if said is not None]
    given = [score for _, said in answered for score in said]
    truth = [int(window.trajectory.contributions[index]) for window, _ in answered for index in window.actions]
    varied = len(set(given)) > 1 and len(set(truth)) > 1
    correlation = float(spearmanr(given, truth).statistic) if varied else 0.0
    return WindowJudgement(mode, len(windows), len(windows) - len(answered), len(given), correlation)


def features_of(model: Qwen2_5_VLForConditionalGeneration, windows: list[TiledWindow], pixels: np.ndarray) -> Tensor:
    """Picture tokens [N, tokens, width] of windows."""
    found = []
    with torch.inference_mode():
        for part in _parts(len(windows)):
            images = np.stack([picture(window.frames, pixels) for window in windows[part]])
            found.append(in_reading_order(image_features(model, torch.from_numpy(images))))
    return torch.cat(found)


def two_turns(
    model: Qwen2_5_VLForConditionalGeneration, questions: WindowQuestions, windows: list[TiledWindow], seen: Tensor
) -> Scored:
    """Analyse, then score."""
    analyses = analyses_of(model, questions, windows, seen)
    asked = [questions.turn_two(window, said) for window, said in zip(windows, analyses, strict=True)]
    return _read(questions, windows, spoken(model, questions, asked, seen, MAX_SCORE_TOKENS))


def analyses_of(
    model: Qwen2_5_VLForConditionalGeneration, questions: WindowQuestions, windows: list[TiledWindow], seen: Tensor
) -> list[str]:
    """What turn one says."""
    asked = [questions.turn_one(window) for window in windows]
    return [questions.text(said) for said in spoken(model, questions, asked, seen, MAX_ANALYSIS_TOKENS)]


def single_turns(
    model: Qwen2_5_VLForConditionalGeneration, questions: WindowQuestions, windows: list[TiledWindow], seen: Tensor
) -> Scored:
    """Score at once."""
    asked = [questions.one_turn(window) for window in windows]
    return _read(questions, windows, spoken(model, questions, asked, seen, MAX_SCORE_TOKENS))


def logits(
    model: Qwen2_5_VLForConditionalGeneration, questions: WindowQuestions, windows: list[TiledWindow], seen: Tensor
) -> Scored:
    """The mean of each action's distribution over the letters."""
    places = [(row, place) for row, window in enumerate(windows) for place in range(len(window.actions))]
    means: list[float] = []
    for part in _parts(len(places)):
        asked = [questions.letter(windows[row], place) for row, place in places[part]]
        pictures = seen[[row for row, _ in places[part]]]
        likely = label_logits(model, questions, asked, pictures, questions.letters).float().softmax(dim=-1)
        means += (likely @ torch.arange(len(questions.letters), dtype=torch.float32)).tolist()
    left = iter(means)
    return [tuple(next(left) for _ in window.actions) for window in windows]


def _read(questions: WindowQuestions, windows: list[TiledWindow], said: list[list[int]]) -> Scored:
    found: Scored = []
    for window, tokens in zip(windows, said, strict=True):
        try:
            found.append(parse_scores(questions.text(tokens), len(window.actions)))
        except ValueError:
            found.append(None)
    return found


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + BATCH) for first in range(0, count, BATCH))
