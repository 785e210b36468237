"""Requests with anything in them: each is a question, or a problem with a status below 500 that says what is wrong."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rating.endpoint.served import Served
from actors.rating.serving.chat import NEUTRAL, ChatQuestion, ChatRequest, chat_question
from actors.rating.serving.limits import Limits
from actors.rating.serving.problems import Problem
from actors.rating.serving.uploads import checked
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity
from tests.actors.rating.serving.asking import chat, data_url, picture, shown
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND

SETTINGS = RaterSettings()
SERVED = Served.by(SETTINGS, RaterIdentity("sha256:0", "local"))
WORDS = [
    "user",
    "system",
    "assistant",
    "text",
    "image_url",
    "json_schema",
    "choice",
    "json",
    "enum",
    "type",
    "schema",
    "1",
]
"""What means something to a server, so that damage gets far."""
NAMES = [*ChatRequest.model_fields, *NEUTRAL, *WORDS, "items", "properties", "$ref", "$defs", "anyOf", "maxItems", "x"]
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=8,
)
SCHEMA = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 10}, "minItems": 2, "maxItems": 2}
WHOLE = [
    chat(shown(data_url(picture())), structured_outputs={"choice": ["1", "2"]}, logprobs=True, top_logprobs=2),
    chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}, max_tokens=9),
    chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["1", "2"]}}}, n=1),
]


@st.composite
def damaged(draw) -> Any:
    """A good body in which some places hold something else, or are gone."""
    body = copy.deepcopy(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 3))):
        parent, key = body, draw(st.sampled_from(sorted(body))) if body else None
        while key is not None and isinstance(parent[key], dict | list) and parent[key] and draw(st.booleans()):
            parent = parent[key]
            key = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
        if draw(st.booleans()) and isinstance(parent, dict):
            key = draw(st.sampled_from(NAMES))
        if key is not None:
            parent[key] = draw(json_values)
    return body


def is_asked_or_refused(body: Any) -> None:
    try:
        question = chat_question(body, SETTINGS, "pocket", SERVED)
    except Problem as problem:
        assert 400 <= problem.status < 500 and str(problem)
    else:
        assert isinstance(question, ChatQuestion)
        hash(question.prompt)


@A_HUNDRED
@given(damaged() | json_values)
def test_a_body_with_anything_in_it(body):
    is_asked_or_refused(body)


@pytest.mark.slow
@TEN_THOUSAND
@given(damaged() | json_values)
def test_ten_thousand_bodies_with_anything_in_them(body):
    is_asked_or_refused(body)


FILES = [picture((16, 8)), picture((16, 8), mode="P"), picture((16, 8), kind="JPEG")]


@st.composite
def damaged_files(draw) -> bytes:
    """A picture file with some bytes changed, cut out or cut off."""
    file = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(file) - 1))
        file[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(file[: draw(st.integers(1, len(file)))] if draw(st.booleans()) else file)


def is_shown_or_refused(file: bytes) -> None:
    try:
        [png] = checked([("picture", file)], Limits(picture_pixels=10_000))
    except Problem as problem:
        assert 400 <= problem.status < 500 and str(problem).startswith("picture")
    else:
        assert png.startswith(b"\x89PNG")


@A_HUNDRED
@given(damaged_files())
def test_a_file_with_anything_in_it(file):
    is_shown_or_refused(file)


@pytest.mark.slow
@TEN_THOUSAND
@given(damaged_files())
def test_ten_thousand_files_with_anything_in_them(file):
    is_shown_or_refused(file)
