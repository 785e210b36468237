"""Windows, the joined picture, prompts, and scores into rewards: numbers worked by hand."""

import json

import numpy as np
import pytest

from algorithms.images import decode_png, encode_png
from algorithms.label_settings import RewardSettings, WindowSettings
from algorithms.ratings import RaterIdentity, Sampling
from algorithms.scores import ScoreRequest, score_key
from algorithms.scoring_prompts import (
    SCORE_LETTERS,
    SCORING_PROMPT_VERSION,
    one_score_prompt,
    parse_scores,
    scores_prompt,
    scores_text,
    single_turn_prompt,
    window_analysis_prompt,
)
from algorithms.windows import grid_of, join_window, rewards_of, score_request, windows_of

W = WindowSettings()
NAN = float("nan")


def window(length, **settings):
    return windows_of(length, WindowSettings(**settings))


def test_full_windows_do_not_overlap_and_share_the_frame_between_them():
    first, second = window(16)
    assert first.actions == tuple(range(8)) and first.frames == tuple(range(9))
    assert second.actions == tuple(range(8, 16)) and second.frames == tuple(range(8, 17))


def test_a_short_window_asks_about_what_is_left():
    *_, last = window(11)
    assert last.actions == (8, 9, 10) and last.frames == (8, 9, 10, 11)
    assert window(1)[0].frames == (0, 1) and len(window(1)) == 1


def test_a_shifted_window_overlaps_and_keeps_the_new_scores():
    first, last = window(11, short_window="shifted")
    assert last.actions == tuple(range(3, 11)) and last.frames == tuple(range(3, 12))
    assert last.kept == [(5, 8), (6, 9), (7, 10)] and first.kept == [(i, i) for i in range(8)]
    (only,) = window(3, short_window="shifted")
    assert only.actions == (0, 1, 2) and only.kept == [(0, 0), (1, 1), (2, 2)]


def test_a_padded_window_repeats_the_last_frame_and_drops_what_is_not_there():
    *_, last = window(11, short_window="padded")
    assert last.actions == (8, 9, 10, None, None, None, None, None)
    assert last.frames == (8, 9, 10, 11, 11, 11, 11, 11, 11)
    assert last.kept == [(0, 8), (1, 9), (2, 10)]


def test_without_the_last_frame_there_is_one_for_each_action():
    first, last = window(9, last_frame=False)
    assert first.frames == tuple(range(8)) and last.frames == (8,)


@pytest.mark.parametrize("how", ["short", "shifted", "padded"])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 40])
def test_every_action_counts_exactly_once(how, length):
    kept = [t for one in window(length, short_window=how) for _, t in one.kept]
    assert kept == list(range(length))


def frames(number, px=12):
    return [np.full((px, px, 3), 10 * (index + 1), dtype=np.uint8) for index in range(number)]


