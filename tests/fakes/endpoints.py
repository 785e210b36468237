"""OpenAI-compatible servers that people run, as functions: what each takes, ignores and answers.

Made from their documentation and public reports, with a made-up model behind; none of them runs here. The model
describes pictures, and rates: its next word, asked for a level, is most likely "3", and asked to describe, "The".
"""

import asyncio
import json
import math
import re
import struct
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from actors.rating.backend import Needs, Reply
from actors.rating.endpoint.client import EndpointBackend
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.prompts import Prompt

URL = "http://rater.test/v1"
SETTINGS = RaterSettings(endpoint=URL, model="org/model", deadline_s=20.0)
QUESTION = Prompt("How well is the task completed? Answer with the number of one level.", with_images=True)
LEVELS = ("1", "2", "3")
PROSE = "The picture shows a drawer."

Handler = Callable[[httpx.Request], httpx.Response]


def png_of_size(width: int, height: int) -> bytes:
    """A PNG file of one colour."""
    return encode_png(np.full((height, width, 3), 90, np.uint8))


PNG = png_of_size(64, 64)


def completion(content: Any, logprobs: Any = None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion; `logprobs` as `tops` makes them."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish_reason,
        "logprobs": logprobs,
    }
    return {
        "object": "chat.completion",
        "choices": [choice],
        "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
    }


def tops(*positions: dict[str, float]) -> dict[str, Any]:
    """Log-probabilities as OpenAI has them, from the probabilities at each position; the first token is the chosen."""
    content = []
    for position in positions:
        told = [
            {"token": token, "logprob": math.log(p) if p else -9999.0, "bytes": list(token.encode("utf-8", "replace"))}
            for token, p in position.items()
        ]
        content.append({**told[0], "top_logprobs": sorted(told, key=lambda one: -one["logprob"])})
    return {"content": content}


