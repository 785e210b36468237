"""A rater at a likert server gives the ratings that an engine of one's own would, under the same keys."""

import asyncio
from dataclasses import replace

import pytest

from actors.rating.asking import Request
from actors.rating.backend import Reply
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.progress import ProgressRequest
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale
from algorithms.scores import ScoreRequest
from orchestrator.errors import SettingsError
from orchestrator.settings.served import as_served
from tests.actors.rating.serving.asking import picture, served

TASK = TaskText("close the drawer", "the drawer")
ACTIONS = ("turn left", "move forward")
ONE, TWO = (picture((300, 200)),), (picture((300, 200)), picture((40, 40), mode="L"))
REQUESTS: list[Request] = [
    RatingRequest(ONE, TASK, RatingScale.likert(3), "answer_only"),
    RatingRequest(ONE, TASK, RatingScale.likert(5), "two_turn"),
    RatingRequest(TWO, TASK, RatingScale.likert(2, ("open", "shut")), "answer_only", "two frames, in time order"),
    RatingRequest(ONE, TaskText("close the drawer", "the drawer", "a small hand"), RatingScale.likert(3), "two_turn"),
    *(
        ScoreRequest(ONE, "pick up the ball", ACTIONS, mode, "3 frames")
        for mode in ("two_turn", "single_turn", "logits")
    ),
    *(ProgressRequest(TWO, "pick up the ball", mode, "in time order") for mode in ("topreward", "verdict")),
    ProgressRequest(TWO, "pick up the ball", "verdict_two_turn", "in time order"),
    ProgressRequest(TWO, "pick up the ball", "gvl", "in time order"),
]


def rater(prompt, images, choices):
    """Answers that depend on all that it is told and shown."""
    seen = hash((prompt.text, prompt.system, prompt.earlier, prompt.schema, images, choices)) % 997
    if choices:
        weights = [1 + (seen * (index + 3)) % 11 for index in range(len(choices))]
        shares = tuple(weight / sum(weights) for weight in weights)
        return Reply(choices[shares.index(max(shares))], shares, 9, 1)
    if prompt.schema:
        number = 1 if '"maximum": 100' in prompt.schema else len(ACTIONS)
        return Reply(str([seen % 11] * number), None, 9, 5)
    return Reply(f"It is {seen} steps away, of at most {prompt.max_tokens}.", None, 9, 7)


def rate(settings: RaterSettings, backend=None):
    async def run():
        server = RatingServer(settings, backend, first_pause_s=0.001)
        try:
            return await server.rate(REQUESTS)
        finally:
            await server.shutdown()

    return asyncio.run(run())


def test_the_same_ratings_under_the_same_keys():
    def told(prompt, images, choices):
        # What an engine's own settings say, a client says in every question.
        limit = None if choices else prompt.max_tokens or (512 if prompt.schema else 99)
        return rater(replace(prompt, max_tokens=limit), images, choices)

    own = RaterSettings(dtype="float32", max_analysis_tokens=99)
    expected = rate(own, FunctionBackend(told))
    with served(rater, own, key="sesame") as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKERT_ENDPOINT_KEY", "sesame")
        found = rate(as_served(RaterSettings(endpoint=address, max_analysis_tokens=99)))
    for one, other, request in zip(found, expected, REQUESTS, strict=True):
        assert (one.key, one.analysis) == (other.key, other.analysis), request
        if isinstance(request, RatingRequest):
            assert one.rating == other.rating
            assert one.probabilities == pytest.approx(other.probabilities)
        else:
            assert one.scores == pytest.approx(other.scores)
            assert [pytest.approx(row) for row in one.probabilities] == list(other.probabilities)


def test_settings_that_the_server_does_not_have_are_one_message():
    with served(rater, RaterSettings()) as address:
        with pytest.raises(SettingsError, match=r"is a likert server with max_pixels 12544 \(asked for: 50000\)"):
            as_served(RaterSettings(endpoint=address, max_pixels=50_000))
        # Who did not ask before is told when it starts.
        with pytest.raises(ValueError, match="is a likert server with max_pixels 12544"):
            rate(RaterSettings(endpoint=address, max_pixels=50_000))


def test_settings_are_as_they_were_for_any_other_rater():
    for settings in (RaterSettings(), RaterSettings(endpoint="http://127.0.0.1:9/v1")):
        assert as_served(settings) is settings


def test_a_server_that_was_started_anew_with_other_settings_does_not_answer_in_the_old_ones_name():
    async def run(address: str):
        server = RatingServer(as_served(RaterSettings(endpoint=address)), first_pause_s=0.001)
        try:
            before = await server.rate(REQUESTS[:1])
            limits[0] = 50_000
            return before + await server.rate(REQUESTS[:1])
        finally:
            await server.shutdown()

    limits = [12_544]

    class Moody(RaterSettings):
        @property
        def sampling(self):
            return replace(super().sampling, max_pixels=limits[0])

    with served(rater, Moody()) as address:
        first, second = asyncio.run(run(address))
    assert first.rating >= 0 and second.cause == "refused" and "it has max_pixels 50000" in second.detail
