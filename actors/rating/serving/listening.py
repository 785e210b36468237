"""Serving: where it listens, who may ask, and how it ends."""

import asyncio
import errno
import functools
import ipaddress
import os
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from actors.rating.models import resolve_model
from actors.rating.server import RatingServer
from actors.rating.serving.application import application
from actors.rating.serving.guard import HeadersInTime
from actors.rating.serving.limits import Limits
from actors.rating.settings import RaterSettings

KEY_VARIABLE = "LIKERT_SERVE_KEY"
"""Environment variable that holds the key which clients must send."""
BACKLOG = 2048
SHUTDOWN_S = 5
"""Questions under way when it is stopped get so long."""
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Tell = Callable[[str], None]


class CannotServe(Exception):
    """Why it does not start, in words for the user."""


def serve(settings: RaterSettings, host: str = "127.0.0.1", port: int = 8300, tell: Tell = print) -> None:
    """Serve until interrupted; `tell` is called with what the user should know.

    Beyond the loopback addresses a key is needed, from the environment variable LIKERT_SERVE_KEY; where there is one it
    is asked for everywhere. Raises CannotServe for settings that do not fit, an address that cannot be listened on, and
    a model that cannot be loaded; KeyboardInterrupt after it was stopped.
    """
    check_settings(settings)
    key = key_for(host, os.environ.get(KEY_VARIABLE))
    sockets = open_sockets(host, port)
    address = address_of(host, sockets)
    try:
        asyncio.run(_serve(settings, sockets, address, key, tell))
    finally:
        for one in sockets:
            one.close()


def check_settings(settings: RaterSettings) -> None:
    """Raise CannotServe for a model that does not fit, and for several replicas: one process holds one engine."""
    if settings.num_replicas != 1:
        raise CannotServe(
            f"rater.num_replicas {settings.num_replicas}: one `likert serve` holds one engine; "
            "start another one on another port"
        )
    if settings.server is not None:
        raise CannotServe(
            f"rater.server {settings.server!r}: a server that runs share is started by `likert rater start`, "
            "and has no HTTP address"
        )
    if settings.endpoint is None:
        try:
            resolve_model(settings)
        except ValueError as error:
            raise CannotServe(str(error)) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at `host`. A name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8") or host == "::1"
    except ValueError:
        return host.lower() == "localhost"


def key_for(host: str, given: str | None) -> str | None:
    """The key that clients must send, if any. Raises CannotServe where one is needed, or is none that can be sent."""
    if given is None:
        if is_loopback(host):
            return None
        raise CannotServe(
            f"--host {host or repr(host)} can be reached from other machines, so a key is needed: put one that is hard "
            f"to guess into the environment variable {KEY_VARIABLE}; or keep to --host 127.0.0.1"
        )
    if not given or not all("!" <= character <= "~" for character in given):
        raise CannotServe(
            f"{KEY_VARIABLE} is empty, or has blanks or letters beyond ASCII, which no header carries; give it another "
            "value, or unset it"
        )
    return given


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at every address of `host`; port 0 takes a free one. Raises CannotServe.

    They listen from now on, so that a second server on this port is told at once, and not when its model is loaded.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotServe(f"--host {host}: there is no such address ({error}); use 127.0.0.1") from None
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(found):
            # All on the port that the first one got.
            place = (address[0], sockets[0].getsockname()[1] if sockets else port, *address[2:])
            try:
                sockets.append(socket.create_server(place, family=family, backlog=BACKLOG))
            except OSError as error:
                # A name may stand for an address of a kind that this machine does not have, beside one that it has.
                if error.errno not in ABSENT or (not sockets and address == found[-1][-1]):
                    raise
    except OSError as error:
        for one in sockets:
            one.close()
        said = os.strerror(error.errno) if error.errno else str(error)
        raise CannotServe(
            f"--host {host} --port {port} cannot be listened on: {said}; give another --port or --host"
        ) from None
    return sockets


def address_of(host: str, sockets: list[socket.socket]) -> str:
    """The base address that clients are given."""
    name = host or "0.0.0.0"
    return f"http://{f'[{name}]' if ':' in name else name}:{sockets[0].getsockname()[1]}/v1"


async def _serve(
    settings: RaterSettings, sockets: list[socket.socket], address: str, key: str | None, tell: Tell
) -> None:
    server, limits = RatingServer(settings), Limits()
    try:
        tell(f"rating server: loading {settings.model if settings.endpoint is None else settings.endpoint}")
        try:
            await server.start()
        except Exception as error:  # engines fail to start with errors of every type
            raise CannotServe(f"the rating server did not start: {error}") from error
        needed = (
            f"a key is needed, that of {KEY_VARIABLE}" if key else "no key is needed, for only this machine reaches it"
        )
        tell(f"rating server: {address}; {needed}; Ctrl-C ends it")
        await uvicorn.Server(web_settings(application(server, settings, key, limits), limits)).serve(sockets=sockets)
    finally:
        await server.shutdown()


def web_settings(app: Starlette, limits: Limits) -> uvicorn.Config:
    """How uvicorn serves the application: nothing is printed for each request, and no connection waits for ever."""
    return uvicorn.Config(
        app,
        http=functools.partial(HeadersInTime, headers_s=limits.headers_s),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
