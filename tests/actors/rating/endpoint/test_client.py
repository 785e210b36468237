"""The client of an OpenAI-compatible server: what it sends, the statuses it meets, and servers that misbehave."""

import asyncio
import base64
import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from actors.rating.backend import Refused, ServerError, Unparsable
from actors.rating.endpoint import client
from actors.rating.endpoint.client import EndpointBackend
from actors.rating.server import RatingServer, make_backend
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity, RatingFailure, RatingRequest, TaskText
from algorithms.scales import RatingScale
from algorithms.scoring_prompts import scores_schema
from tests.fakes.endpoints import (
    LEVELS,
    PNG,
    PROSE,
    QUESTION,
    SETTINGS,
    after_probe,
    completion,
    generate,
    pictures_of,
    png_of_size,
    tops,
    vllm,
)

REQUEST = RatingRequest((PNG,), TaskText("close the drawer", "the drawer"), RatingScale.likert(3), "two_turn")
LOOK = Prompt("Look at the drawer.", with_images=True)


def test_a_level_is_asked_as_a_structured_choice_with_the_picture_as_png():
    server = vllm()
    reply = generate(server)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("3", 30 + 6, 1)
    (body,) = server.questions
    assert body["model"] == "org/model" and body["temperature"] == 0.0
    assert body["structured_outputs"] == {"choice": ["1", "2", "3"]} and "response_format" not in body
    assert body["logprobs"] is True and body["top_logprobs"] == 20
    picture, text = body["messages"][1]["content"]
    assert picture["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert text == {"type": "text", "text": QUESTION.text}


def test_an_analysis_is_free_text_of_bounded_length_and_needs_no_probe():
    server = vllm()
    reply = generate(server, SETTINGS.model_copy(update={"max_analysis_tokens": 77}), choices=(), prompt=LOOK)
    assert (reply.text, reply.probabilities) == (PROSE, None)
    (body,) = server.sent
    assert body["max_tokens"] == 77 and "structured_outputs" not in body and "logprobs" not in body


def test_the_server_is_probed_once_for_each_kind_of_question():
    async def run():
        server = vllm()
        backend = EndpointBackend(SETTINGS, httpx.MockTransport(server))
        await backend.start()
        await asyncio.gather(*(backend.generate(QUESTION, (PNG,), LEVELS) for _ in range(5)))
        await backend.generate(QUESTION, (PNG,), ("A", "B"))
        schema = scores_schema(3)
        scores = await backend.generate(Prompt("Score.", with_images=True, schema=schema), (PNG,), ())
        await backend.close()
        return server, scores.text

    server, scores = asyncio.run(run())
    assert (len(server.sent) - len(server.questions), len(server.questions), scores) == (2, 7, "[3, 4, 5]")


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((300, 200), (300, 200)),  # within the limits: as it is, for the server to fit to its model once
        ((1000, 500), (424, 212)),  # at most 90,000 pixels, in proportion
        ((40, 40), (71, 71)),  # at least 5,000
    ],
)
def test_pictures_go_out_within_the_limits_that_their_keys_name(size, sent):
    server = vllm()
    limits = {"min_pixels": 5_000, "max_pixels": 90_000}
    generate(server, SETTINGS.model_copy(update=limits), images=(png_of_size(*size),), choices=())
    assert pictures_of(server.sent[-1]) == [sent]
    assert "mm_processor_kwargs" not in server.sent[-1]


def test_a_picture_within_the_limits_keeps_every_byte():
    server = vllm()
    generate(server, images=(PNG,), choices=())
    url = server.sent[-1]["messages"][1]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == PNG


@pytest.mark.parametrize("bad", [b"", b"png", b"\xff\xd8\xff\xe0jpeg", PNG[:40]])
def test_what_is_no_png_file_is_refused(bad):
    with pytest.raises(Refused, match="no readable PNG"):
        generate(vllm(), images=(bad,), choices=())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_busy_and_broken_servers_are_transient(status):
    with pytest.raises(ServerError, match=f"http://rater.test/v1 answers {status}: later"):
        generate(lambda _: httpx.Response(status, text="later"))
    with pytest.raises(ServerError, match=f"http://rater.test/v1 answers {status}: later"):
        generate(after_probe(httpx.Response(status, text="later")))


def test_an_unreachable_server_is_transient():
    def handler(request):
        raise httpx.ConnectError("connection refused")

    with pytest.raises(ServerError, match="does not answer: ConnectError connection refused"):
        generate(handler)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_other_client_errors_are_refusals(status):
    with pytest.raises(Refused, match=f"answers {status}: no"):
        generate(lambda _: httpx.Response(status, text="no"))
    with pytest.raises(Refused, match=f"answers {status}: no"):
        generate(after_probe(httpx.Response(status, text="no")))


