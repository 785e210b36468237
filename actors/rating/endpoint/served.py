"""What a `likert serve` says of itself, and settings that agree with it.

Such a server runs its weights by its own settings. What of them is part of a rating's key is taken from there, so that
a run which asks it finds the same keys as one with an engine of its own.
"""

import os
from functools import lru_cache
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from actors.rating.endpoint.connection import KEY_VARIABLE
from actors.rating.settings import POCKET, RaterSettings
from algorithms.ratings import RaterIdentity

FIELD = "likert"
"""Where an entry of a list of models, in OpenAI's form, holds it."""
LOOK_S = 10.0


class Served(BaseModel):
    """The weights that answer, and how they are run."""

    model_config = ConfigDict(frozen=True, strict=True)

    model: str
    """As in RaterIdentity."""
    revision: str
    temperature: float
    seed: int
    min_pixels: int
    max_pixels: int
    precision: str
    """As in Sampling."""

    @classmethod
    def by(cls, settings: RaterSettings, identity: RaterIdentity) -> "Served":
        """What a server of these settings says."""
        own = settings.sampling
        return cls(
            model=identity.model,
            revision=identity.revision,
            temperature=own.temperature,
            seed=own.seed,
            min_pixels=own.min_pixels,
            max_pixels=own.max_pixels,
            precision=own.precision,
        )

    @property
    def identity(self) -> RaterIdentity:
        """Which weights answer."""
        return RaterIdentity(self.model, self.revision)

    def agreed(self, asked: RaterSettings) -> RaterSettings:
        """`asked`, and for what it leaves open the server's own.

        Raises ValueError, naming both, for what it asks otherwise.
        """
        dtype, _, quantization = self.precision.partition("+")
        own: dict[str, Any] = {
            "temperature": self.temperature,
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
            "dtype": dtype,
            "quantization": quantization or None,
        }
        if self.temperature > 0:
            # At temperature 0 every seed gives the same answer.
            own["seed"] = self.seed
        if asked.revision is not None:
            own["revision"] = self.revision
        given = asked.model_dump(exclude_unset=True)
        others = [name for name in own if name in given and given[name] != own[name]]
        if others:
            told = ", ".join(f"{name} {own[name]!r} (asked for: {given[name]!r})" for name in others)
            raise ValueError(
                f"rater.endpoint {asked.endpoint} is a likert server with {told}; leave "
                f"{' and '.join(f'rater.{name}' for name in others)} out, or start the server with "
                f"{' '.join(f'{name}={given[name]}' for name in others)}"
            )
        try:
            return RaterSettings.model_validate(given | own)
        except ValidationError as error:
            raise ValueError(
                f"rater.endpoint {asked.endpoint} says of itself what this version does not know: {error}"
            ) from None


def read_served(models: Any, named: str) -> Served | None:
    """What a list of models in OpenAI's form says of the one called `named`, or of its only one.

    None if whoever wrote it is no likert server.
    """
    try:
        entries = {str(entry["id"]): entry for entry in models["data"]}
        entry = entries.get(named) or (next(iter(entries.values())) if len(entries) == 1 else {})
        return Served.model_validate(entry[FIELD])
    except (KeyError, TypeError, ValidationError):
        return None


def look(settings: RaterSettings) -> Served | None:
    """What the server at `rater.endpoint` says; None if it does not answer, or is no likert server.

    Asked once: a sweep has many trials.
    """
    return _look(str(settings.endpoint), named_model(settings), os.environ.get(KEY_VARIABLE))


@lru_cache
def _look(endpoint: str, named: str, key: str | None) -> Served | None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = httpx.get(f"{endpoint.rstrip('/')}/models", headers=headers, timeout=LOOK_S)
        return read_served(response.json(), named) if response.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


def named_model(settings: RaterSettings) -> str:
    """The model that `rater.model` asks an endpoint for; empty if it is the pocket rater, which is the default."""
    return "" if settings.model == POCKET else settings.model
