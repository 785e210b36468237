"""An OpenAI-compatible server that really looks at the picture: the level is a function of its pixels
and of what is asked.

python -m tests.fakes.looking_endpoint babyai|dot|pendulum PORT
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
from tests.fakes.looks import LOOKS

Look = Callable[[np.ndarray, str], float]
"""From a picture uint8 [H, W, 3] and the words of the question to how far the task is done, in [0, 1]."""


@dataclass
class LookingServer(Server):
    """Rates the last picture of a question by `look`, evenly over the scale."""

    look: Look = lambda picture, words: 0.0

    def _choice(self, choices: list[str], level: dict[str, float]) -> tuple[str, int | None, dict[str, float]]:
        parts = [
            part
            for message in self.sent[-1]["messages"]
            for part in message["content"]
            if isinstance(part, dict)  # else a text's character
        ]
        pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        if not pictures:
            return super()._choice(choices, level)
        words = " ".join(part["text"] for part in parts if part["type"] == "text")
        done = self.look(decode_png(base64.b64decode(pictures[-1].partition(",")[2])), words)
        chosen = choices[min(int(done * len(choices)), len(choices) - 1)]
        return chosen, 0, {chosen: 0.9} | {other: 0.1 / len(choices) for other in choices if other != chosen}


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
    with serving(LOOKS[sys.argv[1]], int(sys.argv[2])) as (url, _):
        print(url, flush=True)
        threading.Event().wait()
