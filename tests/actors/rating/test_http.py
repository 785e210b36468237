"""`likert serve`: ratings over HTTP."""

import asyncio
import base64
import io
import re

import httpx
import pytest
from PIL import Image

from actors.rating.backend import Refused, Reply
from actors.rating.fake import FunctionBackend
from actors.rating.http import application, serve
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format="PNG")
    return file.getvalue()


QUESTION = {
    "images": [base64.b64encode(png()).decode()],
    "instruction": "close the drawer",
    "focus": "the drawer",
    "mode": "answer_only",
}


def call(function, *requests, settings: RaterSettings | None = None):
    """Responses to (method, path, body) requests, from a server whose backend is `function`."""
    settings = settings or RaterSettings()

    async def run():
        server = RatingServer(settings, FunctionBackend(function))
        app = application(server, settings)
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as web:
            return [await web.request(method, path, json=body) for method, path, body in requests]

    return asyncio.run(run())


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
    assert asked[0][1] == (png(),) and asked[1][2] == ("1", "2")
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


def test_one_process_holds_one_engine():
    with pytest.raises(ValueError, match="start another one on another port"):
        serve(RaterSettings(num_replicas=2))
    with pytest.raises(ValueError, match="`likert rater start`"):
        serve(RaterSettings(server="shared"))


def test_a_model_that_does_not_exist_is_told_before_anything_starts():
    with pytest.raises(ValueError, match=r"rater\.model 'nowhere': there is no such folder"):
        serve(RaterSettings(model="nowhere"))
