"""How these tests ask: an application over a fake backend, in this process or behind a real uvicorn on loopback."""

import asyncio
import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from PIL import Image

from actors.rating.backend import Reply
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.serving.application import application
from actors.rating.serving.limits import Limits
from actors.rating.serving.listening import open_sockets, web_settings
from actors.rating.settings import RaterSettings


def picture(size: tuple[int, int] = (8, 8), mode: str = "RGB", kind: str = "PNG", **options) -> bytes:
    """A picture file."""
    file = io.BytesIO()
    Image.new(mode, size, "red" if mode in ("RGB", "RGBA") else 77).save(file, format=kind, **options)
    return file.getvalue()


def data_url(file: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def shown(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


def chat(*content: dict, **fields) -> dict:
    """A body of a chat completion: a system text, pictures, and "How well?"."""
    turn = {"role": "user", "content": [*content, {"type": "text", "text": "How well?"}]}
    return {"messages": [{"role": "system", "content": "You judge."}, turn]} | fields


def likely(prompt, images, choices):
    """A rater that finds the first choice the most likely, and describes a picture in words."""
    weights = [2.0 ** -(index + 1) for index in range(len(choices))]
    share = tuple(weight / sum(weights) for weight in weights)
    return Reply(choices[0], share, 7, 1) if choices else Reply("It is half open.", None, 7, 4)


def call(function, *requests, settings: RaterSettings | None = None, key: str | None = None, **options):
    """Responses to (method, path, body) requests, from a server whose backend is `function`."""
    settings = settings or RaterSettings()

    async def run():
        server = RatingServer(settings, FunctionBackend(function), first_pause_s=0.001)
        app = application(server, settings, key, **options.pop("application", {}))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as web:
            return [
                await web.request(
                    method, path, **({"content": body} if isinstance(body, bytes) else {"json": body}), **options
                )
                for method, path, body in requests
            ]

    return asyncio.run(run())


@contextmanager
def served(rater, settings: RaterSettings | None = None, key: str | None = None, **limits) -> Iterator[str]:
    """A real server on loopback in a thread, of a function or of a backend; yields its base address."""
    settings, bounds = settings or RaterSettings(), Limits(**limits)
    [socket] = open_sockets("127.0.0.1", 0)
    backend = FunctionBackend(rater) if callable(rater) else rater
    app = application(RatingServer(settings, backend, first_pause_s=0.001), settings, key, bounds)
    web = uvicorn.Server(web_settings(app, bounds))
    thread = threading.Thread(target=asyncio.run, args=(web.serve(sockets=[socket]),))
    address = f"http://127.0.0.1:{socket.getsockname()[1]}/v1"
    thread.start()
    try:
        yield address
    finally:
        web.should_exit = True
        thread.join()
