"""The supervisor over engines that hang, die and fail to start, and the rating server above it."""

import asyncio

import pytest

from actors.rating.backend import EngineDead, Reply
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.supervisor import SupervisedBackend
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity, Rating, RatingRequest, TaskText
from algorithms.scales import RatingScale

PROMPT = Prompt("Answer.", with_images=False)
REQUEST = RatingRequest((b"png",), TaskText("close the drawer", "the drawer"), RatingScale.likert(3), "answer_only")
STALL_S = 0.2


class FakeEngine:
    """Answers '1' to '3' by `behave(life, image)`, where `life` counts the starts so far."""

    def __init__(self, behave) -> None:
        self.num_outputs = 0
        self.life = 0
        self.running = False
        self.graces = []
        self._behave = behave

    async def start(self) -> None:
        assert not self.running, "an engine is stopped before it is started again"
        self.life += 1
        self.running = True

    async def generate(self, prompt, images, choices) -> Reply:
        assert self.running
        text = await self._behave(self, images)
        self.num_outputs += 1
        return Reply(text, None)

    def identity(self) -> RaterIdentity:
        return RaterIdentity("fake", "0")

    async def stop(self, grace_s: float) -> None:
        self.running = False
        self.graces.append(grace_s)


async def hang(engine, images):
    await asyncio.Event().wait()


async def answer(engine, images):
    return "2"


def make_backend(engine, start_timeout_s: float = 20.0) -> SupervisedBackend:
    return SupervisedBackend(engine, STALL_S, start_timeout_s)


def rate(engine, num_questions: int, settings: RaterSettings | None = None):
    async def run():
        server = RatingServer(settings or RaterSettings(deadline_s=20.0), make_backend(engine), first_pause_s=0.001)
        outcomes = await server.rate([REQUEST] * num_questions)
        statistics = await server.statistics()
        await server.shutdown()
        return outcomes, statistics

    return asyncio.run(run())


def test_a_hung_engine_is_restarted_and_its_questions_asked_again():
    async def hang_at_first(engine, images):
        return await (hang if engine.life == 1 else answer)(engine, images)

    engine = FakeEngine(hang_at_first)
    outcomes, statistics = rate(engine, 5)
    assert [outcome.rating for outcome in outcomes] == [1] * 5
    assert (engine.life, statistics["num_restarts"]) == (2, 1)


def test_an_engine_that_always_hangs_ends_in_failures():
    engine = FakeEngine(hang)
    outcomes, statistics = rate(engine, 2, RaterSettings(deadline_s=20.0, max_attempts=2))
    assert [(outcome.cause, outcome.attempts) for outcome in outcomes] == [("engine_dead", 2)] * 2
    assert outcomes[0].detail == "the engine hung: no output for stall_timeout_s = 0.2 s"
    assert statistics["num_restarts"] == 2


def test_a_dead_engine_is_restarted_once_for_all_its_questions():
    async def die_at_third(engine, images):
        engine.asked = getattr(engine, "asked", 0) + 1
        if engine.life == 1 and engine.asked == 3:
            raise EngineDead("the engine's process ended")
        return await (hang if engine.life == 1 else answer)(engine, images)

    engine = FakeEngine(die_at_third)
    outcomes, statistics = rate(engine, 6)
    assert all(isinstance(outcome, Rating) for outcome in outcomes)
    assert (engine.life, statistics["num_restarts"]) == (2, 1)


def test_a_slow_engine_that_goes_on_is_left_alone():
    async def slowly(engine, images):
        for _ in range(30):
            await asyncio.sleep(STALL_S / 10)
            engine.num_outputs += 1
        return "2"

    engine = FakeEngine(slowly)
    outcomes, _ = rate(engine, 2)
    assert [outcome.rating for outcome in outcomes] == [1, 1] and engine.life == 1


def test_an_idle_engine_is_left_alone():
    async def run():
        engine = FakeEngine(answer)
        backend = make_backend(engine)
        await backend.start()
        await asyncio.sleep(3 * STALL_S)
        await backend.generate(PROMPT, (), ("1", "2"))
        await backend.close()
        return engine

    assert asyncio.run(run()).life == 1


def test_a_deadline_during_a_restart_does_not_stop_the_restart():
    class SlowToRestart(FakeEngine):
        async def start(self):
            if self.life:
                await gate.wait()
            await super().start()

    async def run():
        nonlocal gate
        gate = asyncio.Event()
        engine = SlowToRestart(hang_at_first)
        server = RatingServer(RaterSettings(deadline_s=0.5), make_backend(engine), first_pause_s=0.001)
        (failure,) = await server.rate([REQUEST])
        later = asyncio.create_task(server.rate([REQUEST]))
        await asyncio.sleep(0)
        gate.set()
        (rating,) = await later
        await server.shutdown()
        return failure, rating, engine

    async def hang_at_first(engine, images):
        return await (hang if engine.life == 1 else answer)(engine, images)

    gate = None
    failure, rating, engine = asyncio.run(run())
    assert failure.cause == "timeout" and "the engine hung" in failure.detail
    assert rating.rating == 1 and engine.life == 2


def test_a_start_that_takes_too_long_is_ended():
    class NeverUp(FakeEngine):
        async def start(self):
            await hang(self, ())

    async def run():
        engine = NeverUp(answer)
        with pytest.raises(TimeoutError, match=r"not ready after start_timeout_s = 0\.1 s"):
            await make_backend(engine, start_timeout_s=0.1).start()
        return engine

    assert asyncio.run(run()).graces == [0, 0]


def test_a_restart_that_fails_ends_in_failures_that_say_why():
    class Once(FakeEngine):
        async def start(self):
            if self.life:
                raise RuntimeError("out of memory")
            await super().start()

    async def die(engine, images):
        raise EngineDead("the engine's process ended")

    outcomes, _ = rate(Once(die), 1)
    assert (outcomes[0].cause, outcomes[0].attempts) == ("engine_dead", 3)
    assert outcomes[0].detail == "the engine could not be started: out of memory"


def test_closing_ends_questions_in_flight_and_a_start_in_progress():
    class NeverUp(FakeEngine):
        async def start(self):
            await super().start()
            self.ended = asyncio.Event()
            await self.ended.wait()
            raise RuntimeError("its processes were killed")

        async def stop(self, grace_s):
            await super().stop(grace_s)
            if hasattr(self, "ended"):
                self.ended.set()

    async def run():
        hung = make_backend(FakeEngine(hang))
        await hung.start()
        question = asyncio.create_task(hung.generate(PROMPT, (), ("1", "2")))
        await asyncio.sleep(0.01)
        await hung.close()
        with pytest.raises(EngineDead, match="shut down"):
            await question
        with pytest.raises(EngineDead, match="shut down"):
            await hung.generate(PROMPT, (), ("1", "2"))

        starting = make_backend(NeverUp(answer))
        start = asyncio.create_task(starting.start())
        await asyncio.sleep(0.01)
        await starting.close()
        with pytest.raises(RuntimeError, match="killed"):
            await start

    asyncio.run(run())
