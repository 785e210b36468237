"""How many tokens a rating takes, counted from its real words and pictures before any weights are loaded."""

import math
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from actors.rating.chat import ChatFormat
from actors.rating.images import fitted_size
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt, analysis_prompt, answer_only_prompt, rating_prompt
from algorithms.ratings import RatingRequest


@dataclass(frozen=True)
class Turn:
    """Tokens of one question to the model."""

    prompt: int
    answer: int
    """At most."""


@dataclass(frozen=True)
class RatingLength:
    """Tokens of a rating."""

    pictures: tuple[int, ...]
    """Of each picture, in the turn that shows it."""
    turns: tuple[Turn, ...]

    @property
    def total(self) -> int:
        """Tokens read and said, at most."""
        return sum(turn.prompt + turn.answer for turn in self.turns)

    @property
    def longest(self) -> int:
        """Tokens of the longest turn: what `rater.max_model_len` has to hold."""
        return max(turn.prompt + turn.answer for turn in self.turns)


def rating_length(request: RatingRequest, chat: ChatFormat, settings: RaterSettings, token_px: int) -> RatingLength:
    """Tokens of a rating; `token_px` is the side of the pixels that become a token."""
    pictures = tuple(_picture_tokens(image, settings, token_px) for image in request.images)

    def length(prompt: Prompt, at_once: bool) -> int:
        shown = pictures if prompt.with_images else ()
        return len(chat.tokens(prompt, len(shown), at_once)) - len(shown) + sum(shown)

    if request.mode == "answer_only":
        return RatingLength(pictures, (Turn(length(answer_only_prompt(request), at_once=True), 1),))
    analysis = settings.max_analysis_tokens
    return RatingLength(
        pictures,
        (
            Turn(length(analysis_prompt(request), at_once=False), analysis),
            Turn(length(rating_prompt(request, ""), at_once=True) + analysis, 1),
        ),
    )


def check_length(length: RatingLength, settings: RaterSettings) -> None:
    """Raise ValueError, with the sum and the remedy, if a turn is longer than the model's context may be."""
    if length.longest <= settings.max_model_len:
        return
    analysis = f", up to {settings.max_analysis_tokens} of them its analysis" if len(length.turns) > 1 else ""
    raise ValueError(
        f"rater.max_model_len {settings.max_model_len}: a question takes up to {length.longest} tokens, "
        f"{sum(length.pictures)} of them for {len(length.pictures)} pictures{analysis}; raise it to {length.longest}, "
        "or lower rater.max_pixels or rater.max_analysis_tokens"
    )


def _picture_tokens(image: bytes, settings: RaterSettings, token_px: int) -> int:
    with Image.open(BytesIO(image)) as picture:
        size = fitted_size(*picture.size, settings.min_pixels, settings.max_pixels, token_px)
    return math.prod(size) // token_px**2
