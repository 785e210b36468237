"""An engine in another process: what goes over the connection, and what happens when one side ends."""

import asyncio
import socket

import pytest

from actors.rating.backend import EngineDead, Refused, Reply
from actors.rating.engine.host import Host, Link, plain_error
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt


class ToyEngine:
    """Answers with the prompt; some prompts it treats in ways of their own."""

    def __init__(self, settings) -> None:
        self.num_outputs = 0
        self.settings = settings
        self.events = []
        self.go_on = asyncio.Event()

    async def start(self):
        self.events.append("started")

    async def generate(self, prompt, images, choices):
        if prompt.text == "wait":
            try:
                await self.go_on.wait()
            finally:
                self.events.append("left")
        if prompt.text == "refuse":
            raise Refused("too long")
        if prompt.text == "odd":
            raise OddError(1, 2)
        self.num_outputs += 1
        return Reply(prompt.text, (0.25, 0.75), len(images), len(choices))

    async def stop(self, grace_s):
        self.events.append(f"stopped {grace_s:g}")


class OddError(LookupError):
    """Does not survive being sent."""

    def __init__(self, one, two) -> None:
        super().__init__(f"{one} and {two}")


def together(play):
    """Run `play(link, engines, alive)` with both sides in this process."""

    async def run():
        engines, alive = [], []

        def make(settings):
            engines.append(ToyEngine(settings))
            return engines[-1]

        ours, theirs = socket.socketpair()
        host = asyncio.create_task(Host(make).serve(theirs))
        link = Link(*await asyncio.open_connection(sock=ours), alive.append)
        await link.call("start", RaterSettings(max_in_flight=7))
        await asyncio.wait_for(play(link, engines, alive), timeout=60)
        link.close()
        await asyncio.wait_for(host, timeout=60)
        return engines[0]

    return asyncio.run(run())


def ask(link, text):
    return link.call("generate", Prompt(text, with_images=False), (b"png",), ("1", "2"))


def test_answers_and_errors_come_to_whoever_asked():
    async def play(link, engines, alive):
        outcomes = await asyncio.gather(
            *(ask(link, text) for text in ("a", "refuse", "b", "odd")), return_exceptions=True
        )
        assert outcomes[0] == Reply("a", (0.25, 0.75), 1, 2) and outcomes[2].text == "b"
        assert isinstance(outcomes[1], Refused) and str(outcomes[1]) == "too long"
        assert type(outcomes[3]) is RuntimeError and str(outcomes[3]) == "OddError: 1 and 2"
        assert sum(alive) == engines[0].num_outputs == 2

    engine = together(play)
    assert engine.settings.max_in_flight == 7
    assert engine.events == ["started", "stopped 0"]


def test_life_is_told_while_nothing_is_answered():
    async def play(link, engines, alive):
        waiting = asyncio.create_task(ask(link, "wait"))
        await asyncio.sleep(0)
        engines[0].num_outputs += 5
        while sum(alive) < 5:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        engines[0].go_on.set()
        await waiting

    together(play)


def test_a_question_that_nobody_waits_for_is_given_up():
    async def play(link, engines, alive):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(link, "wait"), 0.2)
        while engines[0].events != ["started", "left"]:
            await asyncio.sleep(0.01)
        assert (await ask(link, "next")).text == "next"

    together(play)


def test_what_cannot_be_read_fails_what_is_under_way_and_says_so():
    async def run():
        ours, theirs = socket.socketpair()
        link = Link(*await asyncio.open_connection(sock=ours), lambda _: None)
        under_way = asyncio.create_task(link.call("generate", "x"))
        await asyncio.sleep(0)
        theirs.sendall((3).to_bytes(8) + b"no!")
        for later in (under_way, link.call("generate", "y")):
            with pytest.raises(EngineDead, match="says cannot be read: UnpicklingError"):
                await asyncio.wait_for(later, 10)
        link.close()
        theirs.close()

    asyncio.run(run())


def test_the_end_of_the_other_side_fails_what_is_under_way_and_what_comes_after():
    async def run():
        ours, theirs = socket.socketpair()
        serving = Host(ToyEngine)
        host = asyncio.create_task(serving.serve(theirs))
        link = Link(*await asyncio.open_connection(sock=ours), lambda _: None)
        await link.call("start", RaterSettings())
        waiting = asyncio.create_task(ask(link, "wait"))
        await asyncio.sleep(0.1)
        host.cancel()
        await asyncio.wait([host])
        serving._writer.close()
        with pytest.raises(EngineDead, match="ended"):
            await asyncio.wait_for(waiting, timeout=60)
        with pytest.raises(EngineDead, match="ended"):
            await asyncio.wait_for(ask(link, "after"), timeout=60)
        link.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused("no"), Refused("no")),
        (ValueError("unfit"), ValueError("unfit")),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), ValueError("UnicodeDecodeError: ")),
        (FileNotFoundError("gone"), OSError("FileNotFoundError: gone")),
    ],
)
def test_errors_that_others_can_read(error, expected):
    plain = plain_error(error)
    assert type(plain) is type(expected)
    assert str(plain).startswith(str(expected))
