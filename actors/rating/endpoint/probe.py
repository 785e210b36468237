"""Finding out what a server obeys, by a few cheap questions whose answers nobody keeps.

The model is shown a tiny picture and asked to describe it, under a constraint that allows only labels, or only a list
of numbers. Whoever answers with prose has not obeyed.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO

from actors.rating.backend import Needs, Refused, Unparsable
from actors.rating.endpoint.completion import Completion
from actors.rating.endpoint.connection import Crashed, Disliked
from actors.rating.endpoint.forms import CONSTRAINTS, FREE, Form
from actors.rating.endpoint.logprobs import label_weights
from algorithms.prompts import Prompt
from algorithms.scoring_prompts import parse_scores, scores_schema

SYSTEM = "You look at pictures."
DESCRIBE = "Describe the picture in one sentence."
CHOOSE = "How bright is the picture? Answer with one of {choices}."
LIST = "How bright and how colourful is the picture, from 0 to 10? Answer with a JSON list of 2 whole numbers."
NUM_SCORES = 2
SMALL_PX, LARGE_PX = 56, 224
TOP_LOGPROBS = (20, 5)
"""As many alternatives as such servers commonly give, and as few as some insist on."""


@dataclass(frozen=True)
class Manner:
    """How to put a kind of question to a server."""

    form: Form
    top_logprobs: int = 0
    """Alternatives to ask for; 0: it takes no such request."""
    tells_probabilities: bool = False
    thinks: bool = False
    """The model thinks before it answers, so that an answer needs more tokens."""


@dataclass(frozen=True)
class ProbeQuestion:
    """What is asked in a probe; pictures are squares with sides of these pixels."""

    prompt: Prompt
    pictures_px: tuple[int, ...]
    choices: tuple[str, ...]


Ask = Callable[[ProbeQuestion, Manner], Awaitable[Completion]]
"""Puts one question. Raises RaterError: Disliked or Crashed where another form of it may do."""


@dataclass
class Probe:
    """Probes one server. `where` names it in messages."""

    ask: Ask
    where: str
    max_analysis_tokens: int

    async def manner(self, needs: Needs) -> Manner:
        """How questions of the kind that `needs` names are to be put.

        Raises Refused, with what the server does instead and what to do, if it can not answer such questions.
        """
        refusal: Disliked | Crashed | None = None
        alternatives = TOP_LOGPROBS if needs.choices else ()
        fault = ""
        for form in (*CONSTRAINTS, FREE):
            question = _question(needs, form)
            try:
                manner, completion = await self._put(question, form, alternatives)
            except (Disliked, Crashed) as error:
                refusal = error
                continue
            fault = self._fault(completion, question, form)
            if not fault:
                return replace(manner, tells_probabilities=_tells(completion, question, form))
            # What it took once need not be found out again.
            alternatives = (manner.top_logprobs,) if manner.top_logprobs else ()
        if refusal and not fault:
            raise await self._why_refused(needs, refusal)
        if not completion.text:
            raise Refused(f"{self.where}, asked for {_wish(needs)}: {fault}")
        raise Refused(
            f"{self.where} obeys no constraint on its answers (structured_outputs, or response_format with a JSON "
            f"schema), and asked for {_wish(needs)} without one: {fault}. Nothing is guessed: serve the model with a "
            "server that obeys one (docs/endpoints.md), or choose another rater.model"
        )

    async def tokens_of_a_picture(self, needs: Needs, manner: Manner) -> str:
        """What a picture's size costs, in words; empty if the server does not count tokens.

        Raises Refused if it does not take as many pictures in a question.
        """
        small, large = _question(needs, manner.form), _question(needs, manner.form, LARGE_PX)
        try:
            counts = [await self._count(question, manner) for question in (small, large)]
        except (Disliked, Crashed) as error:
            raise await self._why_refused(needs, error) from None
        if not all(counts):
            return ""
        if counts[1] > counts[0]:
            pixels = (LARGE_PX**2 - SMALL_PX**2) / (counts[1] - counts[0])
            return f"about {pixels:,.0f} pixels a token"
        blind = replace(small, pictures_px=())
        without = await self._count(blind, manner)
        if without and counts[0] > without:
            each = (counts[0] - without) / len(small.pictures_px)
            return f"{each:,.0f} tokens a picture whatever its size"
        return "PICTURES ADD NO TOKENS: make sure that the model sees them"

    async def _put(
        self, question: ProbeQuestion, form: Form, alternatives: tuple[int, ...]
    ) -> tuple[Manner, Completion]:
        """Ask under a constraint, with as many alternatives to each token as the server takes."""
        for number in alternatives:
            with suppress(Disliked, Crashed):
                return await self._ask(question, Manner(form, number))
        return await self._ask(question, Manner(form))

    async def _ask(self, question: ProbeQuestion, manner: Manner) -> tuple[Manner, Completion]:
        """Ask; again with more room if the model thinks first."""
        completion = await self.ask(question, manner)
        if (completion.thought or completion.unfinished) and completion.was_cut and not manner.thinks:
            manner = replace(manner, thinks=True)
            completion = await self.ask(question, manner)
        return replace(manner, thinks=manner.thinks or bool(completion.thought)), completion

    async def _count(self, question: ProbeQuestion, manner: Manner) -> int:
        # The prompt is counted, whatever becomes of the answer.
        return (await self.ask(question, replace(manner, thinks=False))).prompt_tokens

    def _fault(self, completion: Completion, question: ProbeQuestion, form: Form) -> str:
        """Why the answer is none under this form; empty if it is one."""
        try:
            text = completion.answer(self.max_analysis_tokens)
            if question.choices:
                form.label(text, question.choices)
            else:
                parse_scores(form.document(text), NUM_SCORES)
        except (Unparsable, ValueError) as error:
            return str(error)
        return ""

    async def _why_refused(self, needs: Needs, refusal: Disliked | Crashed) -> Refused | Crashed:
        """After every form was refused: whether it is the pictures."""
        question = replace(_question(needs, FREE), pictures_px=(SMALL_PX,))
        if needs.num_pictures > 1 and await self._takes(question):
            return Refused(
                f"{self.where} takes no question with {needs.num_pictures} pictures, which this run needs, but one "
                f"with a single picture: {refusal}. Raise the server's limit (vLLM: --limit-mm-per-prompt), or show "
                "fewer pictures in a question"
            )
        if await self._takes(replace(question, pictures_px=())):
            return Refused(
                f"{self.where} takes no pictures: {refusal}. Serve a vision-language model, with its vision part"
            )
        # A server that fails at everything may come round.
        return refusal if isinstance(refusal, Crashed) else Refused(f"{self.where} takes no question: {refusal}")

    async def _takes(self, question: ProbeQuestion) -> bool:
        try:
            await self.ask(question, Manner(FREE))
        except (Disliked, Crashed):
            return False
        return True


@lru_cache
def tiny_png(side_px: int) -> bytes:
    """A square PNG file of one colour."""
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (side_px, side_px), (180, 120, 60)).save(file, "PNG")
    return file.getvalue()


def _question(needs: Needs, form: Form, first_px: int = SMALL_PX) -> ProbeQuestion:
    """Under a constraint, one that only a constraint can make a model answer well; without, an honest one."""
    honest = CHOOSE.format(choices=", ".join(needs.choices)) if needs.choices else LIST
    text = honest if form is FREE else DESCRIBE
    schema = "" if needs.choices else scores_schema(NUM_SCORES)
    prompt = Prompt(text, with_images=True, system=SYSTEM, schema=schema)
    return ProbeQuestion(prompt, (first_px, *[SMALL_PX] * (needs.num_pictures - 1)), needs.choices)


def _tells(completion: Completion, question: ProbeQuestion, form: Form) -> bool:
    """Whether log-probabilities came that belong to the answer. How much the labels hold does not matter here: the
    question was not one that they answer."""
    if not question.choices:
        return False
    label = form.label(completion.text, question.choices)
    weights = label_weights(completion.logprobs, completion.text, label, question.choices, completion.thought)
    return weights is not None


def _wish(needs: Needs) -> str:
    return f"one of {', '.join(needs.choices)}" if needs.choices else "a JSON list of whole numbers"