@dataclass
class Server:
    """A server that takes what `taken` names; a field that is not there is ignored, or refused if it is in `refused`.

    Settings of a kind of server: `leading`, tokens before each answer; `masked`, whether log-probabilities are those
    after the constraint; `thought`, what its model thinks before each answer, told in the field `thinks_in` or, if that
    is empty, in the content.
    """

    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    leading: tuple[str, ...] = ()
    masked: bool = False
    obedient: bool = False
    """Its model answers with a bare level if it is asked to."""
    thought: str = ""
    thinks_in: str = "reasoning_content"
    most_pictures: int = 99
    no_pictures: tuple[int, str] | None = None
    pixels_a_token: int = 784
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that it adds to an answer."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of all questions."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if request.method == "GET":
            return httpx.Response(200, json={"object": "list", "data": [{"id": "org/model", "object": "model"}]})
        body = json.loads(request.content)
        self.sent.append(body)
        for name in self.refused:
            if name in body:
                return httpx.Response(400, json={"error": {"message": f"unknown field {name}", "code": 400}})
        pictures = pictures_of(body)
        if pictures and self.no_pictures:
            status, message = self.no_pictures
            return httpx.Response(status, json={"error": {"message": message, "code": status}})
        if len(pictures) > self.most_pictures:
            message = f"At most {self.most_pictures} image(s) may be provided in one prompt."
            return httpx.Response(400, json={"error": {"message": message, "type": "BadRequestError", "code": 400}})
        return httpx.Response(200, json=self._answer(body, pictures) | self.extra)

    @property
    def questions(self) -> list[dict[str, Any]]:
        """Bodies of the questions that were no probe."""
        return [body for body in self.sent if body["messages"][0]["content"] != "You look at pictures."]

    def _answer(self, body: dict[str, Any], pictures: list[tuple[int, int]]) -> dict[str, Any]:
        text, position, mass = self._said(body)
        tokens = [{one: 1.0} for one in self.leading] + [{one: 1.0} for one in re.findall(r"\d+|[^\d]+", text)]
        if position is not None:
            tokens[len(self.leading) + position] = mass
        thought = [] if _is_cut(body, self.thought) else tokens
        spoken = "".join(next(iter(one)) for one in thought)
        if self.thought:
            tokens = [*({one: 1.0} for one in (*re.findall(r"\S+\s*", self.thought), "</think>\n\n")), *thought]
        told = tops(*tokens) if "logprobs" in self.taken and body.get("logprobs") else None
        if self.thought and not self.thinks_in:
            close = "</think>\n\n" if thought else ""
            answer = completion(f"<think>{self.thought}{close}{spoken}", told)
        elif self.thought:
            answer = completion(spoken or None, told, **{self.thinks_in: self.thought})
        else:
            answer = completion(spoken, told)
        if not thought or (text == PROSE and body["max_tokens"] < 20):
            answer["choices"][0]["finish_reason"] = "length"
        answer["usage"]["prompt_tokens"] = 30 + sum(-(-w * h // self.pixels_a_token) for w, h in pictures)
        return answer

    def _said(self, body: dict[str, Any]) -> tuple[str, int | None, dict[str, float]]:
        """The text, which of its tokens is the level, and what else could have stood there."""
        wanted = str(body["messages"][-1]["content"])
        rates = "Answer with" in wanted
        level = {"3": 0.7, "2": 0.2, "1": 0.06, "The": 0.04} if rates else {"3": 0.001, "The": 0.95, "Good": 0.04}
        if self.masked:
            level = {"3": 0.75, "2": 0.2, "1": 0.05}
        if "structured_outputs" in self.taken and "structured_outputs" in body:
            constraint = body["structured_outputs"]
            if "choice" in constraint:
                return self._choice(constraint["choice"], level)
            return _numbers(constraint["json"]["minItems"]), None, {}
        if "response_format" in self.taken and "response_format" in body:
            schema = body["response_format"]["json_schema"]["schema"]
            if schema.get("type") == "object":
                inner = schema["properties"]["answer"]
                text, _, level = self._schema(inner, level)
                place = 1 if "enum" in inner else None
                return f'{{"answer": {text}}}', place, level
            return self._schema(schema, level)
        if rates and self.obedient:
            offered = re.search(r"one of ([^.]*)\.", wanted)
            choices = offered[1].split(", ") if offered else ["3"]
            return ("[3,4]", None, {}) if "JSON" in wanted else self._choice(choices, level)
        return PROSE, None, {}

    def _schema(self, schema: dict[str, Any], level: dict[str, float]) -> tuple[str, int | None, dict[str, float]]:
        if "enum" not in schema:
            return _numbers(schema["minItems"]), None, {}
        return self._choice([json.dumps(one) for one in schema["enum"]], level)

    def _choice(self, choices: list[str], level: dict[str, float]) -> tuple[str, int | None, dict[str, float]]:
        if "3" in choices:
            return "3", 0, level
        return choices[0], 0, {choices[0]: 0.6, choices[-1]: 0.4}


def _numbers(number: int) -> str:
    return json.dumps([3 + place for place in range(number)])


def _is_cut(body: dict[str, Any], thought: str) -> bool:
    """Whether the limit of tokens comes before the end of the thought."""
    return bool(thought) and body["max_tokens"] < len(thought.split(" ")) + 4


def pictures_of(body: dict[str, Any]) -> list[tuple[int, int]]:
    """Width and height of every picture."""
    parts = [part for message in body["messages"] for part in message["content"] if isinstance(part, dict)]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [struct.unpack(">II", b64decode(url.partition(",")[2])[16:24]) for url in urls]


def after_probe(
    reply: httpx.Response | Callable[[httpx.Request], httpx.Response], server: Server | None = None
) -> Handler:
    """A server that is found well, and then answers every question with `reply`."""
    server = server or vllm()

    def answer(request: httpx.Request) -> httpx.Response:
        found = server(request)
        if request.method == "GET" or not server.questions or server.sent[-1] is not server.questions[-1]:
            return found
        return reply(request) if callable(reply) else reply

    return answer


def generate(
    handler: Handler,
    settings: RaterSettings = SETTINGS,
    images: tuple[bytes, ...] = (PNG,),
    choices: tuple[str, ...] = LEVELS,
    prompt: Prompt = QUESTION,
) -> Reply:
    """One reply of a backend whose network is `handler`."""
    return asyncio.run(_with_backend(handler, settings, lambda backend: backend.generate(prompt, images, choices)))


def check(handler: Handler, needs: Needs, settings: RaterSettings = SETTINGS) -> str:
    """The line about a server."""
    return asyncio.run(_with_backend(handler, settings, lambda backend: backend.check(needs)))


async def _with_backend(handler: Handler, settings: RaterSettings, ask: Callable[[EndpointBackend], Any]) -> Any:
    backend = EndpointBackend(settings, httpx.MockTransport(handler))
    await backend.start()
    try:
        return await ask(backend)
    finally:
        await backend.close()


# ------------------------------------------------------------------------------------------------ kinds of server


def vllm(**changes: Any) -> Server:
    """vLLM: takes its own `structured_outputs` and OpenAI's `response_format`, ignores what it does not know; tells
    log-probabilities of the whole vocabulary, as they were before the constraint."""
    return Server(("structured_outputs", "response_format", "logprobs"), **{"thinks_in": "reasoning"} | changes)


def old_vllm(**changes: Any) -> Server:
    """vLLM before `structured_outputs`, which it ignores; its thoughts had another name."""
    return Server(("response_format", "logprobs"), **changes)


def sglang(**changes: Any) -> Server:
    """SGLang: `response_format`, beside `regex` and `ebnf` of its own."""
    return Server(("response_format", "logprobs"), **changes)


def ollama(**changes: Any) -> Server:
    """Ollama: `response_format`, which it calls `format`; everything unknown is dropped, log-probabilities too on its
    OpenAI route in several versions (ollama/ollama#16117); thoughts stand in `reasoning`."""
    return Server(
        ("response_format",), **{"thinks_in": "reasoning", "extra": {"system_fingerprint": "fp_ollama"}} | changes
    )


def llama_cpp(**changes: Any) -> Server:
    """llama.cpp's server: `response_format` becomes a grammar; some models begin with a new line, which has a place
    among the log-probabilities; without its vision part it fails inside at a picture (ggml-org/llama.cpp#13566)."""
    return Server(("response_format", "logprobs"), **{"leading": ("\n",), "extra": {"timings": {}}} | changes)


def lm_studio(**changes: Any) -> Server:
    """LM Studio: `response_format` of type json_schema or text alone; `logprobs` is there, and null."""
    return Server(("response_format",), **{"extra": {"stats": {}}} | changes)
