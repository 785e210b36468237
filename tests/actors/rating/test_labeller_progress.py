"""Labellers that ask the rating server, and the random control: formulas and questions by hand."""

import asyncio
import json

import numpy as np
import pytest

from actors.rating.asking import request_key
from actors.rating.backend import Reply, ServerError
from actors.rating.fake import FunctionBackend
from actors.rating.labellers.gvl import Gvl
from actors.rating.labellers.labeller import BROKEN_FRAME
from actors.rating.labellers.random_rewards import RandomRewards
from actors.rating.labellers.settings import GvlLabeller, RandomLabeller, TopRewardLabeller
from actors.rating.labellers.topreward import TopReward
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.progress import ProgressRequest, interpolated, paid, spread, value_order_correlation
from algorithms.progress_prompts import TRUTHS, VERDICTS, parse_percentages
from algorithms.ratings import RaterIdentity, RatingFailure, Sampling
from algorithms.scores import Scores
from tests.fakes.toy_labels import toy_episode

FAKE = RaterIdentity("function", "fake")


def answered(*scores):
    return Scores("key", tuple(scores), (), "", 0, 0, 0.0)


# ------------------------------------------------------------------------------------------------------- by hand


def test_value_order_correlation_by_hand():
    def voc(*values):
        return value_order_correlation(np.array(values, dtype=float))

    assert voc(0, 10, 90) == pytest.approx(1) and voc(9, 5, 1) == pytest.approx(-1)
    # Ranks 0, 2, 1 against 0, 1, 2: covariance 1, variances 2.
    assert voc(1, 3, 2) == pytest.approx(0.5)
    # Ranks 1/2, 1/2, 2: covariance 3/2, variances 3/2 and 2.
    assert voc(4, 4, 9) == pytest.approx(1.5 / np.sqrt(3))
    assert voc(1, np.nan, 2) == pytest.approx(1)
    assert voc(5, 5, 5) is None and voc(5) is None and voc() is None and voc(np.nan, 1) is None


def test_frames_are_spread_with_both_ends():
    assert spread(5, 8) == [0, 1, 2, 3, 4] and spread(5, 5) == [0, 1, 2, 3, 4]
    assert spread(9, 3) == [0, 4, 8] and spread(10, 4) == [0, 3, 6, 9]
    # 4.5 is rounded up.
    assert spread(10, 3) == [0, 5, 9]
    assert spread(7, 1) == [6] and spread(1, 4) == [0]
    with pytest.raises(ValueError, match="cannot choose 3 of 0"):
        spread(0, 3)


def test_values_lie_on_lines_between_those_that_are_known():
    line = interpolated([0, 2, 5], [0.0, 10.0, 40.0], 7)
    np.testing.assert_allclose(line, [0, 5, 10, 20, 30, 40, np.nan])
    np.testing.assert_allclose(interpolated([0, 2, 4], [0.0, np.nan, 8.0], 5), [0, np.nan, np.nan, np.nan, 8])
    np.testing.assert_allclose(paid(line, "difference"), [5, 5, 10, 10, 10, np.nan])
    np.testing.assert_allclose(paid(line, "level"), line[1:])


@pytest.mark.parametrize("text", ["no", "[1,2]", "[1,2,101]", "[1,2,-1]", "[1,2,3.5]", "[1,2,true]", '{"a": 1}'])
def test_percentages_are_taken_as_they_should_be_or_not_at_all(text):
    with pytest.raises(ValueError, match="the answer"):
        parse_percentages(text, 3)
    assert parse_percentages("[0, 50, 100]", 3) == (0.0, 50.0, 100.0)


# ------------------------------------------------------------------------------------------------- questions


def request(mode):
    return ProgressRequest((b"a", b"b", b"c"), "pick up the ball", mode, "in time order")


def ask(function, asked):
    settings = RaterSettings(max_attempts=2)
    server = RatingServer(settings, FunctionBackend(function), first_pause_s=0.001)
    (outcome,) = asyncio.run(server.rate([asked]))
    assert outcome.key == request_key(asked, FAKE, settings.sampling)
    return outcome


def test_percentages_of_all_pictures_but_the_first():
    asked = []

    def function(prompt, images, choices):
        asked.append((prompt, images, choices))
        return Reply("[20,70]", None, 30, 5)

    scores = ask(function, request("gvl"))
    assert scores.scores == (20.0, 70.0) and (scores.prompt_tokens, scores.completion_tokens) == (30, 5)
    ((prompt, images, choices),) = asked
    assert images == (b"a", b"b", b"c") and choices == () and "pick up the ball" in prompt.text
    schema = json.loads(prompt.schema)
    assert schema["minItems"] == schema["maxItems"] == 2 and schema["items"]["maximum"] == 100
    failure = ask(lambda *_: "[20]", request("gvl"))
    assert isinstance(failure, RatingFailure) and failure.cause == "unparsable"


def test_the_probability_of_true():
    scores = ask(lambda prompt, images, choices: Reply(choices[1], (0.3, 0.7)), request("topreward"))
    assert scores.scores == (0.3,) and scores.probabilities == ((0.3, 0.7),)
    assert TRUTHS == ("True", "False")
    failure = ask(lambda *_: Reply("True", None), request("topreward"))
    assert isinstance(failure, RatingFailure) and "probabilities" in failure.detail


