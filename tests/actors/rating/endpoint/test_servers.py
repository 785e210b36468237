"""Servers that people run, each with its habits: what a run relies on, what is sent, and what comes of it."""

import httpx
import pytest

from actors.rating.backend import Needs, Refused, ServerError
from actors.rating.endpoint.probe import TOP_LOGPROBS
from algorithms.prompts import Prompt
from algorithms.scoring_prompts import SCORE_LETTERS, parse_scores, scores_schema
from tests.fakes.endpoints import (
    LEVELS,
    PROSE,
    SETTINGS,
    Server,
    check,
    completion,
    generate,
    llama_cpp,
    lm_studio,
    old_vllm,
    ollama,
    sglang,
    vllm,
)

RATING = Needs(LEVELS)
SCORES = Needs(schema=scores_schema(8))
SCORE = Prompt("Score each of the 8 actions.", with_images=True, schema=scores_schema(8))
SCHEMA = "response_format with a JSON schema"
PICTURES = "about 784 pixels a token, pictures brought to 3,136 to 1,003,520 pixels here"


@pytest.mark.parametrize(
    ("server", "levels", "probabilities"),
    [
        (vllm(), "structured_outputs", "yes"),
        (old_vllm(), SCHEMA, "yes"),
        (sglang(), SCHEMA, "yes"),
        (sglang(masked=True), SCHEMA, "yes"),
        (ollama(), SCHEMA, "no"),
        (llama_cpp(), SCHEMA, "yes"),
        (lm_studio(), SCHEMA, "no"),
    ],
)
def test_one_line_says_what_a_run_relies_on(server, levels, probabilities):
    line = check(server, RATING)
    where = f"rater: {SETTINGS.endpoint} (model {SETTINGS.model})"
    assert line == f"{where}: levels by {levels}, probabilities {probabilities}, {PICTURES}"
    assert not server.questions and len(server.sent) <= 4 and "\n" not in line
    reply = generate(server)
    assert reply.text == "3"
    expected = {"masked": (0.05, 0.2, 0.75), "raw": (0.0625, 0.2083, 0.7292)}["masked" if server.masked else "raw"]
    assert reply.probabilities == (pytest.approx(expected, abs=1e-4) if probabilities == "yes" else None)


@pytest.mark.parametrize("server", [vllm(), old_vllm(), sglang(), ollama(), llama_cpp(), lm_studio()])
def test_lists_of_scores_obey_the_same_constraint(server):
    line = check(server, SCORES)
    assert "lists of scores by " in line and "probabilities" not in line
    assert parse_scores(generate(server, choices=(), prompt=SCORE).text, 8) == (3, 4, 5, 6, 7, 8, 9, 10)


@pytest.mark.parametrize("server", [vllm(), sglang(), llama_cpp()])
def test_letters_have_their_probabilities(server):
    needs = Needs(SCORE_LETTERS, probabilities=True)
    assert "probabilities yes" in check(server, needs)
    reply = generate(server, choices=SCORE_LETTERS)
    assert reply.text == "A" and reply.probabilities == pytest.approx((0.6, *[0.0] * 9, 0.4))


@pytest.mark.parametrize("server", [ollama(), lm_studio()])
def test_a_run_that_needs_probabilities_is_refused_by_a_server_that_tells_none(server):
    with pytest.raises(Refused, match=r"tells no log-probabilities .* use a server that does"):
        check(server, Needs(SCORE_LETTERS, probabilities=True))
    assert not server.questions


# ------------------------------------------------------------------------------------------------ thinking


@pytest.mark.parametrize("make", [vllm, old_vllm, sglang, ollama, llama_cpp, lm_studio])
@pytest.mark.parametrize("in_content", [False, True])
def test_what_a_model_thinks_is_kept_apart_from_the_level(make, in_content):
    changes = {"thinks_in": ""} if in_content else {}
    server = make(thought="first 1 then 2 but in the end it is 3 I think", **changes)
    assert "thinks first, rater.max_analysis_tokens = 256 at most" in check(server, RATING)
    reply = generate(server)
    assert (reply.text, reply.thought) == ("3", server.thought)
    if "logprobs" in server.taken:
        assert reply.probabilities == pytest.approx((0.0625, 0.2083, 0.7292), abs=1e-4)


def test_a_thought_longer_than_the_limit_is_told_before_the_first_question():
    server = vllm(thought="hm " * 300)
    with pytest.raises(Refused, match=r"still thinking .* raise rater\.max_analysis_tokens = 256"):
        check(server, RATING)
    assert not server.questions


def test_a_model_whose_answers_all_land_in_the_reasoning_field_is_told_before_the_first_question():
    def answer(request):
        return httpx.Response(200, json=completion(None, reasoning="2"))

    with pytest.raises(Refused, match=r"all text stands in the server's reasoning field \('2'\)"):
        check(answer, RATING)


# ------------------------------------------------------------------------------------------------ no constraint


