"""What a rating server asks: one protocol with one method that matters, and the tree of its errors.

RaterError                 the question got no usable answer; carries the failure's cause
├── TransientError         asking again may help
│   ├── ServerError        the server is busy, broken or unreachable
│   └── EngineDead         our own engine died or hung, and is being restarted
└── PermanentError         asking again gives the same
    ├── Refused            the server will not take this question
    └── Unparsable         the answer is none of the levels
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from algorithms.prompts import Prompt
from algorithms.ratings import FailureCause, RaterIdentity


class RaterError(Exception):
    """A question got no usable answer."""

    cause: ClassVar[FailureCause]


class TransientError(RaterError):
    """Asking again may help."""


class PermanentError(RaterError):
    """Asking again gives the same."""


class ServerError(TransientError):
    """The server is busy, broken or unreachable."""

    cause = "server_error"


class EngineDead(TransientError):
    """Our own engine died or hung."""

    cause = "engine_dead"


class Refused(PermanentError):
    """The server does not take this question: too long, malformed, or not allowed."""

    cause = "refused"


class Unparsable(PermanentError):
    """The answer is none of the levels."""

    cause = "unparsable"


@dataclass(frozen=True)
class Reply:
    """A model's answer to one prompt."""

    text: str
    probabilities: tuple[float, ...] | None = None
    """With choices: the probability of each, renormalised over them, sum 1; None where the server tells none."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut_short: bool = False
    """The answer reached its length limit before its end."""
    thought: str = ""
    """What a model that thinks before it answers has thought; never part of the answer."""


@dataclass(frozen=True)
class Needs:
    """What a run will ask, so that a server can be tried before the first question that counts."""

    choices: tuple[str, ...] = ()
    """What its closed questions are answered by; empty if it asks none."""
    schema: str = ""
    """JSON schema of its lists of numbers; empty if it asks none."""
    probabilities: bool = False
    """It cannot do without the probability of each choice."""
    num_pictures: int = 1
    """Pictures that a question shows, at most."""


class Backend(Protocol):
    """A vision-language model that answers prompts."""

    restarts: int
    """How often its engine had to be started again."""

    async def start(self) -> None:
        """Get ready to answer. Raises ValueError or RaterError with what is wrong."""

    async def check(self, needs: Needs) -> str:
        """Whether it can answer such questions: one line about what it will rely on, empty for what can do all.

        Call it after `start`. Raises Refused, with what is missing and what to do, or ServerError.
        """

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Answer one prompt.

        `images` are PNG files, shown before the text. With `choices` the answer is one of them, each a single token;
        without, it is free text. Calls run concurrently. Raises RaterError.
        """

    def identity(self) -> RaterIdentity:
        """Which weights answer. Call it after `start`."""

    async def close(self) -> None:
        """Give everything back, processes included."""
