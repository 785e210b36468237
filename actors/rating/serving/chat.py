"""OpenAI's chat completions: a request's body to a prompt for the rater, and the rater's reply to a response's body.

What a request asks for is done, or refused in words; it is never left out silently. The engine samples as its own
settings say, so a temperature or a seed that would need another one is refused.
"""

import json
import math
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.rating.backend import Reply
from actors.rating.endpoint.served import FIELD, Served
from actors.rating.serving.constraints import Constraint, constraint_of
from actors.rating.serving.problems import Problem, of_validation
from actors.rating.serving.uploads import decode_data_url
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stream": (False,),
    "stop": ([],),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "best_of": (1,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "skip_special_tokens": (True,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "chat_template_kwargs": ({},),
}
"""Fields that would change the answer, with the values that ask for nothing; others are refused."""
GREEDY = {"top_p": (1,), "top_k": (0, -1), "min_p": (0,)}
"""As above, and of no effect at temperature 0, where the most likely token is always taken."""
HARMLESS = (
    "user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
    "stream_options", "request_id", "priority",
)  # fmt: skip
"""Fields that change no answer here."""
UNLIKELY = -9999.0
"""OpenAI's log-probability of what is out of the question; JSON has no infinity."""
QUOTED_TOKENS = 3
"""A level in quotation marks."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Part):
    """Text of a turn."""

    type: Literal["text"]
    text: str


class ImageUrl(_Part):
    """A picture, in the address itself."""

    url: str
    detail: Literal["auto"] | None = None
    """Pictures are shown within the server's own limits of pixels."""


class ImagePart(_Part):
    """A picture of a turn."""

    type: Literal["image_url"]
    image_url: ImageUrl


Content = str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class Message(_Part):
    """A turn. What clients send back of an answer of ours may stand in it, empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class ChatRequest(_Part):
    """What is read of a request's body; see NEUTRAL, GREEDY and HARMLESS for the rest."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    structured_outputs: Any = None
    response_format: Any = None
    mm_processor_kwargs: Any = None
    likert: Any = None
    """What the asker was told about this server; refused if it is another one by now."""


@dataclass(frozen=True)
class ChatQuestion:
    """A request in our own terms."""

    prompt: Prompt
    pictures: tuple[tuple[str, bytes], ...]
    """(field, file) of each, in the order shown."""
    constraint: Constraint
    logprobs: bool
    num_alternatives: int
    """How many choices the client wants to hear the log-probabilities of."""


def chat_question(body: Any, settings: RaterSettings, name: str, served: Served) -> ChatQuestion:
    """Read a request's body for a server of these settings whose model has this name. Raises Problem."""
    request = _request(body, settings)
    _check_model(request, name)
    _check_served(request, served)
    _check_sampling(request, settings)
    _check_pixels(request, settings)
    constraint = constraint_of(request.structured_outputs, request.response_format)
    _check_logprobs(request, constraint)
    system, earlier, last, pictures = _conversation(request.messages)
    prompt = Prompt(
        last,
        with_images=bool(pictures),
        system=system,
        earlier=earlier,
        schema=constraint.schema,
        max_tokens=_max_tokens(request, constraint, settings.max_model_len),
    )
    return ChatQuestion(prompt, pictures, constraint, request.logprobs, request.top_logprobs or 0)


def completion(question: ChatQuestion, reply: Reply, name: str) -> dict[str, Any]:
    """The body of a response."""
    text = json.dumps(reply.text) if question.constraint.quoted else reply.text
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": _logprobs(question, reply) if question.logprobs else None,
        "finish_reason": "length" if reply.cut_short else "stop",
    }
    usage = {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [choice],
        "usage": usage,
    }


def _request(body: Any, settings: RaterSettings) -> ChatRequest:
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object")
    # null stands for "not given" in what clients send.
    given = {name: value for name, value in body.items() if value is not None and name not in HARMLESS}
    for name, neutral in (NEUTRAL | GREEDY).items():
        if name not in given:
            continue
        value = given.pop(name)
        of_no_effect = name in GREEDY and settings.temperature == 0
        if not of_no_effect and not _is_one_of(value, neutral):
            raise Problem(
                400,
                f"{name} {_short(value)}: this server does not do that; leave it out, or send "
                f"{' or '.join(map(json.dumps, neutral))}",
                name,
                "unsupported_parameter",
            )
    unknown = sorted(given.keys() - ChatRequest.model_fields.keys())
    if unknown:
        raise Problem(
            400,
            f"{unknown[0]!r} is not known to this server, which leaves nothing out silently; do not send it",
            unknown[0],
            "unknown_parameter",
        )
    try:
        return ChatRequest.model_validate(given)
    except ValidationError as error:
        raise of_validation(400, error) from None


def _is_one_of(value: Any, neutral: tuple[Any, ...]) -> bool:
    # In Python true equals 1.
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)


def _check_model(request: ChatRequest, name: str) -> None:
    if request.model not in (None, name):
        raise Problem(
            404,
            f"the model {_short(request.model)} is not served here; this server's is {name!r}",
            "model",
            "model_not_found",
        )


def _check_served(request: ChatRequest, served: Served) -> None:
    own, told = served.model_dump(), request.likert
    if told is None or told == own:
        return
    others = [name for name in own if not isinstance(told, dict) or told.get(name) != own[name]]
    named = ", ".join(f"{name} {_short(own[name])}" for name in others)
    raise Problem(412, f"this server is not the one that the asker was told of; it has {named or 'less to say'}", FIELD)


