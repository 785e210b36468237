"""A backend that is a plain function, for tests and for trying a loop without a model."""

import inspect
from collections.abc import Awaitable, Callable

from actors.rating.backend import Needs, Reply
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity

AnswerFunction = Callable[[Prompt, tuple[bytes, ...], tuple[str, ...]], str | Reply | Awaitable[str | Reply]]


class FunctionBackend:
    """Answers with `function(prompt, images, choices)`, which may be a coroutine and may raise RaterError.

    Text is enough for an answer: one of the choices counts as certain.

        server = RatingServer(RaterSettings(), FunctionBackend(lambda prompt, images, choices: "2"))
    """

    restarts = 0

    def __init__(self, function: AnswerFunction, name: str = "function") -> None:
        self._function = function
        self._name = name

    async def start(self) -> None:
        """Nothing to start."""

    async def check(self, needs: Needs) -> str:
        """Nothing to say: a function answers every kind of question."""
        return ""

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """What the function answers."""
        answer = self._function(prompt, images, choices)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Reply):
            return answer
        certain = tuple(float(choice == answer) for choice in choices) if answer in choices else None
        return Reply(answer, certain)

    def identity(self) -> RaterIdentity:
        """The name given, so that a test can tell two fakes apart."""
        return RaterIdentity(self._name, "fake")

    async def close(self) -> None:
        """Nothing to give back."""
