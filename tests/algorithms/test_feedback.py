"""When ratings are asked, and how many."""

import numpy as np
import pytest

from algorithms.feedback import FeedbackSchedule, shuffled
from algorithms.settings import FeedbackSettings


def sessions(settings, total_env_steps, every):
    schedule = FeedbackSchedule(settings, total_env_steps)
    return [(step, schedule.begin(step)) for step in range(every, total_env_steps + 1, every) if schedule.due(step)]


def test_the_published_schedule_asks_9900_ratings_in_198_sessions():
    asked = sessions(FeedbackSettings(), 1_000_000, every=500)
    assert len(asked) == 198
    assert sum(num_ratings for _, num_ratings in asked) == 9_900
    assert asked[0] == (10_000, 50) and asked[-1] == (995_000, 50)


def test_the_first_session_can_be_larger():
    settings = FeedbackSettings(
        first_env_steps=100, interval_env_steps=50, first_session=7, per_session=3, budget=1_000
    )
    assert sessions(settings, 250, every=50) == [(100, 7), (150, 3), (200, 3)]


def test_the_budget_ends_the_sessions_with_a_smaller_last_one():
    settings = FeedbackSettings(first_env_steps=100, interval_env_steps=100, per_session=4, budget=10)
    assert sessions(settings, 2_000, every=100) == [(100, 4), (200, 4), (300, 2)]


def test_points_passed_without_a_session_are_asked_together():
    settings = FeedbackSettings(first_env_steps=100, interval_env_steps=100, per_session=4, budget=1_000)
    assert sessions(settings, 1_000, every=250) == [(250, 8), (500, 12), (750, 8)]


def test_nothing_is_due_before_the_first_point_or_at_the_end():
    schedule = FeedbackSchedule(FeedbackSettings(first_env_steps=100, interval_env_steps=100), 300)
    assert [schedule.due(step) for step in (99, 100, 299, 300)] == [False, True, True, False]
    with pytest.raises(ValueError, match="no feedback session is due at 99 environment steps; the next: 100"):
        schedule.begin(99)


def test_a_schedule_is_resumed():
    settings = FeedbackSettings(first_env_steps=100, interval_env_steps=100, first_session=9, per_session=4, budget=14)
    schedule = FeedbackSchedule(settings, 2_000)
    schedule.begin(100)
    resumed = FeedbackSchedule(settings, 2_000)
    resumed.set_state(schedule.state())
    assert not resumed.due(100)
    assert [resumed.begin(200), resumed.begin(300)] == [4, 1]
    assert not resumed.due(400)


def test_shuffled_ratings_keep_the_histogram_and_lose_the_order():
    ratings = np.repeat([0, 1, 2], [30, 15, 5])
    dealt = shuffled(ratings, np.random.default_rng(0))
    assert np.bincount(dealt).tolist() == [30, 15, 5]
    assert dealt.tolist() != ratings.tolist() == np.repeat([0, 1, 2], [30, 15, 5]).tolist()
    assert dealt.tolist() == shuffled(ratings, np.random.default_rng(0)).tolist()


def test_ratings_that_were_not_asked_stay_in_the_budget():
    schedule = FeedbackSchedule(
        FeedbackSettings(first_env_steps=100, interval_env_steps=100, per_session=8, budget=12), 1_000
    )
    assert schedule.begin(100) == 8
    schedule.give_back(8)
    assert [schedule.begin(200), schedule.begin(300)] == [8, 4]
    assert not schedule.due(400)