def _check_sampling(request: ChatRequest, settings: RaterSettings) -> None:
    asked, own = request.temperature, settings.temperature
    if asked is not None and asked != own:
        raise Problem(
            400,
            f"temperature {asked:g}: this server answers at temperature {own:g}; leave it out, or start one with "
            f"temperature={asked:g}",
            "temperature",
            "unsupported_value",
        )
    # At temperature 0 any seed gives the same answer.
    if request.seed not in (None, settings.seed) and own > 0:
        raise Problem(
            400,
            f"seed {request.seed}: this server answers with seed {settings.seed}; leave it out, or start one with "
            f"seed={request.seed}",
            "seed",
            "unsupported_value",
        )


def _check_pixels(request: ChatRequest, settings: RaterSettings) -> None:
    own = {"size": {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}}
    if request.mm_processor_kwargs not in (None, {}, own):
        raise Problem(
            400,
            f"mm_processor_kwargs {_short(request.mm_processor_kwargs)}: this server shows pictures of "
            f"{settings.min_pixels} to {settings.max_pixels} pixels; leave it out, or start one with other min_pixels "
            "and max_pixels",
            "mm_processor_kwargs",
            "unsupported_value",
        )


def _check_logprobs(request: ChatRequest, constraint: Constraint) -> None:
    if request.top_logprobs and not request.logprobs:
        raise Problem(400, "top_logprobs is given without logprobs: true", "top_logprobs")
    if request.logprobs and not constraint.choices:
        raise Problem(
            400,
            "logprobs: this server tells them of choices only; send structured_outputs.choice, or a "
            "response_format whose schema is an enum of single characters",
            "logprobs",
            "unsupported_value",
        )


def _max_tokens(request: ChatRequest, constraint: Constraint, context: int) -> int | None:
    given = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(given) > 1:
        raise Problem(400, "max_tokens and max_completion_tokens differ; send one of them", "max_tokens")
    asked = next(iter(given), None)
    if constraint.quoted and asked is not None and asked < QUOTED_TOKENS:
        raise Problem(400, f"max_tokens {asked}: an answer in quotation marks has {QUOTED_TOKENS} tokens", "max_tokens")
    # A choice is always one token; no answer is longer than the context.
    return None if constraint.choices or asked is None else min(asked, context)


def _conversation(
    messages: list[Message],
) -> tuple[str, tuple[tuple[str, str], ...], str, tuple[tuple[str, bytes], ...]]:
    """System text, earlier turns, the last user turn, and the first one's pictures.

    Raises Problem for any other layout.
    """
    system, turns, offset = "", messages, 0
    if messages[0].role in ("system", "developer"):
        system, turns, offset = _text(messages[0], 0), messages[1:], 1
        if not system:
            raise Problem(400, "messages[0].content is empty; leave the system message out", "messages[0].content")
    expected = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    if [turn.role for turn in turns] != expected:
        found = _short(", ".join(message.role for message in messages))
        raise Problem(
            400,
            f"messages have the roles {found}: must be one system message or none, then user and assistant in turn, "
            "and end with the user",
            "messages",
        )
    pictures = _pictures(turns[0], offset)
    first, *others = [_text(turn, offset + index, with_pictures=index == 0) for index, turn in enumerate(turns)]
    said = [first, *others]
    return system, tuple(zip(said[:-1:2], said[1::2], strict=True)), said[-1], pictures


def _pictures(turn: Message, index: int) -> tuple[tuple[str, bytes], ...]:
    """The pictures before the first user turn's text."""
    if isinstance(turn.content, str):
        return ()
    pictures = []
    for place, part in enumerate(turn.content):
        if isinstance(part, ImagePart):
            field = f"messages[{index}].content[{place}].image_url.url"
            if place > len(pictures):
                raise Problem(
                    400,
                    f"messages[{index}].content[{place}] is a picture after text: the pictures must stand before "
                    "the text of the first user message",
                    f"messages[{index}].content",
                )
            pictures.append((field, decode_data_url(field, part.image_url.url)))
    return tuple(pictures)


def _text(turn: Message, index: int, with_pictures: bool = False) -> str:
    """The text of a turn, its parts one after the other, as the models' templates have it."""
    if isinstance(turn.content, str):
        return turn.content
    if not with_pictures and any(isinstance(part, ImagePart) for part in turn.content):
        raise Problem(
            400,
            f"messages[{index}] has a picture: they may stand in the first user message only, before its text",
            f"messages[{index}].content",
        )
    return "".join(part.text for part in turn.content if isinstance(part, TextPart))


def _logprobs(question: ChatQuestion, reply: Reply) -> dict[str, Any] | None:
    """Log-probabilities of the choices, among the choices; None where the rater tells none."""
    if reply.probabilities is None:
        return None
    told = {
        choice: _told(choice, math.log(probability) if probability > 0 else UNLIKELY)
        for choice, probability in zip(question.constraint.choices, reply.probabilities, strict=True)
    }
    likely = sorted(told.values(), key=lambda one: -one["logprob"])[: question.num_alternatives]
    tokens = [told[reply.text] | {"top_logprobs": likely}]
    if question.constraint.quoted:
        mark = _told('"', 0.0)
        certain = mark | {"top_logprobs": [mark] if question.num_alternatives else []}
        tokens = [certain, *tokens, certain]
    return {"content": tokens, "refusal": None}


def _told(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:60] + "..."
