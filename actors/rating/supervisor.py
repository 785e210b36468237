"""Keeps an engine alive: watches that it brings something forth, and starts it again when it died or hangs."""

import asyncio
import logging
from typing import Any, Protocol

from actors.rating.backend import EngineDead, Needs, Reply
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity

log = logging.getLogger(__name__)

CLOSE_GRACE_S = 5.0
"""Time that a healthy engine gets to end by itself."""


class Engine(Protocol):
    """Something that answers, and that may die or hang."""

    num_outputs: int
    """Grows whenever the engine brings something forth."""

    async def start(self) -> None:
        """Come up; called again after `stop`."""

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """As `Backend.generate`; raises EngineDead if the engine ended."""

    def identity(self) -> RaterIdentity:
        """Which weights answer."""

    async def stop(self, grace_s: float) -> None:
        """End its processes, whatever state they are in; by force after `grace_s`. Harmless when there are none."""


class _Life:
    """One life of the engine, from a start to its end."""

    def __init__(self) -> None:
        self.num_in_flight = 0
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Holds why the engine was given up."""


class SupervisedBackend:
    """A backend over an engine that may fail.

    An engine that works on something and brings nothing forth for `stall_timeout_s` counts as hung: a health route can
    still answer then, so only outputs count. A hung or dead engine is killed and started again; questions that were in
    flight get EngineDead, to be asked again by the caller, and new ones wait for the start.
    """

    def __init__(self, engine: Engine, stall_timeout_s: float, start_timeout_s: float) -> None:
        self.restarts = 0
        self._engine = engine
        self._stall_timeout_s = stall_timeout_s
        self._start_timeout_s = start_timeout_s
        self._life: _Life | None = None
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the engine if it is not running. Raises what the engine raised, or TimeoutError."""
        await self._running_life()

    async def check(self, needs: Needs) -> str:
        """Nothing to say: an engine of our own answers every kind of question."""
        return ""

    async def generate(self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]) -> Reply:
        """Ask the engine. Raises EngineDead if it ends meanwhile, or can not be started."""
        try:
            life = await self._running_life()
        except Exception as error:  # engines fail to start with errors of every type
            raise EngineDead(f"the engine could not be started: {error}") from error
        life.num_in_flight += 1
        answer = asyncio.ensure_future(self._engine.generate(prompt, images, choices))
        try:
            await asyncio.wait((answer, life.end), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise EngineDead(life.end.result())
            return answer.result()
        except EngineDead as error:
            self._give_up(life, str(error))
            raise
        finally:
            life.num_in_flight -= 1
            answer.cancel()
            answer.add_done_callback(_seen)

    def identity(self) -> RaterIdentity:
        """Which weights answer."""
        return self._engine.identity()

    async def close(self) -> None:
        """End the engine for good, also while it starts."""
        self._closed = True
        if self._life is not None and not self._life.end.done():
            self._life.end.set_result("the rating server was shut down")
        if self._watching is not None:
            self._watching.cancel()
        while self._starting is not None:
            # A start that has not spawned its processes yet can not be stopped, so they are ended as they appear.
            await self._engine.stop(grace_s=0)
            await asyncio.wait((self._starting,), timeout=0.5)
        await self._engine.stop(grace_s=CLOSE_GRACE_S)

    async def _running_life(self) -> _Life:
        if self._closed:
            raise EngineDead("the rating server was shut down")
        if self._life is None or self._life.end.done():
            self._begin_start()
            # Shielded: a question whose deadline passes must not stop the start that others wait for.
            await asyncio.shield(self._starting)
        return self._life

    def _begin_start(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_engine())
            self._starting.add_done_callback(_seen)

    async def _start_engine(self) -> None:
        try:
            if self._life is not None:
                self.restarts += 1
            await self._engine.stop(grace_s=0)
            try:
                await asyncio.wait_for(self._engine.start(), self._start_timeout_s)
            except TimeoutError:
                raise TimeoutError(
                    f"the engine was not ready after start_timeout_s = {self._start_timeout_s:g} s; "
                    "a large model on a slow disk may need more"
                ) from None
            if self._closed:
                raise EngineDead("the rating server was shut down")
        except BaseException:
            await self._engine.stop(grace_s=0)
            raise
        else:
            self._life = _Life()
            self._watching = asyncio.create_task(self._watch(self._life))
        finally:
            self._starting = None

    async def _watch(self, life: _Life) -> None:
        pause_s = min(1.0, self._stall_timeout_s / 4)
        num_quiet, seen = 0, self._engine.num_outputs
        while not life.end.done():
            await asyncio.sleep(pause_s)
            if life.num_in_flight == 0 or self._engine.num_outputs != seen:
                num_quiet, seen = 0, self._engine.num_outputs
                continue
            # Pauses are counted, not seconds: if this process itself stood still, the engine may be well.
            num_quiet += 1
            if num_quiet * pause_s >= self._stall_timeout_s:
                self._give_up(life, f"the engine hung: no output for stall_timeout_s = {self._stall_timeout_s:g} s")

    def _give_up(self, life: _Life, reason: str) -> None:
        if not life.end.done():
            log.warning("restarting the engine with %d questions in flight: %s", life.num_in_flight, reason)
            life.end.set_result(reason)
            self._begin_start()


def _seen(task: "asyncio.Future[Any]") -> None:
    """Take note of a finished task's error, which nobody else may be waiting for."""
    if not task.cancelled():
        task.exception()
