"""A backend that asks an OpenAI-compatible server that someone already runs."""

import base64
import json
import math
import os
from typing import Any

import httpx

from actors.rating.backend import Refused, Reply, ServerError, Unparsable
from actors.rating.settings import POCKET, RaterSettings
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity

KEY_VARIABLE = "LIKERT_ENDPOINT_KEY"
"""Environment variable that holds the endpoint's key, if it wants one."""

CONNECT_TIMEOUT_S = 10.0
"""For a connection only; how long an answer may take is the question's deadline."""

CHOICE_TOKENS = 4
"""A level and an end; a server that ignores the constraint and chats is cut short and found unparsable."""

JSON_TOKENS = 512
"""Bounds an answer of a server that ignores the schema and goes on."""

TOP_LOGPROBS = 20
"""As many as such servers commonly give."""

TRANSIENT_STATUS = (408, 409, 425, 429)
"""Statuses below 500 that mean 'later', not 'never'."""


class EndpointBackend:
    """Chat completions over HTTP, pictures as base64 PNG.

    A level is constrained by vLLM's `structured_outputs`. The text is parsed strictly all the same, because a server
    may ignore that field. The key is read from the environment variable LIKERT_ENDPOINT_KEY and goes into the request
    header, nowhere else.

    `transport` replaces the network, for tests.
    """

    restarts = 0

    def __init__(self, settings: RaterSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        if settings.endpoint is None:
            raise ValueError("rater.endpoint is not set; give the base URL of a server, such as http://host:8000/v1")
        self._settings = settings
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._model = "" if settings.model == POCKET else settings.model

    async def start(self) -> None:
        """Connect, and find out which model is served if `rater.model` does not say.

        Raises ServerError or Refused if the server does not tell, ValueError if it serves several.
        """
        if self._client is None:
            key = os.environ.get(KEY_VARIABLE)
            self._client = httpx.AsyncClient(
                base_url=self._settings.endpoint,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
                limits=httpx.Limits(max_connections=self._settings.max_in_flight),
                transport=self._transport,
            )
        if not self._model:
            self._model = await self._served_model()

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Answer one prompt. Probabilities are None unless the server reports token probabilities."""
        body = await self._send("POST", "chat/completions", self._question(prompt, images, choices))
        try:
            answer = body["choices"][0]
            text = answer["message"]["content"].strip()
            usage = body.get("usage") or {}
            num_tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
            probabilities = label_probabilities(answer.get("logprobs"), choices) if choices else None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise Unparsable(f"the endpoint's reply is no chat completion: {str(body)[:200]!r}") from error
        return Reply(text, probabilities, *num_tokens)

    def identity(self) -> RaterIdentity:
        """The served model's name. Its weights can not be checked from here: `rater.revision` can tell them apart."""
        return RaterIdentity(self._model, self._settings.revision or "endpoint")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _question(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> dict[str, Any]:
        settings = self._settings
        pictures = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}}
            for image in images
        ]
        question: dict[str, Any] = {
            "model": self._model,
            "messages": _messages(prompt, pictures),
            "temperature": settings.temperature,
            "seed": settings.seed,
            "max_tokens": CHOICE_TOKENS if choices else JSON_TOKENS if prompt.schema else settings.max_analysis_tokens,
        }
        if prompt.schema:
            question["structured_outputs"] = {"json": json.loads(prompt.schema)}
        if choices:
            question |= {
                "structured_outputs": {"choice": list(choices)},
                "logprobs": True,
                "top_logprobs": TOP_LOGPROBS,
            }
        if images and {"min_pixels", "max_pixels"} & settings.model_fields_set:
            # vLLM's name for them; sent only if asked for, because other servers may refuse unknown fields.
            edges = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
            question["mm_processor_kwargs"] = {"size": edges}
        return question

    async def _served_model(self) -> str:
        body = await self._send("GET", "models")
        try:
            names = [str(model["id"]) for model in body["data"]]
        except (KeyError, TypeError) as error:
            raise Unparsable(
                f"rater.endpoint {self._settings.endpoint}: its list of models is not in OpenAI's format; "
                "check the address (it commonly ends in /v1), or set rater.model"
            ) from error
        if len(names) != 1:
            raise ValueError(
                f"rater.endpoint {self._settings.endpoint} serves {len(names)} models ({', '.join(names)}); "
                "set rater.model to one of them"
            )
        return names[0]

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self._client is None:
            raise ServerError("the endpoint's client is not connected")
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise ServerError(f"{self._settings.endpoint} does not answer: {type(error).__name__} {error}") from error
        status = f"{self._settings.endpoint} answers {response.status_code}: {response.text[:200]}"
        if response.status_code in TRANSIENT_STATUS or response.status_code >= 500:
            raise ServerError(status)
        if response.status_code in (401, 403):
            raise Refused(f"{status} (set {KEY_VARIABLE} to a key that it accepts)")
        if not response.is_success:
            raise Refused(status)
        try:
            return response.json()
        except ValueError as error:
            raise Unparsable(f"{self._settings.endpoint} answers with something else than JSON") from error


def _messages(prompt: Prompt, pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's form; pictures precede the first user turn."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": prompt.system}]
    for said, answered in prompt.earlier:
        messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": said}]})
        messages.append({"role": "assistant", "content": answered})
        pictures = []
    return [*messages, {"role": "user", "content": [*pictures, {"type": "text", "text": prompt.text}]}]


def label_probabilities(logprobs: Any, labels: tuple[str, ...]) -> tuple[float, ...] | None:
    """Probability of each label at the answer's first token, renormalised over the labels; None if not reported.

    A server reports its most likely tokens only: a label that is not among them counts as 0.
    """
    try:
        alternatives = logprobs["content"][0]["top_logprobs"]
        weights = [
            math.fsum(math.exp(entry["logprob"]) for entry in alternatives if entry["token"].strip() == label)
            for label in labels
        ]
    except (KeyError, IndexError, TypeError):
        return None
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights) if total > 0 else None