def test_frames_stand_row_by_row_each_with_its_number():
    picture = join_window(frames(9), W)
    assert picture.shape == (36, 36, 3)
    for index in range(9):
        tile = picture[index // 3 * 12 :, index % 3 * 12 :][:12, :12]
        assert (tile[8:, 8:] == 10 * (index + 1)).all()
        assert set(np.unique(tile[:7, :5])) == {0, 255}
    numbers = [picture[i // 3 * 12 :, i % 3 * 12 :][:7, :5].tobytes() for i in range(9)]
    assert len(set(numbers)) == 9


def test_a_short_windows_picture_has_the_full_size_and_is_black_where_nothing_is():
    picture = join_window(frames(4), W)
    assert picture.shape == (36, 36, 3) and not picture[24:].any() and not picture[12:24, 12:].any()


def test_one_row_and_two_digits():
    settings = WindowSettings(num_actions=11, layout="row")
    assert grid_of(settings) == (12, 1)
    picture = join_window(frames(12), settings)
    assert picture.shape == (12, 144, 3) and set(np.unique(picture[:7, 132:141])) == {0, 255}


def test_frames_are_scaled_to_the_height_asked_for():
    wide = [np.zeros((20, 40, 3), dtype=np.uint8)] * 9
    assert join_window(wide, WindowSettings(frame_px=10)).shape == (30, 60, 3)
    assert join_window(wide, WindowSettings(frame_px=40)).shape == (120, 240, 3)


def request(mode="two_turn", length=3):
    pngs = [encode_png(frame) for frame in frames(length + 1)]
    names = ("turn left", "move forward", "pick up", "drop")[:length]
    return score_request(windows_of(length, W)[0], pngs, names, "pick up the red ball", mode, W)


def test_a_request_shows_the_picture_the_goal_and_the_actions():
    asked = request()
    assert asked.actions == ("turn left", "move forward", "pick up")
    assert asked.frame_note == "4 numbered frames in rows of 3, in time order"
    assert np.array_equal(decode_png(asked.images[0]), join_window(frames(4), W))


def test_turn_two_goes_on_with_the_conversation():
    asked = request()
    first, second = window_analysis_prompt(asked), scores_prompt(asked, "Action 3 grasps the ball.")
    assert (
        "Goal: pick up the red ball. Actions from frame to frame: 1 turn left; 2 move forward; 3 pick up." in first.text
    )
    assert second.earlier == ((first.text, "Action 3 grasps the ball."),) and second.with_images
    assert "each of the 3 actions" in second.text and "Goal" not in second.text
    schema = json.loads(second.schema)
    assert (schema["minItems"], schema["maxItems"], schema["items"]["maximum"]) == (3, 3, 10)
    assert not first.schema and not first.earlier


def test_single_turn_and_logits_ask_at_once():
    asked = request()
    assert single_turn_prompt(asked).earlier == () and single_turn_prompt(asked).schema
    one = one_score_prompt(asked, 1)
    assert "action 2, move forward" in one.text and "A = 0, B = 1" in one.text and "K = 10" in one.text
    assert len(SCORE_LETTERS) == 11 and not one.schema


def test_scores_are_parsed_strictly():
    assert parse_scores("[0, 10,3]", 3) == (0.0, 10.0, 3.0)
    assert parse_scores(scores_text([1, 2]), 2) == (1.0, 2.0)
    for text in ("[1,2]", "[1,2,11]", "[1,2,-1]", "[1,2,3.5]", "[1,2,true]", '{"a":1}', "well done", "[1,2,3", ""):
        with pytest.raises(ValueError, match="the answer"):
            parse_scores(text, 3)


def test_the_key_knows_all_that_can_change_an_answer():
    def key(asked, model="m", **sampling):
        return score_key(asked, RaterIdentity(model, "r"), Sampling(**sampling), SCORING_PROMPT_VERSION)

    one = request()
    others = [
        ScoreRequest(**{**vars(one), **change})
        for change in (
            {"images": (b"other",)},
            {"instruction": "drop it"},
            {"actions": ("turn left", "move forward", "drop")},
            {"mode": "single_turn"},
            {"frame_note": "else"},
        )
    ]
    keys = {key(one), *map(key, others), key(one, "n"), key(one, temperature=0.5)}
    assert len(keys) == 8 and key(one) == key(request())


SCORES = np.array([0, 5, NAN, 10], dtype=np.float32)
SPARSE = np.array([0, 0, 0, 1], dtype=np.float32)


def rewards(scores=SCORES, **settings):
    return rewards_of(scores, SPARSE, RewardSettings(**settings)).tolist()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 0.5, NAN, 1]),
        ({"normalisation": "raw"}, [0, 5, NAN, 10]),
        ({"normalisation": "budget"}, [0, 1 / 3, NAN, 2 / 3]),
        ({"dense_weight": 0.2}, [0, 0.1, NAN, 0.2]),
        ({"sparse": "sum"}, [0, 0.5, NAN, 2]),
        ({"sparse": "sum", "dense_weight": 0.2}, [0, 0.1, NAN, 1.2]),
        ({"sparse": "replace", "dense_weight": 0.2}, [0, 0.1, NAN, 1]),
        ({"sparse": "max", "dense_weight": 0.2}, [0, 0.1, NAN, 1]),
        ({"sparse": "max", "normalisation": "raw"}, [0, 5, NAN, 10]),
        ({"sparse": "clip"}, [0, 0.5, NAN, 1]),
        ({"sparse": "clip", "normalisation": "raw"}, [0, 1, NAN, 1]),
    ],
)
def test_scores_become_rewards(settings, expected):
    np.testing.assert_allclose(rewards(**settings), expected, rtol=1e-6)


def test_min_max_is_over_the_trajectory_and_equal_scores_are_zero():
    scores = np.array([2, 4, NAN, 6], dtype=np.float32)
    np.testing.assert_allclose(rewards(scores, normalisation="min_max"), [0, 0.5, NAN, 1])
    equal = np.array([3, 3, NAN, 3], dtype=np.float32)
    np.testing.assert_allclose(rewards(equal, normalisation="min_max"), [0, 0, NAN, 0])


@pytest.mark.parametrize("normalisation", ["unit", "raw", "min_max", "budget"])
@pytest.mark.parametrize("sparse", ["none", "sum", "replace", "max", "clip"])
def test_an_action_without_a_score_never_gets_a_reward(normalisation, sparse):
    nothing = np.full(4, NAN, dtype=np.float32)
    assert np.isnan(rewards(nothing, normalisation=normalisation, sparse=sparse)).all()
    zero = np.zeros(4, dtype=np.float32)
    assert np.isfinite(rewards(zero, normalisation=normalisation, sparse=sparse)).all()
