"""What an answer must be, as clients ask for it: one of some choices, or JSON that obeys a schema."""

import json
from dataclasses import dataclass
from typing import Any

from actors.rating.serving.problems import Problem

MAX_CHOICES = 64
ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$schema", "$id"})
"""Keywords of a schema that say nothing about the answer."""
KEYWORDS = ANNOTATIONS | {
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems",
    "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "anyOf", "$ref",
    "$defs",
}  # fmt: skip
"""Keywords of a schema that are obeyed. Any other one would be left out of the answer's grammar without a word, or its
grammar may take minutes to build."""
COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
LARGEST_COUNT = 1_000
"""A grammar grows with these."""
MAX_SCHEMA_PARTS = 500
MAX_SCHEMA_DEPTH = 16


@dataclass(frozen=True)
class Constraint:
    """What the answer must be."""

    choices: tuple[str, ...] = ()
    """It is one of these."""
    quoted: bool = False
    """It stands in quotation marks: the choices are JSON strings."""
    schema: str = ""
    """It is JSON that obeys this schema."""


def constraint_of(structured_outputs: Any, response_format: Any) -> Constraint:
    """What vLLM's `structured_outputs` or OpenAI's `response_format` asks for. Raises Problem."""
    ours = _of_structured_outputs(structured_outputs) if structured_outputs is not None else Constraint()
    theirs = _of_response_format(response_format) if response_format is not None else Constraint()
    if ours != Constraint() and theirs not in (Constraint(), ours):
        raise Problem(
            400,
            "structured_outputs and response_format ask for different answers; send one of them",
            "structured_outputs",
        )
    return ours if ours != Constraint() else theirs


def _of_structured_outputs(asked: Any) -> Constraint:
    field = "structured_outputs"
    given = {name: value for name, value in _object(field, asked).items() if value is not None}
    if len(given) != 1 or not given.keys() <= {"choice", "json"}:
        named = ", ".join(map(repr, given)) or "nothing"
        raise Problem(400, f"{field} holds {named}: this server obeys one of 'choice' and 'json'", field)
    if "json" in given:
        schema = given["json"]
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError):
                raise Problem(400, f"{field}.json is text that is not JSON", f"{field}.json") from None
        return _of_schema(f"{field}.json", schema)
    choices = given["choice"]
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise Problem(400, f"{field}.choice must be a list of texts", f"{field}.choice")
    return Constraint(_checked_choices(f"{field}.choice", choices))


def _of_response_format(asked: Any) -> Constraint:
    field = "response_format"
    kind = _object(field, asked).get("type")
    if kind == "text":
        return Constraint()
    if kind == "json_object":
        return Constraint(schema=json.dumps({"type": "object"}))
    if kind != "json_schema":
        raise Problem(400, f"{field}.type is {kind!r}: must be 'text', 'json_object' or 'json_schema'", f"{field}.type")
    named = _object(f"{field}.json_schema", asked.get("json_schema"))
    return _of_schema(f"{field}.json_schema.schema", named.get("schema"))


def _of_schema(field: str, schema: Any) -> Constraint:
    _Schema(field).check(_object(field, schema))
    values = schema.get("enum")
    if values and schema.keys() - ANNOTATIONS <= {"enum", "type"}:
        # Levels: one step of the model tells which, and the probability of each.
        if all(type(value) is str and len(value) == 1 for value in values) and schema.get("type", "string") == "string":
            return Constraint(_checked_choices(f"{field}.enum", values), quoted=True)
        if all(type(value) is int and 0 <= value <= 9 for value in values) and schema.get("type", "integer") in (
            "integer",
            "number",
        ):
            return Constraint(_checked_choices(f"{field}.enum", [str(value) for value in values]))
    return Constraint(schema=json.dumps(schema))


def _checked_choices(field: str, choices: list[str]) -> tuple[str, ...]:
    if not 0 < len(choices) <= MAX_CHOICES or len(set(choices)) < len(choices):
        raise Problem(400, f"{field} must hold 1 to {MAX_CHOICES} different answers; it holds {len(choices)}", field)
    return tuple(choices)


def _object(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(400, f"{field} must be an object", field)
    return value


class _Schema:
    """Checks a schema: what its grammar would cost is bounded, and what would not be obeyed is refused."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._num_parts = 0

    def check(self, schema: Any, path: str = "", depth: int = 0) -> None:
        """Raises Problem."""
        self._num_parts += 1
        if self._num_parts > MAX_SCHEMA_PARTS or depth > MAX_SCHEMA_DEPTH:
            raise self._problem(path, f"is larger than {MAX_SCHEMA_PARTS} parts, {MAX_SCHEMA_DEPTH} deep")
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise self._problem(path, "must be an object")
        unknown = sorted(schema.keys() - KEYWORDS)
        if unknown:
            raise self._problem(path, f"has {unknown[0]!r}, which this server does not obey")
        for name in COUNTS:
            count = schema.get(name, 0)
            if type(count) is not int or not 0 <= count <= LARGEST_COUNT:
                raise self._problem(path, f"has {name} {count!r}: must be a whole number up to {LARGEST_COUNT}")
        self._check_values(schema, path)
        for name in ("properties", "$defs"):
            if not isinstance(schema.get(name, {}), dict):
                raise self._problem(path, f"has {name} that are no object")
            for key, part in schema.get(name, {}).items():
                self.check(part, f"{path}.{name}.{key}", depth + 1)
        for name in ("items", "additionalProperties"):
            if name in schema:
                self.check(schema[name], f"{path}.{name}", depth + 1)
        for name in ("anyOf", "prefixItems"):
            parts = schema.get(name, [True])
            if not isinstance(parts, list) or not parts:
                raise self._problem(path, f"has {name} that is no list of schemas")
            for index, part in enumerate(parts):
                self.check(part, f"{path}.{name}[{index}]", depth + 1)

    def _check_values(self, schema: dict[str, Any], path: str) -> None:
        values = schema.get("enum", [0])
        if not isinstance(values, list) or not 0 < len(values) <= MAX_SCHEMA_PARTS:
            raise self._problem(path, f"has an enum that is no list of 1 to {MAX_SCHEMA_PARTS} values")
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if type(schema.get(name, 0)) not in (int, float) or abs(schema.get(name, 0)) > 1e15:
                raise self._problem(path, f"has {name} {schema[name]!r}: must be a number")
        reference = schema.get("$ref", "#/$defs/")
        if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
            raise self._problem(path, f"has $ref {reference!r}: must be '#/$defs/NAME'")

    def _problem(self, path: str, rule: str) -> Problem:
        return Problem(400, f"{self._field}{path} {rule}", self._field)
