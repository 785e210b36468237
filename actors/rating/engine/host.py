"""An engine in a process of its own, as the rating server sees it.

The rating server's own process imports neither vLLM nor torch. It starts one process that does, and where an engine
runs on a processor, vLLM forks that process for its engine: what both load is loaded once, and is in memory once.
"""

import asyncio
import itertools
import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from actors.rating.backend import EngineDead, RaterError, Reply
from actors.rating.engine.environment import prepare_environment
from actors.rating.engine_site.likert_engine_hooks import die_with_parent
from actors.rating.models import rater_identity
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity

LENGTH_BYTES = 8
"""Before each message its length."""
SIGN_OF_LIFE_S = 0.25
"""What the engine brings forth is told so often, besides with each answer."""
ENDED = "the engine's process ended"

NOBODY = -1
"""Number of a message that answers nothing."""

_METHODS = ("start", "generate", "stop")
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from actors.rating.engine.host import host; host(int(sys.argv[1]))"
)
"""Not a child by `multiprocessing`: that would run the main module of a Ray worker in it, which imports Ray."""


class EngineHost:
    """A `VllmEngine` in a process of its own. `start` and `stop` may alternate; a supervisor decides when.

    `num_outputs` grows whenever the engine brings something forth.
    """

    def __init__(self, settings: RaterSettings) -> None:
        self.num_outputs = 0
        self._settings = settings
        self._identity: RaterIdentity | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        # The kernel ends the process with the thread that started it (`die_with_parent`), so that thread lives as long
        # as this object.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-host")

    async def start(self) -> None:
        """Load the model and warm it up. Raises ValueError if the model or its tokenizer does not fit."""
        ours, theirs = socket.socketpair()
        with theirs:
            # Waited for here: given up in between, nobody would know of the process.
            self._process = self._thread.submit(_spawn, theirs.fileno()).result()
        self._link = Link(*await asyncio.open_connection(sock=ours), self._alive)
        await self._link.call("start", self._settings)

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Answer one prompt; with choices from one forward pass."""
        if self._link is None:
            raise EngineDead("the engine is not running")
        return await self._link.call("generate", prompt, images, choices)

    def identity(self) -> RaterIdentity:
        """Name and revision of the weights, or the digest of a local folder."""
        if self._identity is None:
            self._identity = rater_identity(self._settings)
        return self._identity

    async def stop(self, grace_s: float) -> None:
        """End the engine's processes, by force after `grace_s`. Harmless when there are none."""
        process, self._process = self._process, None
        link, self._link = self._link, None
        if link is not None and grace_s > 0:
            with suppress(Exception):  # It is about to be ended, whatever it says.
                await asyncio.wait_for(link.call("stop", grace_s), grace_s)
        if process is not None:
            # Its own children end with it.
            process.kill()
            await asyncio.to_thread(process.wait)
        if link is not None:
            link.close()

    def _alive(self, num_outputs: int) -> None:
        self.num_outputs += num_outputs


def _spawn(connection: int) -> "subprocess.Popen[bytes]":
    prepare_environment()
    arguments = [sys.executable, "-c", _PROGRAM, str(connection), json.dumps(sys.path)]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=[connection])