def test_a_verdict_at_once_and_in_two_turns():
    assert ask(lambda *_: "A", request("verdict")).scores == (1.0,)
    assert ask(lambda *_: "B", request("verdict")).scores == (0.0,)
    assert ask(lambda *_: "yes", request("verdict")).cause == "unparsable"
    said = ["It grasps.", ServerError("busy"), Reply("A", (0.9, 0.1))]
    prompts = []

    def function(prompt, images, choices):
        prompts.append((prompt, choices))
        answer = said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    scores = ask(function, request("verdict_two_turn"))
    assert (scores.scores, scores.probabilities, scores.analysis) == ((1.0,), ((0.9, 0.1),), "It grasps.")
    # What was analysed is not analysed again after an error.
    assert [choices for _, choices in prompts] == [(), VERDICTS, VERDICTS]
    assert prompts[2][0].earlier == ((prompts[0][0].text, "It grasps."),)


def test_each_mode_and_order_is_a_question_of_its_own():
    asked = [request(mode) for mode in ("gvl", "topreward", "verdict", "verdict_two_turn")]
    asked.append(ProgressRequest((b"b", b"a", b"c"), "pick up the ball", "gvl", "in time order"))
    asked.append(ProgressRequest((b"a", b"b", b"c"), "pick up the ball", "gvl", "in random order"))
    assert len({request_key(one, FAKE, Sampling()) for one in asked}) == len(asked)


# ------------------------------------------------------------------------------------------------- labellers


def test_gvl_shows_the_first_frame_first_and_puts_the_others_back():
    episode = toy_episode(1, 10)
    labeller = Gvl(GvlLabeller(num_frames=6))
    (question,) = labeller.questions(episode)
    shown = [episode.frames.index(png) for png in question.images]
    assert shown[0] == 0 and sorted(shown) == spread(11, 6) == [0, 2, 4, 6, 8, 10] and shown[1:] != sorted(shown[1:])
    assert labeller.questions(episode) == [question] and "random" in question.frame_note
    # The answer says ten times the frame's number, so the values are a straight line.
    labels = labeller.label(episode, [answered(*(10.0 * index for index in shown[1:]))])
    np.testing.assert_allclose(labels.scores, 10.0 * np.arange(1, 11))
    np.testing.assert_allclose(labels.dense, 10.0)
    assert labeller.asked_frames(10) == [2, 4, 6, 8, 10]
    in_order = Gvl(GvlLabeller(num_frames=6, shuffled=False)).questions(episode)[0]
    assert [episode.frames.index(png) for png in in_order.images] == [0, 2, 4, 6, 8, 10]
    assert Gvl(GvlLabeller(num_frames=6, seed=1)).questions(episode)[0].images != question.images
    failed = labeller.label(episode, [None])
    assert np.isnan(failed.scores).all() and np.isnan(failed.dense).all()


def broken_at(episode, *places):
    frames = tuple(BROKEN_FRAME if index in places else png for index, png in enumerate(episode.frames))
    return type(episode)(**{**vars(episode), "frames": frames})


def test_a_broken_frame_is_not_shown_and_has_no_value():
    episode = broken_at(toy_episode(1, 4), 2)
    labeller = Gvl(GvlLabeller(num_frames=8, shuffled=False))
    (question,) = labeller.questions(episode)
    assert len(question.images) == 4 and BROKEN_FRAME not in question.images
    labels = labeller.label(episode, [answered(10, 60, 100)])
    np.testing.assert_allclose(labels.scores, [10, np.nan, 60, 100])
    np.testing.assert_allclose(labels.dense, [10, np.nan, np.nan, 40])
    assert labeller.questions(broken_at(episode, 0, 1, 2, 3)) == []


def test_topreward_asks_about_growing_beginnings():
    episode = toy_episode(2, 5)
    labeller = TopReward(TopRewardLabeller(stride=2, num_frames=3))
    shown = [[episode.frames.index(png) for png in one.images] for one in labeller.questions(episode)]
    assert shown == [[0], [0, 1, 2], [0, 2, 4], [0, 3, 5]] and labeller.asked_frames(5) == [2, 4, 5]
    labels = labeller.label(episode, [answered(0.1), answered(0.3), answered(0.2), answered(0.9)])
    np.testing.assert_allclose(labels.scores, [0.2, 0.3, 0.25, 0.2, 0.9])
    np.testing.assert_allclose(labels.dense, [0.1, 0.1, -0.05, -0.05, 0.7])
    # Beside a question that failed nothing is known.
    labels = labeller.label(episode, [answered(0.1), answered(0.3), None, answered(0.9)])
    np.testing.assert_allclose(labels.scores, [0.2, 0.3, np.nan, np.nan, 0.9])
    np.testing.assert_allclose(labels.dense, [0.1, 0.1, np.nan, np.nan, np.nan])
    level = TopReward(TopRewardLabeller(stride=5, reward="level")).label(episode, [answered(0.0), answered(1.0)])
    np.testing.assert_allclose(level.dense, [0.2, 0.4, 0.6, 0.8, 1.0])
    assert len(labeller.questions(broken_at(episode, 4))) == 3


def test_random_rewards_have_the_other_s_mean_and_gaps():
    episode = toy_episode(3, 2000)
    theirs = np.full(2000, 0.25, dtype=np.float32)
    theirs[7] = np.nan
    episode.rewards["rg_vlm"] = theirs
    first = RandomRewards(RandomLabeller(mean_of="rg_vlm"), 0.25).label(episode, [])
    assert np.isnan(first.dense[7]) and np.isfinite(np.delete(first.dense, 7)).all()
    assert np.nanmean(first.dense) == pytest.approx(0.25, abs=0.02)
    assert np.nanmin(first.dense) >= 0 and 0.49 < np.nanmax(first.dense) <= 0.5
    again = RandomRewards(RandomLabeller(mean_of="rg_vlm"), 0.25).label(episode, [])
    other = RandomRewards(RandomLabeller(mean_of="rg_vlm", seed=1), 0.25).label(episode, [])
    np.testing.assert_array_equal(first.dense, again.dense)
    assert not np.array_equal(first.dense, other.dense, equal_nan=True)
