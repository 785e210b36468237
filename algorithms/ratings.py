"""What is asked of a rater and what comes back. A failed question is another type than a rating, on purpose."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from algorithms.scales import RatingScale

AskingMode = Literal["two_turn", "answer_only"]
ROBOT_ARM = "a robot arm"
"""Who acts in MetaWorld and in the published experiments."""
AGENT_PATTERN = r"^\S(.*\S)?$"
"""Who acts: words of one line."""
FailureCause = Literal["timeout", "unparsable", "server_error", "engine_dead", "refused"]


@dataclass(frozen=True)
class TaskText:
    """What the rater is told about the task."""

    instruction: str
    """The task in one clause, such as 'close the drawer'."""
    focus: str
    """The object to look at, such as 'the drawer'."""
    agent: str = ROBOT_ARM
    """Who acts, as it stands in a sentence: 'a robot arm'."""


@dataclass(frozen=True)
class Sampling:
    """How the weights are run, where it can change an answer; part of the answer's key."""

    temperature: float = 0.0
    max_analysis_tokens: int = 256
    seed: int = 0
    min_pixels: int = 3136
    """Images below this many pixels are enlarged, above `max_pixels` reduced, before the model sees them."""
    max_pixels: int = 1_003_520
    precision: str = "auto"
    """Number format of the weights, and the quantisation if there is one."""


@dataclass(frozen=True)
class RaterIdentity:
    """Which weights answered."""

    model: str
    """Hub name, or `sha256:...` of a local folder's weights, so that a path is never an identity."""
    revision: str


@dataclass(frozen=True)
class RatingRequest:
    """One question about one segment."""

    images: tuple[bytes, ...]
    """Lossless PNG files in time order; one for a frame or a joined picture."""
    task: TaskText
    scale: RatingScale
    mode: AskingMode
    frame_note: str = ""
    """How several frames are laid out, such as 'four frames, left to right in time'; empty for one frame."""


@dataclass(frozen=True)
class Rating:
    """An answer."""

    key: str
    rating: int
    """Level in [0, num_ratings)."""
    probabilities: tuple[float, ...]
    """Probability of each level, renormalised over the levels; sums to 1. Empty if the rater tells none."""
    analysis: str
    """Text of turn one; in answer-only mode what a model thought before it answered, else empty."""
    prompt_tokens: int
    completion_tokens: int
    latency_s: float


@dataclass(frozen=True)
class RatingFailure:
    """A question that got no usable answer. It is stored and counted, and no trainer accepts one."""

    key: str
    cause: FailureCause
    detail: str
    attempts: int


def level_in_words(words: Sequence[str], rating: int, probabilities: Sequence[float]) -> str:
    """A level's word, and how probable it was where the rater told: 'Good (0.93)', or 'Good'."""
    return f"{words[rating]} ({probabilities[rating]:.2f})" if len(probabilities) else words[rating]


def rating_key(request: RatingRequest, identity: RaterIdentity, sampling: Sampling, prompt_version: str) -> str:
    """SHA-256 over everything that can change the answer. Equal keys mean equal questions to equal weights.

    The task's agent is part of `prompt_version`, by `algorithms.prompts.words_version`.
    """
    digest = hashlib.sha256()
    for image in request.images:
        digest.update(hashlib.sha256(image).digest())
    facts = {
        "prompt": prompt_version,
        "task": [request.task.instruction, request.task.focus],
        "scale": [list(request.scale.words), list(request.scale.rubric)],
        "mode": request.mode,
        "frame_note": request.frame_note,
        "model": [identity.model, identity.revision],
        # Its fields are plain values, and a deep copy would cost more than all the rest.
        "sampling": vars(sampling),
    }
    digest.update(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
