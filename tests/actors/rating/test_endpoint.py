"""The client of an OpenAI-compatible server: what it sends, what it makes of answers, and servers that misbehave."""

import asyncio
import base64
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from actors.rating.backend import Refused, ServerError, Unparsable
from actors.rating.endpoint import EndpointBackend, label_probabilities
from actors.rating.server import RatingServer, make_backend
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity, RatingFailure, RatingRequest, TaskText
from algorithms.scales import RatingScale

SETTINGS = RaterSettings(endpoint="http://rater.test/v1", model="org/model", deadline_s=20.0)
REQUEST = RatingRequest((b"png",), TaskText("close the drawer", "the drawer"), RatingScale.likert(3), "two_turn")
QUESTION = Prompt("How well?", with_images=True)


def completion(text: str, logprobs: dict[str, float] | None = None) -> dict:
    """A chat completion as vLLM writes it; `logprobs` are those of the first token."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if logprobs is not None:
        top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
        choice["logprobs"] = {"content": [{"token": text, "logprob": 0.0, "top_logprobs": top}]}
    return {"choices": [choice], "usage": {"prompt_tokens": 12, "completion_tokens": 1}}


def generate(handler, settings=SETTINGS, images=(b"png",), choices=("1", "2", "3")):
    """One reply of a backend whose network is the function `handler(httpx.Request) -> httpx.Response`."""

    async def run():
        backend = EndpointBackend(settings, httpx.MockTransport(handler))
        await backend.start()
        try:
            return await backend.generate(QUESTION, images, choices)
        finally:
            await backend.close()

    return asyncio.run(run())


def test_a_level_is_asked_as_a_structured_choice_with_the_picture_as_png():
    sent = []

    def handler(request):
        sent.append(request)
        return httpx.Response(200, json=completion("2"))

    reply = generate(handler)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("2", 12, 1)
    assert str(sent[0].url) == "http://rater.test/v1/chat/completions"
    body = json.loads(sent[0].content)
    assert body["model"] == "org/model" and body["temperature"] == 0.0
    assert body["structured_outputs"] == {"choice": ["1", "2", "3"]}
    assert body["logprobs"] is True and body["top_logprobs"] == 20
    picture, text = body["messages"][1]["content"]
    assert picture["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(b"png").decode()
    assert text == {"type": "text", "text": "How well?"}
    assert "mm_processor_kwargs" not in body


def test_an_analysis_is_free_text_of_bounded_length():
    sent = []

    def handler(request):
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=completion("The drawer is shut."))

    settings = SETTINGS.model_copy(update={"max_analysis_tokens": 77})
    reply = generate(handler, settings, choices=())
    assert (reply.text, reply.probabilities) == ("The drawer is shut.", None)
    assert sent[0]["max_tokens"] == 77 and "structured_outputs" not in sent[0] and "logprobs" not in sent[0]


def test_image_limits_are_passed_on_if_they_were_set():
    def handler(request):
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=completion("2"))

    sent = []
    generate(handler, RaterSettings(endpoint="http://rater.test/v1", model="m", max_pixels=50_000))
    assert sent[0]["mm_processor_kwargs"] == {"size": {"shortest_edge": 3136, "longest_edge": 50_000}}


def test_probabilities_are_renormalised_over_the_levels():
    tokens = {"2": math.log(0.5), " 2": math.log(0.1), "1": math.log(0.2), "The": math.log(0.2)}
    reply = generate(lambda _: httpx.Response(200, json=completion("2", tokens)))
    assert reply.probabilities == pytest.approx((0.25, 0.75, 0.0))


@pytest.mark.parametrize("logprobs", [None, {}, {"content": []}, {"content": [{"token": "2"}]}])
def test_no_probabilities_where_none_are_reported(logprobs):
    assert label_probabilities(logprobs, ("1", "2")) is None


def test_no_probabilities_where_no_level_is_among_the_likely_tokens():
    reply = generate(lambda _: httpx.Response(200, json=completion("2", {"The": -0.1})))
    assert reply.probabilities is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_busy_and_broken_servers_are_transient(status):
    with pytest.raises(ServerError, match=f"http://rater.test/v1 answers {status}: later"):
        generate(lambda _: httpx.Response(status, text="later"))


def test_an_unreachable_server_is_transient():
    def handler(request):
        raise httpx.ConnectError("connection refused")

    with pytest.raises(ServerError, match="does not answer: ConnectError connection refused"):
        generate(handler)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_other_client_errors_are_refusals(status):
    with pytest.raises(Refused, match=f"answers {status}: no"):
        generate(lambda _: httpx.Response(status, text="no"))


def test_a_missing_key_is_named():
    with pytest.raises(Refused, match="set LIKERT_ENDPOINT_KEY"):
        generate(lambda _: httpx.Response(401, text="who are you"))


def test_the_key_goes_into_the_header_and_nowhere_else(monkeypatch, caplog, capfd):
    monkeypatch.setenv("LIKERT_ENDPOINT_KEY", "secret-key")
    seen = []

    def handler(request):
        seen.append(request.headers["Authorization"])
        return httpx.Response(403, text="no")

    with caplog.at_level("DEBUG"), pytest.raises(Refused) as error:
        generate(handler)
    assert seen == ["Bearer secret-key"]
    printed = capfd.readouterr()
    assert "secret-key" not in caplog.text + str(error.value) + printed.out + printed.err


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"choices": []}),
        httpx.Response(200, json={"choices": [{"message": {"content": None}}]}),
        httpx.Response(200, json={"choices": [{"message": "2"}]}),
    ],
)
def test_replies_in_another_format_are_unparsable(response):
    with pytest.raises(Unparsable):
        generate(lambda _: response)


def start(handler, settings):
    async def run():
        backend = EndpointBackend(settings, httpx.MockTransport(handler))
        try:
            await backend.start()
            return backend.identity()
        finally:
            await backend.close()

    return asyncio.run(run())


def test_the_served_model_is_found_if_none_is_named():
    settings = RaterSettings(endpoint="http://rater.test/v1", revision="r7")
    identity = start(lambda request: httpx.Response(200, json={"data": [{"id": "org/served"}]}), settings)
    assert identity == RaterIdentity("org/served", "r7")


def test_one_of_several_served_models_must_be_chosen():
    settings = RaterSettings(endpoint="http://rater.test/v1")
    with pytest.raises(ValueError, match=r"serves 2 models \(a, b\); set rater.model to one of them"):
        start(lambda request: httpx.Response(200, json={"data": [{"id": "a"}, {"id": "b"}]}), settings)


def test_a_list_of_models_in_another_format_is_explained():
    settings = RaterSettings(endpoint="http://rater.test/v1")
    with pytest.raises(Unparsable, match="commonly ends in /v1"):
        start(lambda request: httpx.Response(200, json={"models": []}), settings)


def test_a_named_model_is_not_looked_up():
    def handler(request):
        raise AssertionError("no request expected")

    assert start(handler, SETTINGS) == RaterIdentity("org/model", "endpoint")


@contextmanager
def local_server(respond) -> Iterator[str]:
    """A real HTTP server on loopback; `respond(handler, body)` answers a POST. Yields its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            respond(self, body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def rate(url: str, num_questions: int, **settings):
    async def run():
        server = RatingServer(RaterSettings(endpoint=url, model="m", **settings), first_pause_s=0.001)
        try:
            return await server.rate([REQUEST] * num_questions)
        finally:
            await server.shutdown()

    return asyncio.run(run())


def test_a_well_behaved_server_rates_in_two_turns():
    def respond(handler, body):
        text = "2" if "structured_outputs" in body else "The drawer is half open."
        send(handler, json.dumps(completion(text, {"2": -0.1, "1": -3.0, "3": -3.0})).encode())

    with local_server(respond) as url:
        outcomes = rate(url, 8)
    assert [(outcome.rating, outcome.analysis) for outcome in outcomes] == [(1, "The drawer is half open.")] * 8
    assert sum(outcomes[0].probabilities) == pytest.approx(1.0)


def test_a_server_of_garbage_gives_no_rating():
    with local_server(lambda handler, body: send(handler, b"\x00\xffgarbage")) as url:
        outcomes = rate(url, 4)
    assert [outcome.cause for outcome in outcomes] == ["unparsable"] * 4


def test_a_server_that_ignores_the_choice_gives_no_rating():
    chatter = json.dumps(completion("I would say 2 out of 3")).encode()
    with local_server(lambda handler, body: send(handler, chatter)) as url:
        outcomes = rate(url, 2)
    assert all(isinstance(outcome, RatingFailure) for outcome in outcomes)
    assert outcomes[0].detail == "the answer 'I would say 2 out of 3' is none of 1, 2, 3"


def test_a_hanging_server_gives_no_rating():
    release = threading.Event()
    with local_server(lambda handler, body: release.wait()) as url:
        outcomes = rate(url, 3, deadline_s=0.3)
        release.set()
    assert [outcome.cause for outcome in outcomes] == ["timeout"] * 3


def test_a_server_that_is_not_there_gives_no_rating():
    with local_server(lambda handler, body: None) as url:
        pass
    (outcome,) = rate(url, 1)
    assert (outcome.cause, outcome.attempts) == ("server_error", 3)


def test_settings_choose_the_backend():
    assert isinstance(make_backend(SETTINGS), EndpointBackend)
    with pytest.raises(ValueError, match=r"rater\.endpoint is not set"):
        EndpointBackend(RaterSettings())
