"""Every word that a rater is told about a whole trajectory. One module, versioned by its own hash.

GVL (Ma et al. 2024, arXiv 2411.04549) asks for a percentage of completion of each of the shuffled frames; the first
frame of the trajectory is shown first, as the anchor. TOPReward (arXiv 2602.19313) asks whether the trajectory
completes the task, and takes the probability of "True". Neither paper's own words are used. A verdict is answered by
a letter, which is a single token in every tokenizer; "yes" and "no" are not.
"""

import hashlib
import json

from algorithms.progress import PERCENT, ProgressRequest
from algorithms.prompts import Prompt

SYSTEM = "You judge how far an agent has come with its task."
PERCENTAGES = (
    "Task: {instruction}. The first picture shows the beginning, where 0 percent of the task is completed. The other "
    "{number} show later moments, {frame_note}. How much of the task is completed in each of these {number}, in the "
    "order shown, from 0 to 100 percent? Answer with a JSON list of {number} whole numbers."
)
STATEMENT = (
    "The pictures show, {frame_note}, how an agent completes this task: {instruction}. Is this statement true? Answer "
    "with True or False."
)
TRAJECTORY = "The {number} pictures show an agent, {frame_note}; the last one shows the end. Task: {instruction}."
ANALYSIS = "Analyse what changes from picture to picture, and what is missing to complete the task at the end."
COMPLETED = "Is the task completed at the end? A = yes, B = no. Answer with one letter."
TRUTHS = ("True", "False")
"""What answers a statement."""
VERDICTS = ("A", "B")
"""What answers whether a task is completed: yes, no."""

_TEMPLATES = (SYSTEM, PERCENTAGES, STATEMENT, TRAJECTORY, ANALYSIS, COMPLETED, *TRUTHS, *VERDICTS)
PROGRESS_PROMPT_VERSION = hashlib.sha256("\n".join(_TEMPLATES).encode()).hexdigest()[:12]
"""Changes whenever a template does; part of every answer's key."""


def percentages_prompt(request: ProgressRequest) -> Prompt:
    """GVL: a percentage for each picture but the first."""
    number = len(request.images) - 1
    text = PERCENTAGES.format(instruction=request.instruction, number=number, frame_note=request.frame_note)
    return Prompt(text, with_images=True, system=SYSTEM, schema=percentages_schema(number))


def percentages_schema(number: int) -> str:
    """JSON schema of an answer: a list of `number` whole numbers from 0 to 100."""
    entry = {"type": "integer", "minimum": 0, "maximum": PERCENT}
    return json.dumps({"type": "array", "items": entry, "minItems": number, "maxItems": number})


def statement_prompt(request: ProgressRequest) -> Prompt:
    """TOPReward: whether the pictures show the task being completed; TRUTHS answer it."""
    text = STATEMENT.format(instruction=request.instruction, frame_note=request.frame_note)
    return Prompt(text, with_images=True, system=SYSTEM)


def verdict_analysis_prompt(request: ProgressRequest) -> Prompt:
    """Turn one of a verdict in two turns."""
    return Prompt(f"{_trajectory(request)} {ANALYSIS}", with_images=True, system=SYSTEM)


def verdict_prompt(request: ProgressRequest, analysis: str | None) -> Prompt:
    """Whether the task is completed at the end, at once or, given an analysis, as turn two; VERDICTS answer it."""
    if analysis is None:
        return Prompt(f"{_trajectory(request)} {COMPLETED}", with_images=True, system=SYSTEM)
    earlier = ((verdict_analysis_prompt(request).text, analysis),)
    return Prompt(COMPLETED, with_images=True, system=SYSTEM, earlier=earlier)


def parse_percentages(text: str, number: int) -> tuple[float, ...]:
    """The percentages in an answer. Raises ValueError for anything but `number` whole numbers from 0 to 100."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"the answer {text[:80]!r} is not JSON") from None
    if not isinstance(found, list) or len(found) != number:
        raise ValueError(f"the answer {text[:80]!r} is no list of {number} percentages")
    if any(type(one) is not int or not 0 <= one <= PERCENT for one in found):
        raise ValueError(f"the answer {text[:80]!r} has percentages that are no whole numbers from 0 to {PERCENT}")
    return tuple(map(float, found))


def _trajectory(request: ProgressRequest) -> str:
    return TRAJECTORY.format(number=len(request.images), frame_note=request.frame_note, instruction=request.instruction)
