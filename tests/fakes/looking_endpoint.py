"""An OpenAI-compatible server that really looks at the picture: the level is a function of its pixels.

python -m tests.fakes.looking_endpoint PORT
"""

import base64
import http.server
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np

from algorithms.images import decode_png
from tests.fakes.endpoints import Server

Look = Callable[[np.ndarray], float]
"""From a picture uint8 [H, W, 3] to how far the task is done, in [0, 1]."""


@dataclass
class LookingServer(Server):
    """Rates the last picture of a question by `look`, evenly over the scale."""

    look: Look = lambda picture: 0.0

    def _choice(self, choices: list[str], level: dict[str, float]) -> tuple[str, int | None, dict[str, float]]:
        pictures = [
            part["image_url"]["url"]
            for message in self.sent[-1]["messages"]
            for part in message["content"]
            if isinstance(part, dict) and part["type"] == "image_url"
        ]
        if not pictures:
            return super()._choice(choices, level)
        done = self.look(decode_png(base64.b64decode(pictures[-1].partition(",")[2])))
        chosen = choices[min(int(done * len(choices)), len(choices) - 1)]
        return chosen, 0, {chosen: 0.9} | {other: 0.1 / len(choices) for other in choices if other != chosen}


def dot_near_disc(picture: np.ndarray) -> float:
    """How near the middle of what is blue is to the middle of what is red or was: 1 on it, 0 a whole side away."""
    pixels = picture.astype(int)
    blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 100)
    red = (pixels[..., 0] > 150) & (pixels[..., 2] < 100)
    if not blue.any():
        return 0.0
    if not red.any():
        return 1.0
    middles = [np.argwhere(colour).mean(axis=0) for colour in (blue, red)]
    return max(0.0, 1.0 - float(np.linalg.norm(middles[0] - middles[1])) / (0.6 * len(picture)))


@contextmanager
def serving(look: Look, port: int = 0):
    """Serve at http://127.0.0.1:PORT/v1; gives the URL and the server."""
    server = LookingServer(("structured_outputs", "response_format", "logprobs"), thinks_in="reasoning", look=look)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                response = server(httpx.Request(self.command, f"http://rater.test{self.path}", content=body))
            self.send_response(response.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    lock = threading.Lock()
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/v1", server
    finally:
        listening.shutdown()
        listening.server_close()


if __name__ == "__main__":
    with serving(dot_near_disc, int(sys.argv[1])) as (url, _):
        print(url, flush=True)
        threading.Event().wait()