def test_a_server_that_obeys_nothing_is_relied_on_if_its_model_answers_with_a_bare_level():
    server = Server(obedient=True)
    assert "levels by no constraint, probabilities no" in check(server, RATING)
    assert generate(server).text == "3"
    assert "response_format" not in server.questions[0] and "structured_outputs" not in server.questions[0]
    assert "lists of scores by no constraint" in check(server, SCORES)


@pytest.mark.parametrize(("needs", "wish"), [(RATING, "one of 1, 2, 3"), (SCORES, "a JSON list of whole numbers")])
def test_a_server_that_obeys_nothing_and_chats_is_refused(needs, wish):
    server = Server()
    with pytest.raises(Refused, match=rf"obeys no constraint .* asked for {wish} without one: the answer '{PROSE}"):
        check(server, needs)
    assert not server.questions


# ------------------------------------------------------------------------------------------------ refused fields


def test_a_field_that_a_server_refuses_is_left_out():
    server = sglang(refused=("structured_outputs",))
    assert f"levels by {SCHEMA}, probabilities yes" in check(server, RATING)
    generate(server)
    assert "structured_outputs" not in server.questions[0] and server.questions[0]["top_logprobs"] == TOP_LOGPROBS[0]
    server = vllm(refused=("logprobs",))
    assert "levels by structured_outputs, probabilities no" in check(server, RATING)
    assert generate(server).probabilities is None
    assert "logprobs" not in server.questions[0]
    server = Server(obedient=True, refused=("structured_outputs", "response_format", "logprobs"))
    assert "levels by no constraint, probabilities no" in check(server, RATING)
    assert generate(server).text == "3"


def test_fewer_alternatives_are_asked_for_where_a_server_insists():
    server = vllm()

    def five_at_most(request):
        if b'"top_logprobs":20' in request.content:
            return httpx.Response(422, json={"error": "top_logprobs must be at most 5"})
        return server(request)

    assert "probabilities yes" in check(five_at_most, RATING)
    generate(five_at_most)
    assert server.questions[0]["top_logprobs"] == 5


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_schema_without_an_object_at_its_top_may_be_refused_or_fail(status):
    server = sglang()

    def wants_objects(request):
        if b'"schema":{"enum"' in request.content or b'"schema":{"type":"array"' in request.content:
            return httpx.Response(status, json={"error": "schema must be of type object"})
        return server(request)

    assert 'JSON schema of an object {"answer": ...}, probabilities yes' in check(wants_objects, RATING)
    assert generate(wants_objects).probabilities == pytest.approx((0.0625, 0.2083, 0.7292), abs=1e-4)
    assert 'JSON schema of an object {"answer": ...}' in check(wants_objects, SCORES)
    assert parse_scores(generate(wants_objects, choices=(), prompt=SCORE).text, 8)[0] == 3


# ------------------------------------------------------------------------------------------------ pictures


def test_several_pictures_are_tried_if_the_run_needs_them():
    assert "4 pictures a question" in check(vllm(), Needs(LEVELS, num_pictures=4))
    server = vllm(most_pictures=3)
    with pytest.raises(Refused, match=r"takes no question with 4 pictures, .*At most 3 image.*--limit-mm-per-prompt"):
        check(server, Needs(LEVELS, num_pictures=4))
    assert not server.questions


@pytest.mark.parametrize(
    "no_pictures",
    [(500, "image input is not supported - hint: provide the mmproj"), (400, "text only")],
)
def test_a_server_without_its_vision_part_is_told(no_pictures):
    with pytest.raises(Refused, match=rf"takes no pictures: .*{no_pictures[1]}.*vision-language model"):
        check(llama_cpp(no_pictures=no_pictures), RATING)


def test_a_server_that_gives_every_picture_the_same_number_of_tokens():
    assert "6 tokens a picture whatever its size" in check(FixedTokens(6), Needs(LEVELS, num_pictures=2))
    assert "PICTURES ADD NO TOKENS" in check(FixedTokens(0), RATING)


class FixedTokens:
    """A server whose model looks at every picture in as many tokens."""

    def __init__(self, number):
        self._number = number

    def __call__(self, request):
        if request.method == "GET":
            return httpx.Response(404)
        body = vllm(pixels_a_token=10**9)(request).json()
        pictures = request.content.count(b"data:image/png")
        body["usage"]["prompt_tokens"] = 30 + self._number * pictures
        return httpx.Response(200, json=body)


def test_a_server_that_counts_no_tokens_is_not_said_to_do_anything():
    def uncounted(request):
        return httpx.Response(200, json=vllm()(request).json() | {"usage": None})

    assert "token" not in check(uncounted, RATING)


# ------------------------------------------------------------------------------------------------ servers that fail


def test_a_server_that_still_loads_is_transient():
    with pytest.raises(ServerError, match=r"503: .*Loading model"):
        check(lambda _: httpx.Response(503, json={"error": {"code": 503, "message": "Loading model"}}), RATING)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_other_form_can_mend_is_told_at_once(status):
    asked = []

    def refuse(request):
        asked.append(request)
        return httpx.Response(status, text="no")

    with pytest.raises(Refused, match=f"answers {status}: no"):
        check(refuse, RATING)
    assert [request.method for request in asked] == ["GET", "POST"]
