"""HTTP to the endpoint: requests with a key, answers that are JSON of bounded size, and what each status means."""

import json
import os
import zlib
from typing import Any

import httpx

from actors.rating.backend import Refused, ServerError, Unparsable

KEY_VARIABLE = "LIKERT_ENDPOINT_KEY"
"""Environment variable that holds the endpoint's key, if it wants one."""

CONNECT_TIMEOUT_S = 10.0
"""For a connection only; how long an answer may take is the question's deadline."""

LARGEST_ANSWER = 16 * 2**20
"""Bytes of an answer, unpacked. A thought of 4,000 tokens with 20 alternatives each is about 6 MB."""

TRANSIENT_STATUS = (408, 409, 425, 429)
"""Statuses below 500 that mean 'later', not 'never'."""


class Disliked(Refused):
    """The server does not take something in the request: a field that it does not know, or a picture."""


class Crashed(ServerError):
    """The server failed inside, which may be because of what it was asked: some fail so at a field that they only half
    know, or at a picture."""


class Connection:
    """An open client of one endpoint. The key goes into the request header, nowhere else.

    `transport` replaces the network, for tests.
    """

    def __init__(self, endpoint: str, max_connections: int, transport: httpx.AsyncBaseTransport | None) -> None:
        self._endpoint = endpoint
        key = os.environ.get(KEY_VARIABLE)
        self._client = httpx.AsyncClient(
            base_url=endpoint,
            headers={"Accept-Encoding": "gzip"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=max_connections),
            transport=transport,
        )

    async def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that answers a request.

        Raises ServerError if asking again may help (Crashed if the request may be why), Refused if the server does not
        take this request (Disliked if another one may do), and Unparsable if what comes is no JSON.
        """
        try:
            async with self._client.stream(method, path, json=body) as response:
                content = await self._read(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(f"{self._endpoint} does not answer: {type(error).__name__} {error}") from error
        self._check_status(response, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Unparsable(f"{self._endpoint} answers with something else than JSON") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        """The body, unpacked here: a packed one may be a thousand times as large as what travels."""
        packing = response.headers.get("Content-Encoding", "identity").lower()
        if packing not in ("identity", "gzip"):
            raise Unparsable(f"{self._endpoint} answers packed as {packing[:40]!r}, but was asked for gzip or nothing")
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if packing == "gzip" else None
        content = bytearray()
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for part in response.stream:
            try:
                content += unpacker.decompress(part, LARGEST_ANSWER + 1) if unpacker else part
            except zlib.error as error:
                raise ServerError(f"{self._endpoint} answers with damaged gzip: {error}") from error
            if len(content) > LARGEST_ANSWER:
                raise Unparsable(f"{self._endpoint} answers with more than {LARGEST_ANSWER >> 20} MB")
        return bytes(content)

    def _check_status(self, response: httpx.Response, content: bytes) -> None:
        code = response.status_code
        if response.is_success:
            return
        status = f"{self._endpoint} answers {code}: {content.decode('utf-8', 'replace')[:200]}"
        if code in (500, 501):
            raise Crashed(status)
        if code in TRANSIENT_STATUS or code > 501:
            raise ServerError(status)
        if code in (401, 403):
            raise Refused(f"{status} (set {KEY_VARIABLE} to a key that it accepts)")
        if code == 404:
            raise Refused(f"{status} (check rater.endpoint, which commonly ends in /v1, and rater.model)")
        raise (Disliked if code in (400, 422) else Refused)(status)
