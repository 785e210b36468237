"""Serving the page to this machine, until it is stopped."""

import os
import secrets
import socket
from collections.abc import Callable

import uvicorn

from orchestrator.errors import SettingsError
from orchestrator.gallery.application import application
from orchestrator.gallery.index import GalleryIndex

LOOPBACK = "127.0.0.1"
"""Only this machine reaches it; there is no setting for another address."""
SHUTDOWN_S = 3
"""Questions under way when it is stopped get so long."""


def open_socket(port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises SettingsError if the port is taken."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(
            f"--port {port}: cannot be listened on ({reason}); give another, or 0 for a free one"
        ) from None


def serve(index: GalleryIndex, listening: socket.socket, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, then return. `tell` gets one line with the link."""
    port, token = listening.getsockname()[1], secrets.token_urlsafe(32)
    config = uvicorn.Config(
        application(index, token, port),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    tell(f"http://{LOOPBACK}:{port}/{token}/")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
