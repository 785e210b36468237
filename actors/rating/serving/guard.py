"""Before the application: who may ask, and how large and how slow a request may be. Plain ASGI."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from actors.rating.serving.limits import MIB, Limits
from actors.rating.serving.problems import Problem

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="likert"'}


class ClientGone(Exception):
    """Whoever asked has closed the connection."""


class Guard:
    """Lets a request through to `app` once its key is right and its body is here, whole.

    The body is read before the application sees the request, against the limits. A client that goes away takes its
    question along.
    """

    def __init__(self, app: Application, key: str | None, limits: Limits) -> None:
        self._app = app
        self._key = None if key is None else _digest(f"Bearer {key}".encode())
        self._limits = limits
        self._num_held = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = bytearray()
        try:
            self._check_key(scope)
            self._check_length(scope)
            async with asyncio.timeout(self._limits.body_s):
                await self._read(receive, body)
        except TimeoutError:
            self._let_go(body)
            late = f"the request's body was not here after {self._limits.body_s:g} s"
            await _refuse(Problem(408, late), receive, send, self._limits)
        except Problem as problem:
            self._let_go(body)
            await _refuse(problem, receive, send, self._limits)
        except ClientGone:
            self._let_go(body)
        else:
            try:
                await _unless_gone(self._app(scope, _said_again(bytes(body)), send), receive)
            finally:
                self._let_go(body)

    async def _read(self, receive: Receive, body: bytearray) -> None:
        """Read the whole body, which counts as held until it is let go of."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part, more = message.get("body", b""), message.get("more_body", False)
            body += part
            self._num_held += len(part)
            if len(body) > self._limits.body_bytes:
                raise self._too_large()
            if self._num_held > self._limits.held_bytes:
                full = "the server holds as many large requests as it can; ask again later"
                raise Problem(503, full, headers={"Retry-After": "1"})

    def _let_go(self, body: bytearray) -> None:
        self._num_held -= len(body)
        body.clear()

    def _check_key(self, scope: Message) -> None:
        if self._key is None:
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            raise Problem(
                401,
                "a key is needed: send it as 'Authorization: Bearer KEY'",
                code="missing_api_key",
                headers=CHALLENGE,
            )
        scheme, _, key = given[0].partition(b" ")
        # The name of a scheme is written in any case. Digests are of one length, whatever is given.
        same = hmac.compare_digest(_digest(scheme.lower().capitalize() + b" " + key.strip(b" ")), self._key)
        if len(given) > 1 or not same:
            raise Problem(
                401,
                "this key is not the server's",
                code="invalid_api_key",
                headers={"WWW-Authenticate": CHALLENGE["WWW-Authenticate"] + ', error="invalid_token"'},
            )

    def _check_length(self, scope: Message) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > self._limits.body_bytes):
                raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, f"the request's body is too large: it may have {self._limits.body_bytes / MIB:g} MiB")


class HeadersInTime(H11Protocol):
    """A connection that is closed when a request's headers are not here in time: uvicorn waits for ever.

    h11, not httptools: it bounds how large they may be.
    """

    def __init__(self, *args: Any, headers_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers_s = headers_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_at_time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look_at_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _look_at_time(self) -> None:
        # What arrives after an answer, such as the rest of a body that nobody wanted, counts as the next headers.
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self._headers_s, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            problem = Problem(408, f"the request's headers were not here after {self._headers_s:g} s")
            content = json.dumps(problem.body()).encode()
            headers = [*_headers(content), (b"connection", b"close")]
            for event in (h11.Response(status_code=408, headers=headers), h11.Data(data=content), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _refuse(problem: Problem, receive: Receive, send: Send, limits: Limits) -> None:
    """Answer, and close the connection; but first let the client send some more.

    It may look for an answer only once it has sent all, and would find a broken connection in its place.
    """
    content = json.dumps(problem.body()).encode()
    extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    headers = [*_headers(content), (b"connection", b"close"), *extra]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.body_s):
            left, more = limits.body_bytes, True
            while left > 0 and more:
                message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)
                left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _unless_gone(answering: Awaitable[None], receive: Receive) -> None:
    """Answer, unless the client goes away first: then its question is dropped."""
    work = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.wait((work, gone))


def _said_again(body: bytes) -> Receive:
    """`receive` of a request whose body was read already."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        if messages:
            return messages.pop()
        # That the client went away is looked after here, not by the application.
        return await asyncio.get_running_loop().create_future()

    return again


def _headers(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
