"""Every word that a rater is told. One module, versioned by its own hash.

Two-turn asking (ERL-VLM, section 4): turn one shows the picture and asks for an analysis; turn two, in text only,
gives the analysis back and asks for a level. Answer-only asking shows the picture and asks for a level at once, so
that one forward pass yields the probability of each level. Two pictures are compared in the same two ways (RL-VLM-F,
section 4.1).

A level is answered by its number, 1 for the worst: numbers are single, distinct tokens in every tokenizer, while
"Very Bad" and "Very Good" begin alike.
"""

import hashlib
from dataclasses import dataclass

from algorithms.ratings import ROBOT_ARM, RatingRequest
from algorithms.scales import RatingScale

_SYSTEM = "You judge how well {agent} is doing its task."
SYSTEM = _SYSTEM.format(agent=ROBOT_ARM)

PICTURE = "The picture shows {agent}. Its task: {instruction}."
PICTURES = "The pictures show {agent} over time: {frame_note}. Its task: {instruction}."
ANALYSIS = "Look at {focus}. Analyse how far the task is completed."
GIVEN_ANALYSIS = "{Agent} has a task: {instruction}. An observer reports: {analysis}"
QUESTION = "How well is the task completed? Levels: {levels}. Answer with the number of one level."
LEVEL = "{number} = {word}"
LEVEL_WITH_RUBRIC = "{number} = {word} ({rubric})"

TWO_PICTURES = "Two pictures show {agent} at two moments. Its task: {instruction}."
COMPARISON = "Look at {focus}. Analyse each picture, and what differs between them with respect to completing the task."
GIVEN_COMPARISON = "{Agent} has a task: {instruction}. An observer compares two pictures of it: {analysis}"
WHICH = (
    "In which picture is the task nearer to being completed? Answers: {levels}. Answer with the number of one answer."
)

_TEMPLATES = (SYSTEM, PICTURE, PICTURES, ANALYSIS, GIVEN_ANALYSIS, QUESTION, LEVEL, LEVEL_WITH_RUBRIC)
PROMPT_VERSION = hashlib.sha256(
    "\n".join(_TEMPLATES).replace("{agent}", ROBOT_ARM).replace("{Agent}", ROBOT_ARM.capitalize()).encode()
).hexdigest()[:12]
"""Changes whenever a template of levels does."""
PREFERENCE_VERSION = hashlib.sha256(
    "\n".join((_SYSTEM, TWO_PICTURES, COMPARISON, GIVEN_COMPARISON, WHICH, LEVEL)).encode()
).hexdigest()[:12]
"""Changes whenever a template of comparisons does."""
ALL_WORDS_VERSION = f"{PROMPT_VERSION} {PREFERENCE_VERSION}"
"""Changes whenever any template does."""


def words_version(agent: str, scale: RatingScale) -> str:
    """Which words are used; part of every rating's key. A version of templates alone if the agent is a robot arm."""
    version = PREFERENCE_VERSION if scale.compares else PROMPT_VERSION
    return version if agent == ROBOT_ARM else f"{version} {agent}"


def agent_of(version: str) -> str:
    """The agent of a prompt version, whatever its templates were."""
    return version.partition(" ")[2] or ROBOT_ARM


@dataclass(frozen=True)
class Prompt:
    """One user turn after the system text, and what was said before it."""

    text: str
    with_images: bool
    """Whether the request's pictures precede the first user turn."""
    system: str = SYSTEM
    """Empty for none: a model's template may then put its own."""
    earlier: tuple[tuple[str, str], ...] = ()
    """Turns of the same conversation before this one: what the user said and what the model answered."""
    schema: str = ""
    """JSON schema that the answer must obey; empty for free text, or where choices are given."""
    max_tokens: int | None = None
    """Length limit of an answer that is not a choice; None for the rater's own."""


def pictures_note(num_frames: int, joined: bool) -> str:
    """How the frames of a segment are laid out, for `RatingRequest.frame_note`; empty for one."""
    if num_frames == 1:
        return ""
    if joined:
        return f"{num_frames} numbered frames of one picture in time order"
    return f"{num_frames} pictures in time order"


def analysis_prompt(request: RatingRequest) -> Prompt:
    """Turn one: describe what the picture shows, or how two differ, with respect to completing the task."""
    wanted = COMPARISON if request.scale.compares else ANALYSIS
    text = f"{_picture(request)} {wanted.format(focus=request.task.focus)}"
    return Prompt(text, with_images=True, system=_system(request))


def rating_prompt(request: RatingRequest, analysis: str) -> Prompt:
    """Turn two: choose an answer given the analysis, without the picture."""
    task = request.task
    agent = task.agent[:1].upper() + task.agent[1:]
    template = GIVEN_COMPARISON if request.scale.compares else GIVEN_ANALYSIS
    given = template.format(Agent=agent, instruction=task.instruction, analysis=analysis.strip())
    return Prompt(f"{given} {_question(request.scale)}", with_images=False, system=_system(request))


def answer_only_prompt(request: RatingRequest) -> Prompt:
    """The picture and the question in one turn."""
    return Prompt(f"{_picture(request)} {_question(request.scale)}", with_images=True, system=_system(request))


def answer_labels(scale: RatingScale) -> tuple[str, ...]:
    """What the rater may answer, in the scale's order, worst level first: '1' to 'n'."""
    return tuple(str(level + 1) for level in range(len(scale)))


def _system(request: RatingRequest) -> str:
    return _SYSTEM.format(agent=request.task.agent)


def _picture(request: RatingRequest) -> str:
    task = request.task
    if request.scale.compares:
        return TWO_PICTURES.format(agent=task.agent, instruction=task.instruction)
    if request.frame_note:
        return PICTURES.format(agent=task.agent, frame_note=request.frame_note, instruction=task.instruction)
    return PICTURE.format(agent=task.agent, instruction=task.instruction)


def _question(scale: RatingScale) -> str:
    rubric = scale.rubric or ("",) * len(scale)
    levels = [
        (LEVEL_WITH_RUBRIC if line else LEVEL).format(number=number, word=word, rubric=line)
        for number, word, line in zip(answer_labels(scale), scale.words, rubric, strict=True)
    ]
    return (WHICH if scale.compares else QUESTION).format(levels="; ".join(levels))
