"""Who gets an answer at all: only a page of this very server, opened by the link that was printed. Plain ASGI."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere, no script stands in the page, and no page of others may frame it."""
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


class Guard:
    """Passes a request on to `app`, whose paths begin behind the token, or answers 404 and not a byte more.

    What must be right: the name of the host (a name that leads here by a trick of DNS is another), the origin where a
    browser tells it, the site that a browser says the request comes from, and the token, compared in constant time.
    """

    def __init__(self, app: Application, token: str, port: int) -> None:
        self._app = app
        self._token = _digest(token.encode())
        self._hosts = [f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        first, slash, rest = scope["path"].lstrip("/").partition("/")
        # Both are looked at whatever the other says.
        same = hmac.compare_digest(_digest(first.encode()), self._token)
        if not (same & self._from_here(scope)) or not slash:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0"), *HEADERS]})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        await self._app({**scope, "path": f"/{rest}", "raw_path": None}, receive, send_guarded)

    def _from_here(self, scope: Message) -> bool:
        told: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            told.setdefault(name.lower(), []).append(value)
        return (
            len(told.get(b"host", [])) == 1
            and told[b"host"][0] in self._hosts
            and all(origin == b"http://" + told[b"host"][0] for origin in told.get(b"origin", []))
            and all(site in (b"same-origin", b"none") for site in told.get(b"sec-fetch-site", []))
        )


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
