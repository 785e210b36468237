"""A backend that asks an OpenAI-compatible server that someone already runs."""

import asyncio
import base64
from contextlib import suppress
from typing import Any

import httpx

from actors.rating.backend import Needs, RaterError, Refused, Reply, ServerError, Unparsable
from actors.rating.endpoint.completion import Completion, read_completion
from actors.rating.endpoint.connection import Connection
from actors.rating.endpoint.forms import FREE
from actors.rating.endpoint.logprobs import label_probabilities
from actors.rating.endpoint.probe import Manner, Probe, ProbeQuestion, tiny_png
from actors.rating.endpoint.served import FIELD, LOOK_S, Served, named_model, read_served
from actors.rating.images import sized_png
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity

CHOICE_TOKENS = 4
"""A level and an end; a server that ignores the constraint and chats is cut short and found unparsable."""

JSON_TOKENS = 512
"""Bounds an answer of a server that ignores the schema and goes on."""

FREE_TEXT = Manner(FREE)


class EndpointBackend:
    """Chat completions over HTTP, pictures as base64 PNG.

    How a level, or a list of scores, is constrained depends on what the server obeys: a probe finds it out before the
    first question of each kind, or when `check` is told of the kind. Answers are parsed strictly all the same. A likert
    server says which weights answer and how they are run; it sizes pictures itself.

    `transport` replaces the network, for tests.
    """

    restarts = 0

    def __init__(self, settings: RaterSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        if settings.endpoint is None:
            raise ValueError("rater.endpoint is not set; give the base URL of a server, such as http://host:8000/v1")
        self._settings = settings
        self._transport = transport
        self._connection: Connection | None = None
        self._model = named_model(settings)
        self._served: Served | None = None
        self._manners: dict[str, Manner] = {}
        self._probing = asyncio.Lock()

    async def start(self) -> None:
        """Connect, and find out which model is served if `rater.model` does not say, and whether by a likert server.

        Raises ServerError or Refused if the server does not tell, ValueError if it serves several, or if it is a likert
        server that runs its weights otherwise than the settings say.
        """
        if self._connection is None:
            settings = self._settings
            self._connection = Connection(str(settings.endpoint), settings.max_in_flight, self._transport)
        models = await self._models()
        self._served = read_served(models, self._model)
        if not self._model:
            self._model = self._only_one(models)
        if self._served is not None and self._served.agreed(self._settings) != self._settings:
            raise ValueError(
                f"rater.endpoint {self._settings.endpoint} was not there, or was another one, when these settings were "
                "read; now that it is, give the command again"
            )

    async def check(self, needs: Needs) -> str:
        """One line about what a run with these needs relies on. Raises Refused, with the remedy, if they can not be
        met, and ServerError if the server does not answer."""
        facts = []
        if needs.choices or needs.schema:
            manner = await self._manner(needs)
            if needs.probabilities and not manner.tells_probabilities:
                raise Refused(
                    f"{self._where} tells no log-probabilities of its answers, which this run needs; use a server that "
                    "does (docs/endpoints.md), or a mode or labeller that asks for text"
                )
            facts.append(f"{'levels' if needs.choices else 'lists of scores'} by {manner.form.name}")
            if needs.choices:
                facts.append(f"probabilities {'yes' if manner.tells_probabilities else 'no'}")
            if manner.thinks:
                facts.append(f"thinks first, rater.max_analysis_tokens = {self._settings.max_analysis_tokens} at most")
            if needs.num_pictures > 1:
                facts.append(f"{needs.num_pictures} pictures a question")
            facts.append(await self._probe.tokens_of_a_picture(needs, manner))
        limits = f"{self._settings.min_pixels:,} to {self._settings.max_pixels:,}"
        facts.append(f"pictures brought to {limits} pixels {'there' if self._served else 'here'}")
        return f"rater: {self._where}: {', '.join(filter(None, facts))}"

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Answer one prompt. Probabilities are None unless the server tells those of the answer's own token."""
        manner = FREE_TEXT
        if choices or prompt.schema:
            manner = await self._manner(Needs(choices, prompt.schema, num_pictures=max(1, len(images))))
        pictures = await asyncio.to_thread(self._sized, images) if images else ()
        completion = await self._ask(prompt, pictures, choices, manner)
        text = completion.answer(self._settings.max_analysis_tokens)
        probabilities = None
        if choices:
            answer, text = text, manner.form.label(text, choices)
            probabilities = label_probabilities(completion.logprobs, answer, text, choices, completion.thought)
        elif prompt.schema:
            text = manner.form.document(text)
        return Reply(
            text,
            probabilities,
            completion.prompt_tokens,
            completion.completion_tokens,
            cut_short=completion.was_cut,
            thought=completion.thought,
        )

    def identity(self) -> RaterIdentity:
        """What a likert server says, else the served model's name.

        Its weights can not be checked from here: `rater.revision` can tell them apart.
        """
        if self._served is not None:
            return self._served.identity
        return RaterIdentity(self._model, self._settings.revision or "endpoint")

    async def close(self) -> None:
        """Close the connections."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @property
    def _where(self) -> str:
        return f"{self._settings.endpoint} (model {self._model})"

    @property
    def _probe(self) -> Probe:
        return Probe(self._ask_probe, self._where, self._settings.max_analysis_tokens)

    def _sized(self, images: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Within the limits that keys name; what lies between them goes out as it is.

        A likert server keeps to them itself, by the model's own tokens.
        """
        if self._served is not None:
            return images
        return tuple(sized_png(image, self._settings.min_pixels, self._settings.max_pixels) for image in images)

    async def _manner(self, needs: Needs) -> Manner:
        """How to put questions of this kind; found out once."""
        kind = "choice" if needs.choices else "json"
        async with self._probing:
            if kind not in self._manners:
                self._manners[kind] = await self._probe.manner(needs)
            return self._manners[kind]

    async def _ask_probe(self, question: ProbeQuestion, manner: Manner) -> Completion:
        pictures = tuple(map(tiny_png, question.pictures_px))
        return await self._ask(question.prompt, pictures, question.choices, manner)

    async def _ask(
        self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...], manner: Manner
    ) -> Completion:
        return read_completion(
            await self._send("POST", "chat/completions", self._question(prompt, images, choices, manner))
        )

    def _question(
        self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...], manner: Manner
    ) -> dict[str, Any]:
        pictures = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}}
            for image in images
        ]
        question: dict[str, Any] = {
            "model": self._model,
            "messages": _messages(prompt, pictures),
            "temperature": self._settings.temperature,
            "seed": self._settings.seed,
            "max_tokens": self._most_tokens(prompt, choices, manner),
        }
        if self._served is not None:
            # A server that was started anew, with other weights or other limits, must not answer in the old one's name.
            question[FIELD] = self._served.model_dump()
        if choices:
            question |= manner.form.choice(choices)
            if manner.top_logprobs:
                question |= {"logprobs": True, "top_logprobs": manner.top_logprobs}
        elif prompt.schema:
            question |= manner.form.json(prompt.schema)
        return question

    def _most_tokens(self, prompt: Prompt, choices: tuple[str, ...], manner: Manner) -> int:
        most = self._settings.max_analysis_tokens
        if not choices and not prompt.schema:
            return prompt.max_tokens or most
        answer = (CHOICE_TOKENS if choices else prompt.max_tokens or JSON_TOKENS) + manner.form.extra_tokens
        return answer + (most if manner.thinks else 0)

    async def _models(self) -> Any:
        """What the server lists. Where `rater.model` names one, a server without a list will do."""
        if not self._model:
            return await self._send("GET", "models")
        with suppress(RaterError, TimeoutError):
            async with asyncio.timeout(LOOK_S):
                return await self._send("GET", "models")
        return None

    def _only_one(self, models: Any) -> str:
        try:
            names = [str(model["id"]) for model in models["data"]]
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
        if self._connection is None:
            raise ServerError("the endpoint's client is not connected")
        return await self._connection.send(method, path, body)


def _messages(prompt: Prompt, pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's form; pictures precede the first user turn."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for said, answered in prompt.earlier:
        messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": said}]})
        messages.append({"role": "assistant", "content": answered})
        pictures = []
    return [*messages, {"role": "user", "content": [*pictures, {"type": "text", "text": prompt.text}]}]
