"""Mistakes put into answers: how many, which, how sure, and always the same ones."""

import hashlib

import numpy as np
import pytest
from pydantic import ValidationError

from algorithms.mistakes import mistaken
from algorithms.ratings import Rating
from algorithms.scales import CANNOT_TELL
from algorithms.settings import MistakeSettings

MANY = 4_000


def rating(number: int, level: int = 2, probabilities=(0.05, 0.05, 0.8, 0.1)) -> Rating:
    key = hashlib.sha256(str(number).encode()).hexdigest()
    return Rating(key, level, probabilities, "", 0, 0, 0.0)


def made(share: float, confidence: str = "sure", num_levels: int = 4, seed: int = 0, **changes) -> list[Rating]:
    settings = MistakeSettings(share=share, confidence=confidence)
    return [mistaken(rating(number, **changes), settings, num_levels, seed) for number in range(MANY)]


def near(share: float) -> float:
    """A share of MANY within four standard errors."""
    return pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / MANY))


@pytest.mark.parametrize("confidence", ["sure", "doubtful"])
def test_the_share_is_mistaken_and_each_other_level_as_often(confidence):
    levels = np.array([one.rating for one in made(0.3, confidence)])
    assert [np.mean(levels == level) for level in range(4)] == [near(0.1), near(0.1), near(0.7), near(0.1)]


@pytest.mark.parametrize("confidence", ["sure", "doubtful"])
def test_without_a_share_nothing_changes(confidence):
    assert made(0.0, confidence) == [rating(number) for number in range(MANY)]


def test_who_is_sure_exchanges_the_probabilities():
    assert {(one.rating, one.probabilities) for one in made(0.3)} == {
        (2, (0.05, 0.05, 0.8, 0.1)),
        (0, (0.8, 0.05, 0.05, 0.1)),
        (1, (0.05, 0.8, 0.05, 0.1)),
        (3, (0.05, 0.05, 0.1, 0.8)),
    }


def test_who_doubts_guesses_twice_as_often_as_wrongly():
    answers = made(0.2, "doubtful")
    doubtful = [one for one in answers if one.probabilities != (0.05, 0.05, 0.8, 0.1)]
    assert len(doubtful) / MANY == near(0.4)
    assert np.mean([one.rating != 2 for one in doubtful]) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / (0.4 * MANY)))
    for one in doubtful:
        # Two levels share what they had together, and the answer has at least half of it.
        changed = [level for level in range(4) if one.probabilities[level] != (0.05, 0.05, 0.8, 0.1)[level]]
        assert sorted({2, one.rating} | set(changed)) == sorted(changed) and len(changed) == 2
        other = next(level for level in changed if level != one.rating)
        assert one.probabilities[one.rating] >= one.probabilities[other] >= 0.0
        assert sum(one.probabilities) == pytest.approx(1.0)


def test_answers_without_probabilities():
    assert {one.probabilities for one in made(0.3, probabilities=())} == {()}
    doubtful = made(0.3, "doubtful", probabilities=())
    told = [one.probabilities for one in doubtful if one.probabilities]
    assert len(told) / MANY == near(0.6)
    assert all(sum(row) == pytest.approx(1.0) and sorted(row)[:2] == [0.0, 0.0] for row in told)


def test_the_same_question_is_mistaken_the_same_way_in_any_order_and_another_way_by_another_seed():
    assert made(0.3) == made(0.3)
    assert made(0.3, seed=1) != made(0.3)


def test_preferences_name_the_other_frame_and_undecided_ones_stay():
    told = [one.rating for one in made(0.4, num_levels=CANNOT_TELL, level=1, probabilities=(0.1, 0.7, 0.2))]
    assert set(told) == {0, 1} and np.mean(np.array(told) == 0) == near(0.4)
    undecided = made(0.4, num_levels=CANNOT_TELL, level=CANNOT_TELL, probabilities=(0.1, 0.2, 0.7))
    assert {(one.rating, one.probabilities) for one in undecided} == {(CANNOT_TELL, (0.1, 0.2, 0.7))}


def test_more_than_half_is_no_share_of_mistakes():
    with pytest.raises(ValidationError, match="share"):
        MistakeSettings(share=0.6)
