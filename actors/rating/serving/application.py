"""The web application around a rating server.

POST /v1/chat/completions   OpenAI's, pictures as data: URLs
GET  /v1/models             OpenAI's; "likert" says which weights answer, and how they are run
POST /v1/ratings            {"images": ["<base64 PNG>"], "instruction": "close the drawer", "focus": "the drawer",
                             "num_ratings": 3, "rubric": [], "mode": "two_turn", "frame_note": ""}
                            -> {"rating": 1, "word": "Average", "probabilities": [...], "analysis": "...", ...}
                            or {"failure": {"cause": "timeout", "detail": "...", "attempts": 3}} with status 502
GET  /v1/statistics         the server's counters and which weights answer

Errors are in OpenAI's form.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pydantic_core
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from actors.rating.endpoint.served import FIELD, Served
from actors.rating.models import POCKET_FOLDERS
from actors.rating.server import RatingServer
from actors.rating.serving.chat import chat_question, completion
from actors.rating.serving.guard import Guard
from actors.rating.serving.limits import Limits
from actors.rating.serving.problems import Problem, of_failure
from actors.rating.serving.ratings import rating_body, rating_request
from actors.rating.serving.uploads import Uploads
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, RatingFailure


def application(
    server: RatingServer, settings: RaterSettings, key: str | None = None, limits: Limits | None = None
) -> Starlette:
    """The application around a server of these settings, which it starts and shuts down with itself.

    With a `key` every request must bring it.
    """
    limits = limits or Limits()
    uploads = Uploads(limits)
    routes = _Routes(server, settings, limits, uploads)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            await server.start()
            yield
        finally:
            uploads.close()
            await server.shutdown()

    return Starlette(
        routes=[
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/ratings", routes.rate, methods=["POST"]),
            Route("/v1/statistics", routes.statistics),
        ],
        middleware=[Middleware(Guard, key=key, limits=limits)],
        exception_handlers={Problem: _problem, HTTPException: _no_such_route, Exception: _unexpected},
        lifespan=lifespan,
    )


class _Routes:
    """What each address does."""

    def __init__(self, server: RatingServer, settings: RaterSettings, limits: Limits, uploads: Uploads) -> None:
        self._server = server
        self._settings = settings
        self._uploads = uploads
        self._longest_text = limits.characters_per_token * settings.max_model_len
        self._started = int(time.time())

    async def models(self, request: Request) -> JSONResponse:
        """The one model."""
        return JSONResponse({"object": "list", "data": [await self._model()]})

    async def model(self, request: Request) -> JSONResponse:
        """The same, by its name."""
        model = await self._model()
        if request.path_params["name"] != model["id"]:
            raise Problem(404, f"there is no such model; this server's is {model['id']!r}", "model", "model_not_found")
        return JSONResponse(model)

    async def chat(self, request: Request) -> JSONResponse:
        """A chat completion."""
        identity = await self._server.identity()
        name = served_name(self._settings, identity)
        question = chat_question(await _json(request), self._settings, name, Served.by(self._settings, identity))
        prompt = question.prompt
        self._check_length(prompt.system, prompt.text, *(text for turn in prompt.earlier for text in turn))
        pictures = await self._uploads.pngs(question.pictures)
        outcome = await self._server.complete(prompt, pictures, question.constraint.choices)
        if isinstance(outcome, RatingFailure):
            raise of_failure(outcome)
        return JSONResponse(completion(question, outcome.reply, name))

    async def rate(self, request: Request) -> JSONResponse:
        """A rating."""
        question = await rating_request(await _json(request), self._settings.mode, self._uploads)
        task, scale = question.task, question.scale
        self._check_length(task.instruction, task.focus, task.agent, question.frame_note, *scale.rubric)
        outcome = await self._server.rate_one(question)
        if isinstance(outcome, RatingFailure):
            failure = {"cause": outcome.cause, "detail": outcome.detail, "attempts": outcome.attempts}
            return JSONResponse({"failure": failure}, status_code=502)
        return JSONResponse(rating_body(question, outcome))

    async def statistics(self, request: Request) -> JSONResponse:
        """Counters."""
        identity = await self._server.identity()
        counters = await self._server.statistics()
        return JSONResponse(counters | {"model": identity.model, "revision": identity.revision})

    async def _model(self) -> dict[str, Any]:
        identity = await self._server.identity()
        return {
            "id": served_name(self._settings, identity),
            "object": "model",
            "created": self._started,
            "owned_by": "likert",
            "max_model_len": self._settings.max_model_len,
            FIELD: Served.by(self._settings, identity).model_dump(),
        }

    def _check_length(self, *texts: str) -> None:
        length = sum(map(len, texts))
        if length > self._longest_text:
            raise Problem(
                400,
                f"the text has {length} characters, which do not fit the model's {self._settings.max_model_len} tokens",
                code="context_length_exceeded",
            )


def served_name(settings: RaterSettings, identity: RaterIdentity) -> str:
    """What clients call the model: never a path of this machine."""
    if settings.endpoint is not None:
        return identity.model
    if settings.model in POCKET_FOLDERS or not identity.model.startswith("sha256:"):
        return settings.model
    return Path(settings.model).expanduser().resolve().name


async def _json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, f"the body is {kind or 'of no stated type'}; send it with Content-Type: application/json")
    try:
        # Refuses nesting without end, numbers without end, and text that is no Unicode.
        return pydantic_core.from_json(await request.body(), allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


async def _problem(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return JSONResponse(problem.body(), problem.status, problem.headers)


async def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", headers=error.headers)
    return await _problem(request, problem)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises it again, and uvicorn logs it.
    return await _problem(request, Problem(500, "the server met an error of its own; its output has it"))
