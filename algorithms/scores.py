"""What is asked about a window of actions and what comes back (RG-VLM, Lee et al. 2025, section III, Algorithm 1)."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from algorithms.progress import ProgressRequest
from algorithms.ratings import RaterIdentity, Sampling

ScoringMode = Literal["two_turn", "single_turn", "logits"]
MAX_SCORE = 10
"""An action is scored in whole numbers from 0, no contribution, to this, full contribution."""


@dataclass(frozen=True)
class ScoreRequest:
    """One question about the actions of one window."""

    images: tuple[bytes, ...]
    """Lossless PNG files; one, the joined picture."""
    instruction: str
    """The goal, as the trajectory's instruction has it."""
    actions: tuple[str, ...]
    """Each action in words, in time order."""
    mode: ScoringMode
    frame_note: str
    """How the frames are laid out, such as '9 numbered frames in rows of 3, in time order'."""


@dataclass(frozen=True)
class Scores:
    """An answer: a score for each action, or what a question about a whole trajectory asks for."""

    key: str
    scores: tuple[float, ...]
    """In [0, 10]; whole numbers but in logits mode, where each is the mean of its distribution. About a trajectory:
    percentages (gvl), the probability of "True" (topreward), or 1 for completed and 0 for not (verdicts)."""
    probabilities: tuple[tuple[float, ...], ...]
    """In logits mode, for each action the probability of each score from 0 to 10. For topreward and verdicts one row:
    of True and False, of yes and no, where the server tells them. Else empty."""
    analysis: str
    """Text of turn one; in the other modes what a model thought before it answered, else empty."""
    prompt_tokens: int
    completion_tokens: int
    latency_s: float


def score_key(
    request: ScoreRequest | ProgressRequest, identity: RaterIdentity, sampling: Sampling, prompt_version: str
) -> str:
    """SHA-256 over everything that can change the answer. Equal keys mean equal questions to equal weights."""
    digest = hashlib.sha256()
    for image in request.images:
        digest.update(hashlib.sha256(image).digest())
    facts = {
        "kind": "scores",
        "prompt": prompt_version,
        "instruction": request.instruction,
        "actions": list(request.actions),
        "mode": request.mode,
        "frame_note": request.frame_note,
        "model": [identity.model, identity.revision],
        "sampling": asdict(sampling),
    }
    digest.update(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
