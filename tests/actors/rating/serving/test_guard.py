"""Who may ask, and clients that send too much or too slowly: each has its answer, and the others have theirs.

A real uvicorn on a loopback port. Nothing here looks at a clock: what arrives is what counts.
"""

import asyncio
import base64
import json
import logging
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from actors.rating.backend import Reply
from tests.actors.rating.serving.asking import call, chat, data_url, likely, picture, served, shown

QUICKLY = {"headers_s": 0.3, "body_s": 0.3}
"""For tests in which the time is to run out."""


@contextmanager
def raw(address: str):
    """A connection to a server that speaks bytes."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """All that arrives until the server closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def error_in(answer: bytes) -> str:
    """The message of an answer as it arrived."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


def head(path: str = "/v1/chat/completions", **headers) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: t", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "missing_api_key"),
        ([("Authorization", b"Bearer other")], "invalid_api_key"),
        ([("Authorization", b"Bearer ")], "invalid_api_key"),
        ([("Authorization", b"Bearer")], "invalid_api_key"),
        ([("Authorization", b"Basic sesame")], "invalid_api_key"),
        ([("Authorization", b"sesame")], "invalid_api_key"),
        ([("Authorization", b"Bearer SESAME")], "invalid_api_key"),
        ([("Authorization", b"Bearer s\xc3\xa9same\xff")], "invalid_api_key"),
        ([("Authorization", b"Bearer sesame"), ("Authorization", b"Bearer sesame")], "invalid_api_key"),
        ([("X-Api-Key", b"sesame")], "missing_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing"])
def test_without_the_key_nothing_is_told(path, headers, code):
    (response,) = call(likely, ("GET", path, None), key="sesame", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == code
    assert response.headers["www-authenticate"].startswith('Bearer realm="likert"')


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_with_the_key_there_are_answers(scheme):
    header = {"Authorization": f"{scheme} sesame"}
    assert call(likely, ("GET", "/v1/models", None), key="sesame", headers=header)[0].status_code == 200
    assert call(likely, ("GET", "/v1/models", None))[0].status_code == 200


def test_the_key_is_logged_nowhere(caplog, capfd):
    with caplog.at_level(logging.DEBUG), served(likely, key="open-sesame") as address:
        for key in ("open-sesame", "guessed-key"):
            httpx.get(f"{address}/models", headers={"Authorization": f"Bearer {key}"})
            httpx.post(f"{address}/chat/completions", headers={"Authorization": f"Bearer {key}"}, content=b"{")
    printed = capfd.readouterr()
    for key in ("open-sesame", "guessed-key"):
        assert key not in caplog.text + printed.out + printed.err


def test_a_body_too_large_is_told_before_it_is_sent():
    with served(likely, body_bytes=1000) as address, raw(address) as connection:
        connection.sendall(head(Content_Length=10**12, Expect="100-continue"))
        connection.shutdown(socket.SHUT_WR)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in answer
    assert error_in(answer).startswith("the request's body is too large")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_far_too_much_finds_its_answer_all_the_same(chunked):
    content = b" " * 1_500_000

    def parts():
        yield from (content[:1_000] for _ in range(1_500))

    with served(likely, body_bytes=2**20) as address:
        response = httpx.post(
            f"{address}/chat/completions",
            content=parts() if chunked else content,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        assert response.status_code == 413
        assert "it may have 1 MiB" in response.json()["error"]["message"]
        assert httpx.get(f"{address}/models").status_code == 200


def test_large_requests_together_are_bounded():
    reading, go_on = threading.Event(), threading.Event()

    def slowly(*_):
        async def answer():
            reading.set()
            await asyncio.to_thread(go_on.wait)
            return "well"

        return answer()

    large = chat(shown(data_url(picture((64, 64)))), user="x" * 6_000)
    with served(slowly, held_bytes=10_000) as address:
        first: list[httpx.Response] = []
        other = threading.Thread(
            target=lambda: first.append(httpx.post(f"{address}/chat/completions", json=large, timeout=60))
        )
        other.start()
        assert reading.wait(60)
        refused = httpx.post(f"{address}/chat/completions", json=large, timeout=60)
        go_on.set()
        other.join()
        again = httpx.post(f"{address}/chat/completions", json=large, timeout=60)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert [first[0].status_code, again.status_code] == [200, 200]


def test_a_body_that_does_not_come_is_given_up():
    with served(likely, **QUICKLY) as address, raw(address) as connection:
        connection.sendall(head(Content_Length=100) + b'{"mess')
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_in(answer) == "the request's body was not here after 0.3 s"


@pytest.mark.parametrize("start", [b"", b"POST /v1/rat", b"POST /v1/ratings HTTP/1.1\r\nHost: t\r\n"])
def test_headers_that_do_not_come_are_given_up(start):
    with served(likely, **QUICKLY) as address, raw(address) as connection:
        connection.sendall(start)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") if start else answer == b""


def test_later_headers_of_a_connection_are_given_up_too():
    with served(likely, **QUICKLY) as address, raw(address) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n")
        first = connection.recv(65536)
        connection.sendall(b"GET /v1/mod")
        answer = everything(connection)
    assert first.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 408 " in answer


@pytest.mark.parametrize(
    "trickle", [head(Content_Length=10**6), head(Transfer_Encoding="chunked"), b"GET /v1/models HTTP/1.1\r\nX: "]
)
def test_a_client_that_dribbles_is_cut_off_and_the_others_are_answered_meanwhile(trickle):
    is_chunked = b"chunked" in trickle
    with served(likely, headers_s=0.5, body_s=0.5) as address, raw(address) as connection:
        connection.sendall(trickle)
        others = []
        connection.settimeout(0.02)
        answer = b""
        while not answer:
            try:
                connection.sendall(b"1\r\nx\r\n" if is_chunked else b"x")
                others.append(httpx.post(f"{address}/chat/completions", json=chat()).status_code)
                answer = connection.recv(65536)
            except TimeoutError:
                pass
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert others and set(others) == {200}


def test_headers_without_end_are_refused():
    with served(likely) as address, raw(address) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\n" + b"X: " + b"y" * 100_000)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_many_idle_connections_cost_nobody_an_answer():
    with served(likely) as address:
        url = httpx.URL(address)
        idle = [socket.create_connection((url.host, url.port)) for _ in range(100)]
        assert httpx.post(f"{address}/chat/completions", json=chat()).status_code == 200
        for connection in idle:
            connection.close()


def test_a_client_that_goes_away_takes_its_question_along():
    asked, dropped = threading.Event(), threading.Event()

    def wait(*_):
        async def answer():
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                dropped.set()

        return answer()

    body = json.dumps(chat()).encode()
    with served(wait) as address:
        with raw(address) as connection:
            connection.sendall(head(Content_Length=len(body)) + body)
            assert asked.wait(60)
        assert dropped.wait(60)
        assert httpx.get(f"{address}/statistics").json()["num_in_flight"] == 0


def test_a_picture_bomb_costs_nobody_an_answer():
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0\0\0\0\0"
    body = {"images": [base64.b64encode(bomb).decode()], "instruction": "close", "focus": "the drawer"}
    with served(likely) as address, httpx.Client(base_url=address) as client:
        assert client.post("/ratings", json=body).status_code == 413
        assert client.post("/chat/completions", json=chat(shown(data_url(picture())))).status_code == 200


def test_answers_come_over_one_connection_one_after_the_other():
    counted = []

    def count(*_):
        counted.append(time.monotonic())
        return Reply(str(len(counted)), None, 1, 1)

    with served(count) as address, httpx.Client(base_url=address) as client:
        texts = [
            client.post("/chat/completions", json=chat()).json()["choices"][0]["message"]["content"] for _ in "abc"
        ]
    assert texts == ["1", "2", "3"]
