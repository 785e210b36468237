"""`POST /v1/ratings`, and what every address has in common."""

import base64
import re

import pytest

from actors.rating.backend import Refused, Reply
from tests.actors.rating.serving.asking import call, chat, likely, picture

QUESTION = {
    "images": [base64.b64encode(picture()).decode()],
    "instruction": "close the drawer",
    "focus": "the drawer",
    "mode": "answer_only",
}


def test_a_question_is_rated():
    (response,) = call(lambda *_: Reply("3", (0.1, 0.2, 0.7)), ("POST", "/v1/ratings", QUESTION))
    assert response.status_code == 200
    answer = response.json()
    assert (answer["rating"], answer["word"], answer["analysis"]) == (2, "Good", "")
    assert answer["probabilities"] == [0.1, 0.2, 0.7]


def test_the_question_reaches_the_model_as_asked():
    asked = []

    def answer(prompt, images, choices):
        asked.append((prompt.text, images, choices))
        return choices[0] if choices else "open"

    body = QUESTION | {"num_ratings": 2, "rubric": ["it is open", "it is shut"], "mode": "two_turn"}
    (response,) = call(answer, ("POST", "/v1/ratings", body))
    assert (response.json()["word"], response.json()["analysis"]) == ("Bad", "open")
    assert asked[0][1] == (picture(),) and asked[1][2] == ("1", "2")
    assert "1 = Bad (it is open); 2 = Good (it is shut)" in asked[1][0]


def test_the_mode_is_the_servers_own_unless_asked_for():
    body = {name: value for name, value in QUESTION.items() if name != "mode"}
    calls = []
    call(lambda *given: calls.append(given) or "1", ("POST", "/v1/ratings", body))
    assert [bool(choices) for _, _, choices in calls] == [False, True]


def test_a_failure_is_no_success():
    def refuse(*_):
        raise Refused("too long")

    (response,) = call(refuse, ("POST", "/v1/ratings", QUESTION))
    assert response.status_code == 502
    assert response.json() == {"failure": {"cause": "refused", "detail": "too long", "attempts": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "at least 1 item"),
        ({"images": ["$$$"]}, r"images\[0\] is not base64"),
        ({"images": [base64.b64encode(b"GIF89a").decode()]}, r"images\[0\] is not a PNG file"),
        ({"num_ratings": 6}, "2, 3, 4 or 5"),
        ({"rubric": ["only one"]}, "one line per level: 3 levels, 1 lines"),
        ({"task": "close"}, "Extra inputs are not permitted"),
        ({"instruction": ""}, "at least 1 character"),
    ],
)
def test_questions_that_make_no_sense_are_explained(change, message):
    def never(*_):
        raise AssertionError("must not be asked")

    (response,) = call(never, ("POST", "/v1/ratings", QUESTION | change))
    assert response.status_code == 422
    assert re.search(message, response.text)


def test_statistics_say_who_answers():
    _, response = call(lambda *_: "1", ("POST", "/v1/ratings", QUESTION), ("GET", "/v1/statistics", None))
    counted = response.json()
    assert (counted["num_rated"], counted["num_failed"], counted["model"]) == (1, 0, "function")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"instruction": "\\ud800"}', "not JSON"),
        (b'{"seed": NaN}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"seed": ' + b"9" * 5_000 + b"}", "out of range"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/ratings", "/v1/chat/completions"])
def test_a_body_that_is_no_json_is_a_message(path, content, message):
    (response,) = call(likely, ("POST", path, content), headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_a_body_of_another_type_is_a_message():
    (response,) = call(likely, ("POST", "/v1/ratings", b"{}"), headers={"Content-Type": "text/plain"})
    assert response.status_code == 415 and "send it with Content-Type: application/json" in response.text


def test_addresses_and_methods_that_there_are_not():
    unknown, wrong = call(likely, ("GET", "/v1/nothing", None), ("GET", "/v1/ratings", None))
    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert unknown.json()["error"]["message"] == "GET /v1/nothing: Not Found"
    assert wrong.headers["allow"] == "POST"


def test_an_error_of_our_own_is_told_in_the_same_form(caplog):
    def broken(*_):
        raise ZeroDivisionError("secret")

    (response,) = call(broken, ("POST", "/v1/chat/completions", chat()))
    assert response.status_code == 502 and response.json()["error"]["type"] == "server_error"


def test_a_text_that_fits_no_model_is_not_taken_apart():
    def never(*_):
        raise AssertionError("must not be asked")

    long = "very " * 20_000
    first, second = call(
        never,
        ("POST", "/v1/ratings", QUESTION | {"instruction": long}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": long}]}),
    )
    assert (first.status_code, second.status_code) == (400, 400)
    assert "the text has 100000 characters, which do not fit the model's 4096 tokens" in second.text
