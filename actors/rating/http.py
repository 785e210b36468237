"""The rating server over HTTP, for programs outside the cluster: `likert serve`.

POST /v1/ratings      {"images": ["<base64 PNG>"], "instruction": "close the drawer", "focus": "the drawer",
                       "num_ratings": 3, "rubric": [], "mode": "two_turn", "frame_note": ""}
                      -> {"rating": 1, "word": "Average", "probabilities": [...], "analysis": "...", ...}
                      or {"failure": {"cause": "timeout", "detail": "...", "attempts": 3}} with status 502
GET /v1/statistics    -> the server's counters and which weights answer
"""

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from actors.rating.models import resolve_model
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.ratings import AskingMode, RatingFailure, RatingRequest, TaskText
from algorithms.scales import RatingScale

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Question(BaseModel):
    """Body of `POST /v1/ratings`."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[str], Field(min_length=1, max_length=64)]
    """PNG files in base64, in time order."""
    instruction: Annotated[str, Field(min_length=1)]
    """The task in one clause."""
    focus: Annotated[str, Field(min_length=1)]
    """The object to look at."""
    num_ratings: Literal[2, 3, 4, 5] = 3
    """Levels of the scale."""
    rubric: list[str] = Field(default_factory=list)
    """What each level looks like, worst first; empty for none."""
    mode: AskingMode | None = None
    """`two_turn` or `answer_only`; the server's own setting if absent."""
    frame_note: str = ""
    """How several images are laid out in time."""

    def request(self, default_mode: AskingMode) -> RatingRequest:
        """The question in our own terms. Raises ValueError if an image or the rubric does not fit."""
        return RatingRequest(
            images=tuple(_png(number, text) for number, text in enumerate(self.images)),
            task=TaskText(self.instruction, self.focus),
            scale=RatingScale.likert(self.num_ratings, tuple(self.rubric)),
            mode=self.mode or default_mode,
            frame_note=self.frame_note,
        )


def application(server: RatingServer, settings: RaterSettings) -> FastAPI:
    """The web application around a server, which it starts and shuts down with itself."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await server.start()
            yield
        finally:
            await server.shutdown()

    app = FastAPI(title="Likert rating server", lifespan=lifespan)

    @app.post("/v1/ratings", response_model=None)
    async def rate(question: Question) -> dict[str, Any] | JSONResponse:
        try:
            request = question.request(settings.mode)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        outcome = await server.rate_one(request)
        if isinstance(outcome, RatingFailure):
            failure = {"cause": outcome.cause, "detail": outcome.detail, "attempts": outcome.attempts}
            return JSONResponse({"failure": failure}, status_code=502)
        return {
            "rating": outcome.rating,
            "word": request.scale.words[outcome.rating],
            "probabilities": list(outcome.probabilities),
            "analysis": outcome.analysis,
            "latency_s": outcome.latency_s,
            "key": outcome.key,
        }

    @app.get("/v1/statistics")
    async def statistics() -> dict[str, Any]:
        identity = await server.identity()
        return await server.statistics() | {"model": identity.model, "revision": identity.revision}

    return app


def serve(settings: RaterSettings, host: str = "127.0.0.1", port: int = 8300) -> None:
    """Serve ratings until interrupted. There is no authentication: keep to loopback or a private network.

    Raises ValueError for a model that does not fit, and for several replicas: one process holds one engine.
    """
    if settings.num_replicas != 1:
        raise ValueError(
            f"rater.num_replicas {settings.num_replicas}: one `likert serve` holds one engine; "
            "start another one on another port"
        )
    if settings.server is not None:
        raise ValueError(
            f"rater.server {settings.server!r}: a server that runs share is started by `likert rater start`, "
            "and has no HTTP address"
        )
    if settings.endpoint is None:
        resolve_model(settings)
    uvicorn.run(application(RatingServer(settings), settings), host=host, port=port, log_level="warning")


def _png(number: int, text: str) -> bytes:
    try:
        image = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"images[{number}] is not base64: {error}") from error
    if not image.startswith(PNG_SIGNATURE):
        raise ValueError(f"images[{number}] is not a PNG file; encode frames as lossless PNG")
    return image
