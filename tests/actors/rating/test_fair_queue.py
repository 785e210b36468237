"""Fair sharing of a queue, by hand; no Ray."""

import pytest

from actors.rating.fair_queue import FairQueue


def popped(queue, number):
    return [queue.pop() for _ in range(number)]


def test_twenty_beside_two_thousand_are_out_within_forty():
    queue = FairQueue()
    for number in range(2_000):
        queue.push("large", ("large", number))
    for number in range(20):
        queue.push("small", ("small", number))
    first = popped(queue, 40)
    assert [number for owner, number in first if owner == "small"] == list(range(20))
    assert [number for owner, number in first if owner == "large"] == list(range(20))


def test_shares_follow_weights():
    queue = FairQueue()
    queue.set_weight("heavy", 3.0)
    for _ in range(300):
        queue.push("heavy", "heavy")
        queue.push("light", "light")
    assert popped(queue, 200).count("heavy") == pytest.approx(150, abs=1)


def test_who_comes_late_neither_waits_nor_catches_up():
    queue = FairQueue()
    for _ in range(1_000):
        queue.push("early", "early")
    popped(queue, 500)
    for _ in range(1_000):
        queue.push("late", "late")
    assert popped(queue, 100).count("late") == pytest.approx(50, abs=1)


def test_who_was_away_has_saved_up_no_turns():
    queue = FairQueue()
    for _ in range(10):
        queue.push("a", "a")
        queue.push("b", "b")
    popped(queue, 20)
    for _ in range(100):
        queue.push("b", "b")
    popped(queue, 100)
    for _ in range(100):
        queue.push("a", "a")
        queue.push("b", "b")
    assert popped(queue, 50).count("a") == pytest.approx(25, abs=1)


def test_what_is_no_longer_wanted_costs_its_owner_nothing():
    dropped = set(range(90))
    queue = FairQueue(lambda item: item[1] not in dropped)
    for number in range(100):
        queue.push("a", ("a", number))
        queue.push("b", ("b", number + 100))
    first = popped(queue, 20)
    assert [number for owner, number in first if owner == "a"] == list(range(90, 100))


def test_an_item_put_first_comes_first_and_an_empty_queue_gives_none():
    queue = FairQueue()
    queue.push("a", 1)
    queue.push("a", 2)
    queue.push("a", 0, first=True)
    assert (len(queue), queue.num_waiting("a"), queue.num_waiting("b")) == (3, 3, 0)
    assert popped(queue, 4) == [0, 1, 2, None]
    queue.push("a", 3)
    queue.clear()
    assert queue.pop() is None and len(queue) == 0


def test_a_weight_must_be_positive():
    with pytest.raises(ValueError, match="must be above 0"):
        FairQueue().set_weight("a", 0.0)
