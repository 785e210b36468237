"""Scores of a window's actions, asked of a server over a backend that is a function; and of a real engine."""

import asyncio

import pytest

from actors.rating.backend import Reply, ServerError
from actors.rating.chat import chat_text
from actors.rating.endpoint.client import _messages
from actors.rating.fake import FunctionBackend
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, RatingFailure
from algorithms.scores import ScoreRequest, Scores, score_key
from algorithms.scoring_prompts import (
    SCORE_LETTERS,
    SCORING_PROMPT_VERSION,
    scores_prompt,
    scores_schema,
    window_analysis_prompt,
)

SETTINGS = RaterSettings(deadline_s=20.0)


def request(mode="two_turn", actions=("turn left", "move forward", "pick up")):
    return ScoreRequest((b"png",), "pick up the ball", actions, mode, "4 numbered frames in rows of 3, in time order")


class Script:
    """Answers from a list, one per call; an exception in the list is raised. Remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, prompt, images, choices):
        self.asked.append((prompt, images, choices))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(function, asked, settings=SETTINGS):
    server = RatingServer(settings, FunctionBackend(function), first_pause_s=0.001)
    (outcome,) = asyncio.run(server.rate([asked]))
    return outcome


def test_two_turns_of_one_conversation():
    script = Script(Reply(" It grasps the ball. ", None, 100, 9), Reply("[0,3,10]", None, 130, 8))
    scores = ask(script, request())
    assert isinstance(scores, Scores) and scores.scores == (0.0, 3.0, 10.0) and scores.probabilities == ()
    assert (scores.analysis, scores.prompt_tokens, scores.completion_tokens) == ("It grasps the ball.", 230, 17)
    assert scores.key == score_key(
        request(), RaterIdentity("function", "fake"), SETTINGS.sampling, SCORING_PROMPT_VERSION
    )
    (first, first_images, _), (second, second_images, _) = script.asked
    assert first_images == second_images == (b"png",)
    assert second.earlier == ((first.text, "It grasps the ball."),) and second.schema == scores_schema(3)


def test_the_analysis_survives_a_retry_of_turn_two():
    script = Script("An analysis.", ServerError("busy"), "[1,2,3]")
    assert ask(script, request()).scores == (1.0, 2.0, 3.0)
    assert len(script.asked) == 3 and script.asked[2][0].earlier[0][1] == "An analysis."


def test_single_turn_asks_once():
    script = Script("[1,2,3]")
    scores = ask(script, request("single_turn"))
    assert scores.scores == (1.0, 2.0, 3.0) and scores.analysis == "" and len(script.asked) == 1


def test_logits_give_a_distribution_for_each_action_from_one_pass_each():
    certain = Reply("K", tuple(float(score == 10) for score in range(11)), 50, 1)
    even = Reply("A", (1 / 11,) * 11, 50, 1)
    script = Script(certain, ServerError("busy"), even, certain)
    scores = ask(script, request("logits"))
    assert scores.scores == pytest.approx((10.0, 5.0, 10.0)) and len(scores.probabilities) == 3
    assert scores.probabilities[0] == certain.probabilities and scores.prompt_tokens == 150
    assert all(choices == SCORE_LETTERS for _, _, choices in script.asked)
    # What was answered before the error is not asked again.
    assert ["action 1" in prompt.text for prompt, _, _ in script.asked] == [True, False, False, False]


@pytest.mark.parametrize("answer", ["[1,2]", "[1,2,99]", "well done", ""])
def test_anything_but_the_scores_is_a_failure_and_never_zero(answer):
    failure = ask(Script("An analysis.", answer), request())
    assert isinstance(failure, RatingFailure) and failure.cause == "unparsable"


def test_logits_of_a_server_that_tells_no_probabilities_are_a_failure():
    failure = ask(Script(Reply("B")), request("logits"))
    assert isinstance(failure, RatingFailure) and "mode 'logits' needs" in failure.detail


def test_scores_are_counted_in_the_statistics():
    async def run():
        server = RatingServer(SETTINGS, FunctionBackend(Script(Reply("[1,2,3]", None, 7, 5), "?")))
        await server.rate([request("single_turn")])
        await server.rate([request("single_turn")])
        return await server.statistics()

    counted = asyncio.run(run())
    assert (counted["num_rated"], counted["num_failed"], counted["prompt_tokens"]) == (1, 1, 7)


def test_the_conversation_in_both_backends_shows_the_picture_once():
    prompt = scores_prompt(request(), "An analysis.")
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    system, user, assistant, last = _messages(prompt, [picture])
    assert system["role"] == "system" and assistant == {"role": "assistant", "content": "An analysis."}
    assert user["content"][0] == picture and user["content"][1]["text"] == window_analysis_prompt(request()).text
    assert last["content"] == [{"type": "text", "text": prompt.text}]

    class Tokenizer:
        def apply_chat_template(self, messages, **_):
            return messages

    messages = chat_text(Tokenizer(), prompt, 1)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert [part["type"] for message in messages[1:] for part in message["content"]] == [
        "image",
        "text",
        "text",
        "text",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["two_turn", "single_turn", "logits"])
def test_a_real_engine_gives_scores_in_every_mode(mode):
    """The pocket rater has not learned this question; structured output gives scores all the same."""
    import numpy as np

    from algorithms.images import encode_png
    from algorithms.label_settings import WindowSettings
    from algorithms.windows import score_request, windows_of

    rng = np.random.default_rng(0)
    frames = [encode_png(rng.integers(256, size=(28, 28, 3), dtype=np.uint8)) for _ in range(9)]
    names = ["turn left", "move forward", "pick up", "drop", "toggle", "turn right", "do nothing", "move forward"]
    settings = WindowSettings()
    asked = [
        score_request(windows_of(length, settings)[0], frames, names, "go to the ball", mode, settings)
        for length in (8, 3, 1)
    ]

    async def run():
        server = RatingServer(RaterSettings(max_model_len=2048, max_analysis_tokens=16))
        try:
            return await server.rate(asked)
        finally:
            await server.shutdown()

    outcomes = asyncio.run(run())
    for one, outcome in zip(asked, outcomes, strict=True):
        assert isinstance(outcome, Scores), outcome
        assert len(outcome.scores) == len(one.actions) and all(0 <= score <= 10 for score in outcome.scores)
        assert (len(outcome.probabilities) == len(one.actions)) == (mode == "logits")
        assert all(abs(sum(one) - 1) < 1e-6 for one in outcome.probabilities)
