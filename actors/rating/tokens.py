"""How many tokens a question needs: known from its words and the sizes of its pictures, before weights are loaded."""

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any

from actors.rating.asking import Request, question_about
from actors.rating.backend import Needs, Reply
from actors.rating.chat import ChatFormat, load_chat_format
from actors.rating.images import fitted_size
from actors.rating.models import Checkpoint, load_revision, resolve_model, token_px
from actors.rating.settings import RaterSettings
from algorithms.images import png_size
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity

USUAL_TOKEN_PX = 28
"""Side in pixels of what becomes a token of a Qwen2-VL, for models that an endpoint serves."""
FRAME_OF_A_TURN = 64
"""What a chat format may put around the words of a turn, in tokens, generously."""
FRAME_OF_A_PICTURE = 8
"""And around each picture."""


@dataclass(frozen=True)
class QuestionTokens:
    """What one question needs, its analysis as long as `rater.max_analysis_tokens` allows."""

    read: int
    """Of all turns together, pictures included."""
    written: int
    context: int
    """Of the longest turn, with what is written in it: `rater.max_model_len` must be as much."""


class TokenCounter:
    """Counts for one rater: pictures by its own rule, words by its tokenizer, or by what no tokenizer exceeds."""

    def __init__(self, rater: RaterSettings, exact: bool = True, chat: ChatFormat | None = None) -> None:
        """`exact` loads the tokenizer, a few megabytes, if it can be had, unless the chat format is given.

        Raises ValueError as `resolve_model` does, of which it needs no weights.
        """
        self._rater = rater
        self._token_px = USUAL_TOKEN_PX
        self._chat = chat
        if not rater.endpoint:
            checkpoint, revision = resolve_model(rater, with_weights=False), load_revision(rater)
            self._token_px = token_px(checkpoint, revision)
            if exact and chat is None:
                self._chat = _chat_of(rater, checkpoint, revision)

    @property
    def is_exact(self) -> bool:
        """False: a byte of text counts as a token, which is three or four times too much."""
        return self._chat is not None

    def needed(self, request: Request) -> QuestionTokens:
        """What `request` needs at most: it is asked, of nobody, in all its turns."""
        meter = _Meter(self, self._rater.max_analysis_tokens)
        asyncio.run(question_about(request, "").attempt(meter))
        return QuestionTokens(meter.read, meter.written, meter.context)

    def prompt(self, prompt: Prompt, images: tuple[bytes, ...], at_once: bool) -> int:
        """Tokens of a prompt with pictures (PNG files, of which only the size matters); as `ChatFormat.tokens`."""
        pictures = sum(map(self.picture, images))
        if self._chat is None:
            said = [prompt.system, prompt.text, *(text for turn in prompt.earlier for text in turn)]
            return (
                pictures + FRAME_OF_A_PICTURE * len(images) + sum(len(text.encode()) + FRAME_OF_A_TURN for text in said)
            )
        # The chat format has one token in each picture's place.
        return pictures - len(images) + len(self._chat.tokens(prompt, len(images), at_once))

    def text(self, text: str) -> int:
        """Tokens of plain text."""
        if self._chat is None:
            return len(text.encode())
        return len(self._chat.tokenizer.encode(text, add_special_tokens=False))

    def picture(self, png: bytes) -> int:
        """Tokens of a picture, once it is brought between `rater.min_pixels` and `rater.max_pixels`."""
        height, width = png_size(png)
        size = fitted_size(width, height, self._rater.min_pixels, self._rater.max_pixels, self._token_px)
        return math.prod(size) // self._token_px**2


def _chat_of(rater: RaterSettings, checkpoint: Checkpoint, revision: str | None) -> ChatFormat | None:
    try:
        return load_chat_format(rater.model, checkpoint, revision)
    except (OSError, ValueError):  # It cannot be had now, or is none: the engine says which when it starts.
        return None


class _Meter:
    """A backend that answers as long as it may, and counts."""

    restarts = 0

    def __init__(self, counter: TokenCounter, max_analysis_tokens: int) -> None:
        self._counter = counter
        self._max_analysis_tokens = max_analysis_tokens
        self._analysis = 0
        self.read = 0
        self.written = 0
        self.context = 0

    async def start(self) -> None:
        """Nothing to get ready."""

    async def check(self, needs: Needs) -> str:
        """Any question can be counted."""
        return ""

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Answer one prompt; the analysis is empty, and counted where it is read again."""
        read = self._counter.prompt(prompt, images, at_once=bool(choices or prompt.schema)) + self._analysis
        probabilities = None
        if choices:
            text, written = choices[0], 1
            probabilities = tuple(1 / len(choices) for _ in choices)
        elif prompt.schema:
            text = _longest_answer(json.loads(prompt.schema))
            written = self._counter.text(text) + 1
        else:
            text, written = "", self._max_analysis_tokens
            self._analysis = written
        self.read += read
        self.written += written
        self.context = max(self.context, read + written)
        return Reply(text, probabilities)

    def identity(self) -> RaterIdentity:
        """Nobody."""
        return RaterIdentity("counted", "")

    async def close(self) -> None:
        """Nothing to give back."""


def _longest_answer(schema: dict[str, Any]) -> str:
    """Whole numbers of a list, each with as many digits as it may have."""
    return json.dumps([schema["items"]["maximum"]] * schema["maxItems"], separators=(",", ":"))
