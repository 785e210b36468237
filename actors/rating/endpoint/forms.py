"""The forms in which servers take a constraint on an answer, and how an answer under each is read: strictly."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from actors.rating.backend import Unparsable

Way = Literal["structured_outputs", "schema", "object", "none"]
_FIELD = "answer"


@dataclass(frozen=True)
class Form:
    """One way to say what an answer must look like."""

    way: Way
    name: str
    """What the user is told."""
    extra_tokens: int
    """Tokens that it puts around an answer, at most."""

    def choice(self, choices: tuple[str, ...]) -> dict[str, Any]:
        """Fields of a request whose answer is one of `choices`."""
        if self.way == "structured_outputs":
            return {"structured_outputs": {"choice": list(choices)}}
        return self._response_format({"enum": [_value(choice) for choice in choices]})

    def json(self, schema: str) -> dict[str, Any]:
        """Fields of a request whose answer is JSON that obeys `schema`."""
        if self.way == "structured_outputs":
            return {"structured_outputs": {"json": json.loads(schema)}}
        return self._response_format(json.loads(schema))

    def label(self, text: str, choices: tuple[str, ...]) -> str:
        """Which of `choices` the text states. Raises Unparsable."""
        said: Any = text
        if self.way in ("schema", "object"):
            value = self._unwrapped(text)
            said = next((choice for choice in choices if _same(value, _value(choice))), None)
        if said not in choices:
            raise Unparsable(f"the answer {text[:80]!r} is none of {', '.join(choices)}")
        return said

    def document(self, text: str) -> str:
        """The JSON that the text states, as text; whoever asked parses it. Raises Unparsable."""
        return json.dumps(self._unwrapped(text)) if self.way == "object" else text

    def _response_format(self, schema: dict[str, Any]) -> dict[str, Any]:
        if self.way == "none":
            return {}
        if self.way == "object":
            schema = {
                "type": "object",
                "properties": {_FIELD: schema},
                "required": [_FIELD],
                "additionalProperties": False,
            }
        named = {"name": _FIELD, "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def _unwrapped(self, text: str) -> Any:
        try:
            value = json.loads(text, object_pairs_hook=_only_field if self.way == "object" else None)
        except (ValueError, RecursionError):
            raise Unparsable(f"the answer {text[:80]!r} is not the JSON that {self.name} asks for") from None
        if self.way == "object":
            if not isinstance(value, _Wrapped):
                raise Unparsable(f"the answer {text[:80]!r} is not the JSON that {self.name} asks for")
            return value.value
        return value


STRUCTURED = Form("structured_outputs", "structured_outputs", 0)
"""vLLM's own."""
SCHEMA = Form("schema", "response_format with a JSON schema", 4)
"""OpenAI's, with the bare value as its schema: what is answered is what the prompt asks for."""
OBJECT = Form("object", 'response_format with a JSON schema of an object {"answer": ...}', 16)
"""OpenAI's, as OpenAI itself takes it: some servers want an object at the top."""
FREE = Form("none", "no constraint", 0)
"""None; the model is trusted to answer as it is asked, and what it answers is parsed strictly all the same."""

CONSTRAINTS = (STRUCTURED, SCHEMA, OBJECT)


@dataclass(frozen=True)
class _Wrapped:
    value: Any


def _only_field(pairs: list[tuple[str, Any]]) -> _Wrapped:
    if [name for name, _ in pairs] != [_FIELD] or isinstance(pairs[0][1], _Wrapped):
        raise ValueError("another object than asked for")
    return _Wrapped(pairs[0][1])


def _value(choice: str) -> int | str:
    """A choice as a JSON value: 2 for the label "2", so that the answer's text is the label itself."""
    return int(choice) if re.fullmatch("0|[1-9][0-9]{0,8}", choice) else choice


def _same(value: Any, other: int | str) -> bool:
    # True == 1 in Python, and 1.0 == 1; neither is what was asked for.
    return type(value) is type(other) and value == other