def test_a_wrong_address_or_model_is_named():
    with pytest.raises(Refused, match=r"answers 404: .*commonly ends in /v1, and rater\.model"):
        generate(lambda _: httpx.Response(404, text="not found"))


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
    assert set(seen) == {"Bearer secret-key"}
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
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, text='{"choices": ' + "[" * 900 + "]" * 900 + "}"),
    ],
)
def test_replies_in_another_format_are_unparsable(response):
    with pytest.raises(Unparsable):
        generate(after_probe(response))


@pytest.mark.parametrize("error", ["Unexpected endpoint or method. (POST /chat/completions)", {"message": "full"}])
def test_an_error_that_comes_with_status_200_is_told(error):
    with pytest.raises(ServerError, match=r"answers with an error: .*(Unexpected endpoint|full)"):
        generate(lambda _: httpx.Response(200, json={"error": error}))


# ------------------------------------------------------------------------------------------------ bodies


def packed(content: bytes, encoding: str = "gzip") -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(content), headers={"Content-Encoding": encoding})


def test_a_packed_answer_is_unpacked():
    assert generate(after_probe(lambda _: packed(gzip.compress(json.dumps(completion("2")).encode())))).text == "2"


def test_an_answer_that_unpacks_to_an_enormous_one_is_not_read():
    bomb = gzip.compress(b" " * 40_000_000, 1)
    with pytest.raises(Unparsable, match="more than 16 MB"):
        generate(after_probe(lambda _: packed(bomb)))


@pytest.mark.parametrize("encoding", ["deflate", "br", "gzip, gzip", "zstd"])
def test_what_was_not_asked_for_is_not_unpacked(encoding):
    with pytest.raises(Unparsable, match="asked for gzip or nothing"):
        generate(after_probe(lambda _: packed(zlib.compress(b"{}"), encoding)))


def test_a_damaged_packed_answer_is_transient():
    with pytest.raises(ServerError, match="damaged gzip"):
        generate(after_probe(lambda _: packed(b"\x1f\x8b\x08 nothing of the kind")))


def test_an_endless_answer_is_not_read_to_its_end():
    class Endless(httpx.AsyncByteStream):
        read = 0

        async def __aiter__(self):
            while True:
                self.read += 1
                yield b" " * 2**20

    endless = Endless()
    with pytest.raises(Unparsable, match="more than 16 MB"):
        generate(after_probe(lambda _: httpx.Response(200, stream=endless)))
    assert endless.read == 17


# ------------------------------------------------------------------------------------------------ which model


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


@pytest.mark.parametrize("response", [httpx.Response(404), httpx.Response(200, json=[]), httpx.Response(200, text="<")])
def test_a_named_model_needs_no_list(response):
    assert start(lambda _: response, SETTINGS) == RaterIdentity("org/model", "endpoint")


def test_a_server_without_an_answer_about_its_models_is_asked_for_a_named_one_all_the_same(monkeypatch):
    monkeypatch.setattr(client, "LOOK_S", 0.01)

    async def wait(request):
        await asyncio.Event().wait()

    assert start(wait, SETTINGS) == RaterIdentity("org/model", "endpoint")


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
        send(handler, json.dumps(completion(text, tops({text: 0.9, "1": 0.05, "3": 0.05}))).encode())

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
    assert "obeys no constraint" in outcomes[0].detail
    assert "asked for one of 1, 2, 3 without one: the answer 'I would say 2 out of 3' is none" in outcomes[0].detail


def test_a_hanging_server_gives_no_rating():
    release = threading.Event()
    with local_server(lambda handler, body: release.wait()) as url:
        outcomes = rate(url, 3, deadline_s=0.3)
        release.set()
    assert [outcome.cause for outcome in outcomes] == ["timeout"] * 3


def test_a_server_that_cuts_its_answers_gives_no_rating():
    def respond(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')
        handler.close_connection = True

    with local_server(respond) as url:
        (outcome,) = rate(url, 1)
    assert (outcome.cause, outcome.attempts) == ("server_error", 3)


def test_a_server_that_drips_its_answers_gives_no_rating():
    release = threading.Event()

    def respond(handler, body):
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while not release.wait(0.02):
                handler.wfile.write(b" ")

    with local_server(respond) as url:
        outcomes = rate(url, 2, deadline_s=0.2)
        release.set()
    assert [outcome.cause for outcome in outcomes] == ["timeout"] * 2


def test_a_server_that_is_not_there_gives_no_rating():
    with local_server(lambda handler, body: None) as url:
        pass
    (outcome,) = rate(url, 1)
    assert (outcome.cause, outcome.attempts) == ("server_error", 3)


def test_settings_choose_the_backend():
    assert isinstance(make_backend(SETTINGS), EndpointBackend)
    with pytest.raises(ValueError, match=r"rater\.endpoint is not set"):
        EndpointBackend(RaterSettings())
