"""What is wrong with a request, and how that is said: a status, and an error in OpenAI's form."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from algorithms.ratings import FailureCause, RatingFailure

FAILURE_STATUS: Mapping[FailureCause, int] = {
    "refused": 400,
    "timeout": 504,
    "server_error": 502,
    "unparsable": 502,
    "engine_dead": 503,
}
"""Status of a question that got no answer: below 500 if asking again gives the same."""

LONGEST_VALUE = 60
"""Characters of a value that are repeated in a message: it may be a picture."""


class Problem(Exception):
    """Why a request gets no answer. `param` names the field."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def of_failure(failure: RatingFailure) -> Problem:
    """A question that the model did not answer."""
    times = "" if failure.attempts == 1 else f" (asked {failure.attempts} times)"
    return Problem(FAILURE_STATUS[failure.cause], f"{failure.detail}{times}", code=failure.cause)


def of_validation(status: int, error: ValidationError) -> Problem:
    """Fields that are missing, unknown or of another type; the first one is the `param`."""
    lines = []
    for one in error.errors(include_url=False, include_context=False):
        value = repr(one["input"])
        shown = value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "..."
        given = "" if one["type"] == "missing" else f" (given: {shown})"
        lines.append(f"{path_of(one['loc'])}: {one['msg']}{given}")
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return Problem(status, "; ".join(lines), path_of(first["loc"]) or None)


def path_of(location: tuple[int | str, ...]) -> str:
    """A field's place in a body, such as `messages[0].content`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
