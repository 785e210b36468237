"""Tokens that questions need, counted without weights; that an engine reads as many is seen in test_windows_vllm.py."""

import io

import pytest
from PIL import Image

from actors.rating.settings import RaterSettings
from actors.rating.tokens import TokenCounter
from algorithms.progress import ProgressRequest
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale
from algorithms.scores import ScoreRequest

WORDS = TaskText("close the drawer", "the drawer")
OPEN = {"endpoint": "http://there/v1", "min_pixels": 3136, "max_pixels": 10**6}


def png(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, format="PNG")
    return file.getvalue()


def requests():
    picture = png(56, 56)
    rating = RatingRequest((picture,), WORDS, RatingScale.likert(3), "two_turn")
    for mode in ("two_turn", "answer_only"):
        yield RatingRequest((picture,), WORDS, rating.scale, mode)
    for mode in ("two_turn", "single_turn", "logits"):
        yield ScoreRequest((picture,), "close the door", ("left", "forward"), mode, "3 numbered frames")
    for mode in ("gvl", "topreward", "verdict", "verdict_two_turn"):
        yield ProgressRequest((picture,) * 64, "close the door", mode, "in time order")


@pytest.mark.parametrize(("size", "tokens"), [((56, 56), 4), ((168, 168), 36), ((280, 28), 10), ((4000, 4000), 1225)])
def test_a_picture_has_a_token_for_each_28_pixels_squared_within_its_limits(size, tokens):
    assert TokenCounter(RaterSettings(**OPEN)).picture(png(*size)) == tokens


def test_a_rater_that_resizes_all_pictures_needs_the_same_for_each():
    counter = TokenCounter(RaterSettings(model="pocket"), exact=False)
    assert {counter.picture(png(*size)) for size in ((56, 56), (300, 200), (112, 112))} == {16}


@pytest.mark.parametrize("request_", [*requests()], ids=lambda one: f"{type(one).__name__}-{one.mode}")
def test_the_bound_is_never_below_the_count(request_):
    rater = RaterSettings(model="pocket")
    exact, bound = TokenCounter(rater), TokenCounter(rater, exact=False)
    assert exact.is_exact and not bound.is_exact
    counted, most = exact.needed(request_), bound.needed(request_)
    assert 16 < counted.read <= most.read and counted.written <= most.written
    assert counted.context <= min(most.context, counted.read + counted.written)


def test_two_turns_read_picture_and_analysis_again():
    counter = TokenCounter(RaterSettings(model="pocket", max_analysis_tokens=100))
    single, double = (
        counter.needed(ScoreRequest((png(56, 56),), "close the door", ("left",), mode, "2 numbered frames"))
        for mode in ("single_turn", "two_turn")
    )
    assert double.written == single.written + 100 and double.read > 2 * single.read
    assert double.context > single.context + 100


def test_of_what_an_endpoint_serves_only_a_bound_is_known():
    counter = TokenCounter(RaterSettings(**OPEN))
    assert not counter.is_exact and counter.text("Grüße") == 7
