"""Every word that a rater is told about a window of actions. One module, versioned by its own hash.

Two-turn scoring (RG-VLM, section III): turn one shows the joined picture, names goal and actions, and asks for an
analysis; turn two, in the same conversation, asks for a score of each action. Single-turn scoring asks for the scores
at once. In logits mode each action is a question of its own that one letter answers, so that one forward pass tells
the probability of each score: letters are single tokens in every tokenizer, "10" is not.
"""

import hashlib
import json

from algorithms.prompts import Prompt
from algorithms.scores import MAX_SCORE, ScoreRequest

SYSTEM = "You judge how much each action of an agent helps it to reach its goal."
WINDOW = "The picture shows {frame_note}. Goal: {instruction}. Actions from frame to frame: {actions}."
ACTION = "{number} {name}"
ANALYSIS = "Compare successive frames and analyse how each action advances the goal."
SCORES = (
    "Score how much each of the {number} actions contributes to the goal, from 0 (not at all) to 10 (fully). "
    "Answer with a JSON list of {number} whole numbers."
)
ONE_SCORE = (
    "How much does action {number}, {name}, contribute to the goal? Levels: {levels}. Answer with one letter, from A "
    "(not at all) to K (fully)."
)
LEVEL = "{letter} = {score}"
SCORE_LETTERS = tuple("ABCDEFGHIJK")
"""In logits mode, what answers each score from 0 to 10."""

_TEMPLATES = (SYSTEM, WINDOW, ACTION, ANALYSIS, SCORES, ONE_SCORE, LEVEL, *SCORE_LETTERS)
SCORING_PROMPT_VERSION = hashlib.sha256("\n".join(_TEMPLATES).encode()).hexdigest()[:12]
"""Changes whenever a template does; part of every answer's key."""


def window_analysis_prompt(request: ScoreRequest) -> Prompt:
    """Turn one: what changes from frame to frame, and how each action advances the goal."""
    return Prompt(f"{_window(request)} {ANALYSIS}", with_images=True, system=SYSTEM)


def scores_prompt(request: ScoreRequest, analysis: str) -> Prompt:
    """Turn two of the same conversation: a score for each action."""
    earlier = ((window_analysis_prompt(request).text, analysis),)
    return Prompt(
        _scores(request), with_images=True, system=SYSTEM, earlier=earlier, schema=scores_schema(len(request.actions))
    )


def single_turn_prompt(request: ScoreRequest) -> Prompt:
    """The picture and the question for all scores in one turn."""
    text = f"{_window(request)} {_scores(request)}"
    return Prompt(text, with_images=True, system=SYSTEM, schema=scores_schema(len(request.actions)))


def one_score_prompt(request: ScoreRequest, index: int) -> Prompt:
    """Logits mode: the picture and the question for one action's score, to be answered by one of SCORE_LETTERS."""
    levels = ", ".join(LEVEL.format(letter=letter, score=score) for score, letter in enumerate(SCORE_LETTERS))
    question = ONE_SCORE.format(number=index + 1, name=request.actions[index], levels=levels)
    return Prompt(f"{_window(request)} {question}", with_images=True, system=SYSTEM)


def scores_schema(number: int) -> str:
    """JSON schema of an answer: a list of `number` whole numbers from 0 to 10."""
    entry = {"type": "integer", "minimum": 0, "maximum": MAX_SCORE}
    return json.dumps({"type": "array", "items": entry, "minItems": number, "maxItems": number})


def scores_text(scores: list[int]) -> str:
    """The answer that says `scores`, without spaces: what a model is taught to write."""
    return json.dumps(scores, separators=(",", ":"))


def parse_scores(text: str, number: int) -> tuple[float, ...]:
    """The scores in an answer. Raises ValueError for anything but a list of `number` whole numbers from 0 to 10."""
    try:
        scores = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"the answer {text[:80]!r} is not JSON") from None
    if not isinstance(scores, list) or len(scores) != number:
        raise ValueError(f"the answer {text[:80]!r} is no list of {number} scores")
    if any(type(score) is not int or not 0 <= score <= MAX_SCORE for score in scores):
        raise ValueError(f"the answer {text[:80]!r} has scores that are no whole numbers from 0 to {MAX_SCORE}")
    return tuple(map(float, scores))


def _window(request: ScoreRequest) -> str:
    actions = "; ".join(ACTION.format(number=index + 1, name=name) for index, name in enumerate(request.actions))
    return WINDOW.format(frame_note=request.frame_note, instruction=request.instruction, actions=actions)


def _scores(request: ScoreRequest) -> str:
    return SCORES.format(number=len(request.actions))
