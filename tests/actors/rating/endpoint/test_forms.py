"""Constraints as requests, and answers under them as labels and lists: what is read is what was asked for."""

import json

import pytest

from actors.rating.backend import Unparsable
from actors.rating.endpoint.forms import FREE, OBJECT, SCHEMA, STRUCTURED
from algorithms.scoring_prompts import SCORE_LETTERS

LEVELS = ("1", "2", "3")


def test_levels_are_numbers_in_json_and_letters_are_texts():
    assert STRUCTURED.choice(LEVELS) == {"structured_outputs": {"choice": ["1", "2", "3"]}}
    assert SCHEMA.choice(LEVELS)["response_format"]["json_schema"]["schema"] == {"enum": [1, 2, 3]}
    assert SCHEMA.choice(("A", "B"))["response_format"]["json_schema"]["schema"] == {"enum": ["A", "B"]}
    wrapped = OBJECT.choice(LEVELS)["response_format"]["json_schema"]
    assert wrapped["strict"] is True and wrapped["schema"]["properties"] == {"answer": {"enum": [1, 2, 3]}}
    assert wrapped["schema"]["required"] == ["answer"] and wrapped["schema"]["additionalProperties"] is False
    assert FREE.choice(LEVELS) == {} and FREE.json("{}") == {}


@pytest.mark.parametrize(
    ("form", "text", "choices", "label"),
    [
        (STRUCTURED, "2", LEVELS, "2"),
        (SCHEMA, "2", LEVELS, "2"),
        (SCHEMA, '"A"', SCORE_LETTERS, "A"),
        (OBJECT, '{"answer": 2}', LEVELS, "2"),
        (OBJECT, '{ "answer" :\n"True" }', ("True", "False"), "True"),
        (FREE, "True", ("True", "False"), "True"),
        (SCHEMA, '"03"', ("3", "03"), "03"),
    ],
)
def test_a_label_is_read(form, text, choices, label):
    assert form.label(text, choices) == label


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (STRUCTURED, '"2"'), (STRUCTURED, "2."), (FREE, "2 = Average"), (FREE, '{"answer": 2}'),
        (SCHEMA, '"2"'), (SCHEMA, "2.0"), (SCHEMA, "4"), (SCHEMA, "true"), (SCHEMA, "A"), (SCHEMA, '{"answer": 2}'),
        (SCHEMA, "[2]"), (SCHEMA, "NaN"), (SCHEMA, "[" * 100_000), (SCHEMA, "1" * 5_000),
        (OBJECT, "2"), (OBJECT, '{"answer": "2"}'), (OBJECT, '{"answer": 1, "answer": 2}'), (OBJECT, '{"level": 2}'),
        (OBJECT, '{"answer": 2, "why": "it is"}'), (OBJECT, '{"answer": {"answer": 2}}'), (OBJECT, '{"answer": true}'),
        (OBJECT, '{"answer": 2}}'), (OBJECT, "{}"),
    ],
)  # fmt: skip
def test_what_states_no_label_is_unparsable(form, text):
    with pytest.raises(Unparsable):
        form.label(text, LEVELS)


def test_a_document_is_what_stands_in_the_object():
    assert json.loads(OBJECT.document('{"answer": [1, 2]}')) == [1, 2]
    assert SCHEMA.document("[1,2]") == "[1,2]"
    with pytest.raises(Unparsable):
        OBJECT.document("[1, 2]")