class Link:
    """Calls to an engine in another process, any number at once."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alive: Callable[[int], None]
    ) -> None:
        """`alive(n)` is called when the engine has brought forth n more outputs."""
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._alive = alive
        self._ended = ENDED
        self._reading = asyncio.create_task(self._read(reader))

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the method brings or raises there. Raises EngineDead if the process ends meanwhile."""
        if self._reading.done():
            raise EngineDead(self._ended)
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send((number, method, arguments))
        try:
            return await answer
        finally:
            del self._waiting[number]
            if answer.cancelled():
                self._send((number, "cancel", ()))

    def close(self) -> None:
        """Let go of the connection; whoever still waits gets EngineDead."""
        self._reading.cancel()
        self._writer.close()

    def _send(self, message: Any) -> None:
        # Without waiting: what a process that hangs does not read is kept here until it is given up.
        if not self._writer.is_closing():
            self._writer.write(_framed(message))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                number, outputs, is_result, value = await _message(reader)
                self._alive(outputs)
                answer = self._waiting.get(number)
                if answer is None or answer.done():
                    continue
                if is_result:
                    answer.set_result(value)
                else:
                    answer.set_exception(value)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more can be heard, and who waits has to know
            # The connection ends with the process; all else is the fault of what it said.
            if not isinstance(error, (OSError, EOFError)):
                self._ended = f"what the engine's process says cannot be read: {type(error).__name__}: {error}"
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(EngineDead(self._ended))


def host(connection: int) -> None:
    """The other process: an engine, asked over a socket until that ends."""
    die_with_parent()
    # Not before: this module is imported by whoever must not load vLLM.
    from actors.rating.engine.vllm_engine import VllmEngine

    with socket.socket(fileno=connection) as theirs:
        asyncio.run(Host(lambda settings: VllmEngine(settings, forks=True)).serve(theirs))


class Host:
    """Answers the calls of a `Link`."""

    def __init__(self, make_engine: Callable[[RaterSettings], Any]) -> None:
        """`make_engine` is called with what `start` brings."""
        self._make_engine = make_engine
        self._engine: Any = None
        self._told = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._writer: asyncio.StreamWriter

    async def serve(self, connection: socket.socket) -> None:
        """Until whoever asks is gone; then the engine is ended."""
        reader, self._writer = await asyncio.open_connection(sock=connection)
        telling = asyncio.create_task(self._tell_life())
        try:
            # That is how the end of whoever asks shows; other errors end this process, which the other side sees.
            with suppress(OSError, EOFError):
                while True:
                    number, method, arguments = await _message(reader)
                    if method != "cancel":
                        self._tasks[number] = asyncio.create_task(self._answer(number, method, arguments))
                    elif number in self._tasks:
                        self._tasks[number].cancel()
        finally:
            telling.cancel()
            if self._engine is not None:
                await self._engine.stop(grace_s=0)

    async def _answer(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            self._send(number, True, await self._call(method, arguments))
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked has to know
            self._send(number, False, plain_error(error))
        finally:
            del self._tasks[number]

    def _call(self, method: str, arguments: tuple[Any, ...]) -> Awaitable[Any]:
        assert method in _METHODS, method
        if method == "start":
            [settings] = arguments
            self._engine, arguments = self._make_engine(settings), ()
        return getattr(self._engine, method)(*arguments)

    async def _tell_life(self) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            if self._engine is not None and self._engine.num_outputs > self._told:
                self._send(NOBODY, True, None)

    def _send(self, number: int, is_result: bool, value: Any) -> None:
        num_outputs = 0 if self._engine is None else self._engine.num_outputs
        new, self._told = num_outputs - self._told, num_outputs
        if not self._writer.is_closing():
            self._writer.write(_framed((number, new, is_result, value)))


def plain_error(error: Exception) -> Exception:
    """An error that another process can read: ours as it is, any other as the one of Python's own that it is a kind of.

    Libraries' errors may not survive being sent, and their modules would have to be imported.
    """
    if isinstance(error, RaterError):
        return error
    if type(error) in (ValueError, RuntimeError):
        return error
    kind = next(
        kind for kind in (ValueError, TimeoutError, OSError, RuntimeError, Exception) if isinstance(error, kind)
    )
    return (RuntimeError if kind is Exception else kind)(f"{type(error).__name__}: {error}")


def _framed(message: Any) -> bytes:
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(LENGTH_BYTES) + body


async def _message(reader: asyncio.StreamReader) -> Any:
    """The next one. Raises EOFError at the end of the connection."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
    return pickle.loads(await reader.readexactly(length))
