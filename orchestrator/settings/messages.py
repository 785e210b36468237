"""What pydantic found wrong with settings, said for people: field, value, rule, remedy."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

LONGEST_NAME = 100
LONGEST_VALUE = 300
"""Characters of what was given that a message repeats."""
TELLING = ("kind", "environment", "world", "algorithm")
"""Fields that tell the settings classes of a block apart."""
_ABSENT = object()

_RULES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a block of `key: value` lines",
    "model_type": "a block of `key: value` lines",
    "model_attributes_type": "a block of `key: value` lines",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' if something known is like `name`, else nothing."""
    # Of long texts the comparison takes for ever.
    matches = difflib.get_close_matches(str(name)[:LONGEST_NAME], [str(one) for one in known], n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def validation_message(title: str, model: type[BaseModel], given: Any, error: ValidationError) -> str:
    """One message for all errors: a line each, under `title`."""
    by_path: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in error.errors(include_url=False):
        by_path.setdefault(_path(one, given), []).append(one)
    lines = [_line(path, errors, model, given) for path, errors in _without_other_members(by_path, given).items()]
    return "\n  ".join([f"{title}:", *lines])


def _path(error: Mapping[str, Any], given: Any) -> tuple[Any, ...]:
    """The keys that the user wrote (or left out), without pydantic's names for members of a union."""
    path: list[Any] = []
    place = given
    for key in error["loc"]:
        below = _below(place, key)
        if below is not _ABSENT:
            path.append(key)
            place = below
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def _below(place: Any, key: Any) -> Any:
    if isinstance(place, Mapping):
        return place.get(key, _ABSENT)
    if isinstance(place, list | tuple) and isinstance(key, int) and key < len(place):
        return place[key]
    return _ABSENT


def _value(given: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        given = _below(given, key)
    return given


def _without_other_members(
    by_path: dict[tuple[Any, ...], list[dict[str, Any]]], given: Any
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Drop what a union's other members say: for a block only the block's own errors count, else the plain ones."""
    kept = {}
    for path, errors in by_path.items():
        is_block = isinstance(_value(given, path), Mapping)
        about_blocks = ("model_type", "model_attributes_type", "dict_type")
        fitting = [one for one in errors if is_block or one["type"] not in about_blocks or len(errors) == 1]
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in by_path)
        if is_block and deeper:
            fitting = [one for one in errors if one["type"] == "value_error"]
        if fitting:
            kept[path] = fitting
    return kept


def _line(path: tuple[Any, ...], errors: list[dict[str, Any]], model: type[BaseModel], given: Any) -> str:
    first = errors[0]
    name = ".".join(map(str, path))
    meaning = _meaning(model, path, given)
    if first["type"] == "union_tag_not_found":
        return f"{name}.{_discriminator(first)} is missing: add it"
    if first["type"] == "union_tag_invalid":
        context = first["ctx"]
        return f"{name}.{_discriminator(first)} = {context['tag']!r}: must be one of {context['expected_tags']}"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return f"{name}: {message}" if name else message
    if first["type"] == "missing":
        return f"{name} is missing: add it{meaning}"
    if first["type"] == "extra_forbidden":
        known = list(_model_at(model, path[:-1], given).model_fields)
        return f"{name}: there is no such setting{nearest(path[-1], known) or '; there are ' + ', '.join(known)}"
    rule = " or ".join(dict.fromkeys(_rule(one) for one in errors))
    if not path:
        return f"must be {rule}, and is {shown(given)}"
    if first["loc"][-1] == "[key]":
        return f"{'.'.join(map(str, path[:-1]))}: the key {path[-1]!r} must be {rule}"
    return f"{name} = {shown(_value(given, path))}: must be {rule}{meaning}"


def shown(value: Any) -> str:
    """A value as a message has it."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _rule(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _RULES:
        return _RULES[kind]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]}"
    if kind in ("literal_error", "enum"):
        choices = context["expected"].replace(" or ", ", ")
        return f"one of {choices}" if ", " in choices else choices
    if kind == "string_pattern_mismatch":
        return f"text of the form {context['pattern']}"
    if kind == "string_too_short":
        return f"text of {context['min_length']} characters or more"
    if kind in ("too_long", "too_short"):
        bound = context.get("max_length", context.get("min_length"))
        return f"a list of {bound} values (it has {context['actual_length']})"
    return error["msg"][0].lower() + error["msg"][1:]


def _discriminator(error: Mapping[str, Any]) -> str:
    """Name of the field that tells the members of a union apart."""
    return error["ctx"]["discriminator"].strip("'")


def _meaning(model: type[BaseModel], path: tuple[Any, ...], given: Any) -> str:
    """What the setting means, from the text under its field; nothing where there is none."""
    owner = _model_at(model, path[:-1], given) if path else None
    setting = owner.model_fields.get(path[-1]) if owner else None
    text = " ".join((setting.description or "").split()) if setting else ""
    return f". It means: {text}" if text else ""


def _model_at(model: Any, path: tuple[Any, ...], given: Any) -> Any:
    """The settings class of the block at `path`, or None where there is none."""
    annotation = model
    for depth, key in enumerate(path):
        annotation = _annotation_below(annotation, key, _value(given, path[:depth]))
    return _model_in(annotation, _value(given, path))


def _annotation_below(annotation: Any, key: Any, block: Any) -> Any:
    """The type of what stands at `key` of a block of the type `annotation`."""
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    model = _model_in(annotation, block)
    setting = model.model_fields.get(key) if model else None
    return setting.annotation if setting else None


def _model_in(annotation: Any, block: Any) -> type[BaseModel] | None:
    """The settings class in an annotation; of several, the one that the block names by a field that is `TELLING`."""
    found = list(_models_in(annotation))
    given = block if isinstance(block, Mapping) else {}
    fitting = [one for one in found if any(given.get(name) in _values_of(one, name) for name in TELLING)]
    return next(iter(fitting or found), None)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models_in(part)


def _values_of(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """What a field of a settings class may be, if that is one of a few values."""
    setting = model.model_fields.get(name)
    return get_args(setting.annotation) if setting and get_origin(setting.annotation) is Literal else ()
