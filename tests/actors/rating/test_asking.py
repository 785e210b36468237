"""The rating server over a backend that is a function: order, deadlines, retries, failures, counters."""

import asyncio
from dataclasses import replace

import pytest

from actors.rating.backend import EngineDead, Needs, Refused, Reply, ServerError, Unparsable
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from actors.rating.statistics import percentile
from algorithms.prompts import PROMPT_VERSION
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling, TaskText, rating_key
from algorithms.scales import RatingScale

SETTINGS = RaterSettings(deadline_s=20.0)


def request(image: bytes = b"png", mode: str = "answer_only", num_ratings: int = 3) -> RatingRequest:
    return RatingRequest((image,), TaskText("close the drawer", "the drawer"), RatingScale.likert(num_ratings), mode)


def make_server(function, settings: RaterSettings = SETTINGS) -> RatingServer:
    return RatingServer(settings, FunctionBackend(function), first_pause_s=0.001)


def rate(function, requests, settings: RaterSettings = SETTINGS):
    return asyncio.run(make_server(function, settings).rate(requests))


class Script:
    """Answers from a list, one per call; an exception in the list is raised. Remembers what it was asked."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = []

    def __call__(self, prompt, images, choices):
        self.asked.append((prompt, images, choices))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_two_turns_show_the_picture_once_and_give_the_analysis_back():
    script = Script("  The drawer is shut. ", Reply("3", (0.1, 0.2, 0.7), 40, 1))
    (rating,) = rate(script, [request(mode="two_turn")])
    assert (rating.rating, rating.probabilities, rating.analysis) == (2, (0.1, 0.2, 0.7), "The drawer is shut.")
    (first, first_images, first_choices), (second, second_images, second_choices) = script.asked
    assert first.with_images and first_images == (b"png",) and first_choices == ()
    assert not second.with_images and second_images == () and second_choices == ("1", "2", "3")
    assert "An observer reports: The drawer is shut. How well" in second.text


def test_what_a_model_thinks_is_its_analysis_where_it_gives_no_other():
    (rating,) = rate(Script(Reply("1", thought="Is it shut? No.")), [request()])
    assert (rating.rating, rating.analysis) == (0, "Is it shut? No.")
    script = Script(Reply("The drawer is shut.", thought="Hm."), Reply("3", thought="Good, then."))
    (rating,) = rate(script, [request(mode="two_turn")])
    assert (rating.rating, rating.analysis) == (2, "The drawer is shut.")
    assert "Hm." not in script.asked[1][0].text


def test_answer_only_is_one_turn():
    script = Script(Reply("1", (0.9, 0.1), 30, 1))
    (rating,) = rate(script, [request(num_ratings=2)])
    assert (rating.rating, rating.analysis, rating.prompt_tokens, rating.completion_tokens) == (0, "", 30, 1)
    ((prompt, images, choices),) = script.asked
    assert prompt.with_images and images == (b"png",) and choices == ("1", "2")


def test_tokens_of_both_turns_are_counted():
    (rating,) = rate(Script(Reply("text", None, 100, 20), Reply("2", (0, 1, 0), 40, 1)), [request(mode="two_turn")])
    assert (rating.prompt_tokens, rating.completion_tokens) == (140, 21)


def test_key_is_that_of_the_request():
    settings = RaterSettings(temperature=0.5, min_pixels=4_000, max_pixels=50_000)
    (rating,) = rate(Script("1"), [request()], settings)
    sampling = Sampling(temperature=0.5, min_pixels=4_000, max_pixels=50_000)
    assert rating.key == rating_key(request(), RaterIdentity("function", "fake"), sampling, PROMPT_VERSION)


def test_probabilities_are_empty_where_the_backend_tells_none():
    (rating,) = rate(Script(Reply("2")), [request()])
    assert (rating.rating, rating.probabilities) == (1, ())


def test_outcomes_keep_the_order_of_the_requests():
    async def slowest_first(prompt, images, choices):
        place = int(images[0])
        await asyncio.sleep(0.001 * (9 - place))
        if place == 4:
            raise Refused("no")
        return choices[place % 3]

    outcomes = rate(slowest_first, [request(str(place).encode()) for place in range(9)])
    assert [getattr(outcome, "rating", None) for outcome in outcomes] == [0, 1, 2, 0, None, 2, 0, 1, 2]


def test_no_more_than_max_in_flight_at_once():
    running, most = 0, 0

    async def count(prompt, images, choices):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return "1"

    outcomes = rate(count, [request()] * 20, RaterSettings(max_in_flight=3))
    assert len(outcomes) == 20 and most == 3


def test_each_outcome_can_be_had_as_soon_as_it_is_there():
    async def run():
        gate = asyncio.Event()

        async def first_waits(prompt, images, choices):
            if images[0] == b"0":
                await gate.wait()
            return choices[int(images[0])]

        seen = []
        async for index, rating in make_server(first_waits).rate_each([request(b"0"), request(b"1")]):
            seen.append((index, rating.rating))
            gate.set()
        return seen

    assert asyncio.run(run()) == [(1, 1), (0, 0)]


def test_transient_errors_are_asked_again():
    script = Script(ServerError("busy"), EngineDead("crashed"), "2")
    (rating,) = rate(script, [request()])
    assert isinstance(rating, Rating) and rating.rating == 1 and len(script.asked) == 3


def test_a_retry_of_turn_two_keeps_the_analysis():
    script = Script("an analysis", ServerError("busy"), "2")
    (rating,) = rate(script, [request(mode="two_turn")])
    assert rating.analysis == "an analysis"
    assert [choices for _, _, choices in script.asked] == [(), ("1", "2", "3"), ("1", "2", "3")]


@pytest.mark.parametrize(
    ("error", "cause", "attempts"),
    [
        (ServerError("busy"), "server_error", 3),
        (EngineDead("crashed"), "engine_dead", 3),
        (Refused("too long"), "refused", 1),
        (Unparsable("no JSON"), "unparsable", 1),
        (KeyError("a bug"), "server_error", 1),
        (TimeoutError("not ours"), "server_error", 1),
    ],
)
def test_what_still_fails_is_a_failure_with_its_cause(error, cause, attempts):
    script = Script(*[error] * 3)
    (failure,) = rate(script, [request()])
    assert isinstance(failure, RatingFailure)
    assert (failure.cause, failure.attempts, len(script.asked)) == (cause, attempts, attempts)
    assert str(error) in failure.detail


def test_max_attempts_is_obeyed():
    script = Script(*[ServerError("busy")] * 5)
    (failure,) = rate(script, [request()], RaterSettings(max_attempts=5))
    assert (failure.attempts, len(script.asked)) == (5, 5)


@pytest.mark.parametrize("text", ["", "4", "0", "2.", "Good", "level 2", "\uff11"])
def test_answers_that_are_no_level_are_unparsable(text):
    (failure,) = rate(Script(text), [request()])
    assert (failure.cause, failure.attempts) == ("unparsable", 1)
    assert failure.detail == f"the answer {text!r} is none of 1, 2, 3"


async def never(prompt, images, choices):
    await asyncio.Event().wait()


def test_the_deadline_ends_a_question():
    (failure,) = rate(never, [request()], RaterSettings(deadline_s=0.05))
    assert (failure.cause, failure.attempts) == ("timeout", 1)
    assert failure.detail == "no answer within deadline_s = 0.05 s"


def test_the_deadline_spans_all_attempts_and_names_the_last_error():
    async def fail_then_hang(prompt, images, choices):
        if not asked:
            asked.append(1)
            raise ServerError("503 busy")
        await asyncio.Event().wait()

    asked = []
    (failure,) = rate(fail_then_hang, [request()], RaterSettings(deadline_s=0.2))
    assert (failure.cause, failure.attempts) == ("timeout", 2)
    assert failure.detail == "no answer within deadline_s = 0.2 s; before that: 503 busy"


def test_waiting_for_a_place_does_not_count_against_the_deadline():
    async def briefly(prompt, images, choices):
        await asyncio.sleep(0.05)
        return "1"

    # Two seconds in all, one after another.
    outcomes = rate(briefly, [request()] * 40, RaterSettings(max_in_flight=1, deadline_s=1.0))
    assert all(isinstance(outcome, Rating) for outcome in outcomes)


def test_when_every_reply_fails_there_is_no_rating():
    outcomes = rate(lambda *_: "garbage", [request(mode=mode) for mode in ("answer_only", "two_turn")] * 10)
    assert len(outcomes) == 20 and not any(isinstance(outcome, Rating) for outcome in outcomes)


def test_nothing_to_rate():
    assert rate(Script(), []) == []


def test_a_failed_start_is_raised_and_tried_again_by_the_next_call():
    class Backend(FunctionBackend):
        broken = True

        async def start(self):
            if self.broken:
                raise ValueError("rater.model 'x': there is no such folder")

    async def run():
        backend = Backend(lambda *_: "1")
        server = RatingServer(SETTINGS, backend)
        with pytest.raises(ValueError, match="no such folder"):
            await server.start()
        with pytest.raises(ValueError, match="no such folder"):
            await server.rate([request()])
        backend.broken = False
        return await server.rate([request()])

    (rating,) = asyncio.run(run())
    assert rating.rating == 0


def test_a_check_is_tried_again_within_the_deadline():
    faults = [ServerError("busy")]

    class Backend(FunctionBackend):
        async def check(self, needs):
            if faults:
                raise faults.pop()
            return f"relies on {needs.num_pictures}"

    class Hanging(FunctionBackend):
        async def check(self, needs):
            await asyncio.Event().wait()

    def check(backend, **settings):
        server = RatingServer(RaterSettings(**settings), backend(lambda *_: "1"), first_pause_s=0.001)
        return asyncio.run(server.check(Needs(num_pictures=2)))

    assert check(Backend) == "relies on 2"
    assert check(FunctionBackend) == ""
    with pytest.raises(ServerError, match=r"pocket gave no answer .* within rater\.deadline_s = 0\.05 s"):
        check(Hanging, deadline_s=0.05)


def test_statistics_count_everything():
    async def run():
        script = Script(Reply("1", (1, 0, 0), 10, 1), Refused("a"), Reply("2", (0, 1, 0), 20, 2), "x")
        server = make_server(script, RaterSettings(max_in_flight=1))
        assert await server.statistics() == {
            "num_rated": 0,
            "num_failed": 0,
            "failures": {},
            "num_in_flight": 0,
            "ratings_per_s": 0.0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "latency_p50_s": 0.0,
            "latency_p95_s": 0.0,
            "num_restarts": 0,
        }
        outcomes = await server.rate([request()] * 4)
        return outcomes, await server.statistics()

    outcomes, counted = asyncio.run(run())
    assert (counted["num_rated"], counted["num_failed"], counted["num_in_flight"]) == (2, 2, 0)
    assert counted["failures"] == {"refused": 1, "unparsable": 1}
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (30, 3)
    latencies = sorted(outcome.latency_s for outcome in outcomes if isinstance(outcome, Rating))
    assert (counted["latency_p50_s"], counted["latency_p95_s"]) == tuple(latencies)
    assert counted["ratings_per_s"] > 0


def test_percentiles_by_hand():
    assert percentile([], 0.5) == 0.0
    assert percentile([7.0], 0.95) == 7.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(1, 21)], 0.95) == 19.0
    assert percentile([float(value) for value in range(1, 22)], 0.95) == 20.0


def test_a_function_backend_counts_a_choice_as_certain():
    (rating,) = rate(lambda *_: "2", [replace(request(), scale=RatingScale.likert(4))])
    assert rating.probabilities == (0.0, 1.0, 0.0, 0.0)


class Loads(FunctionBackend):
    """Counts how often it was loaded; fails to if told so."""

    def __init__(self, error=None) -> None:
        super().__init__(lambda *_: "2")
        self.num_loads, self._error = 0, error

    async def start(self):
        self.num_loads += 1
        await asyncio.sleep(0.05)
        if self._error:
            raise self._error


WHEN_ASKED = SETTINGS.model_copy(update={"start": "when_asked", "deadline_s": 0.04})


def test_a_model_that_waits_for_its_first_question_is_named_without_being_loaded():
    async def act():
        backend = Loads()
        server = RatingServer(WHEN_ASKED, backend)
        await server.start()
        assert (await server.identity()).model and await server.check(Needs(("1",))) == ""
        assert backend.num_loads == 0
        # Loading takes longer than a question may.
        first, second = await server.rate([request(b"a"), request(b"b")])
        assert (first.rating, second.rating) == (1, 1)
        loads = backend.num_loads
        assert loads >= 1
        await server.rate([request(b"c")])
        assert backend.num_loads == loads

    asyncio.run(act())


def test_what_keeps_such_a_model_from_loading_fails_its_questions():
    async def act():
        server = RatingServer(WHEN_ASKED, Loads(ValueError("no such file")))
        await server.start()
        key = rating_key(request(), await server.identity(), WHEN_ASKED.sampling, PROMPT_VERSION)
        await server.submit("front", [(key, request())])
        (outcome,) = await server.take("front", 5.0)
        assert isinstance(outcome, RatingFailure)
        assert (outcome.cause, outcome.detail) == ("engine_dead", "ValueError: no such file")

    asyncio.run(act())


@pytest.mark.parametrize("elsewhere", [{"endpoint": "http://host:8000/v1"}, {"server": "shared"}])
def test_only_an_engine_of_ones_own_waits(elsewhere):
    with pytest.raises(ValueError, match="when_asked"):
        RaterSettings(start="when_asked", **elsewhere)
