"""Batches over ratings, some of them rare."""

import numpy as np
import pytest

from algorithms.stratified import rating_batches

MODES = ["off", "balanced", "proportional"]


def ratings_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


def level_table(batches, ratings, num_ratings):
    return np.array([np.bincount(ratings[batch], minlength=num_ratings) for batch in batches])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("counts", [(90, 9, 1), (0, 40, 3), (5, 0, 7, 0, 30), (1,), (0, 17)])
def test_an_epoch_covers_all_items_in_batches_within_the_limit(mode, counts):
    ratings = ratings_of(*counts)
    batches = rating_batches(ratings, 16, mode, np.random.default_rng(0))
    assert set(np.concatenate(batches).tolist()) == set(range(len(ratings)))
    assert max(len(batch) for batch in batches) <= 16


@pytest.mark.parametrize("mode", ["off", "proportional"])
def test_partitions_hold_every_item_once_in_batches_of_nearly_one_size(mode):
    batches = rating_batches(ratings_of(70, 25, 6), 32, mode, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(101))
    # ceil(101 / 32) = 4 batches.
    assert sorted(len(batch) for batch in batches) == [25, 25, 25, 26]


def test_proportional_gives_every_batch_its_share_of_each_level():
    ratings = ratings_of(70, 25, 6)
    table = level_table(rating_batches(ratings, 32, "proportional", np.random.default_rng(0)), ratings, 3)
    # 70 / 4 = 17.5, 25 / 4 = 6.25, 6 / 4 = 1.5.
    assert set(table[:, 0]) == {17, 18}
    assert set(table[:, 1]) == {6, 7}
    assert set(table[:, 2]) == {1, 2}


def test_proportional_never_runs_out_of_the_most_frequent_level():
    # The published partition leaves its last batch without the majority for this histogram in many sessions.
    for num_labels in range(550, 1500, 50):
        ratings = ratings_of(num_labels // 2, num_labels * 3 // 10, num_labels // 5)
        table = level_table(rating_batches(ratings, 512, "proportional", np.random.default_rng(0)), ratings, 3)
        assert table.min() > 0
        assert np.ptp(table, axis=0).max() <= 1


def test_balanced_gives_each_present_level_equally_many_places():
    ratings = ratings_of(50, 0, 12, 3)
    table = level_table(rating_batches(ratings, 32, "balanced", np.random.default_rng(0)), ratings, 4)
    # Three levels share 32 places: 10 each at most, so 5 batches of 10 places hold the 50 items of level 0.
    assert table.tolist() == [[10, 0, 10, 10]] * 5


def test_balanced_repeats_rare_items_evenly():
    ratings = ratings_of(50, 12, 3)
    items = np.concatenate(rating_batches(ratings, 32, "balanced", np.random.default_rng(0)))
    uses = np.bincount(items, minlength=65)
    assert set(uses[:50]) == {1}
    assert set(uses[50:62]) == {4, 5}
    assert set(uses[62:]) == {16, 17}


def test_balanced_batches_are_no_larger_than_the_largest_level_needs():
    ratings = ratings_of(20, 5)
    table = level_table(rating_batches(ratings, 512, "balanced", np.random.default_rng(0)), ratings, 2)
    assert table.tolist() == [[20, 20]]


def test_balanced_refuses_a_batch_without_a_place_for_each_level():
    with pytest.raises(ValueError, match="batch_size 2: balanced batches need a place for each of 3 levels"):
        rating_batches(ratings_of(4, 4, 4), 2, "balanced", np.random.default_rng(0))


@pytest.mark.parametrize("mode", MODES)
def test_batches_are_a_function_of_the_generator(mode):
    ratings = ratings_of(40, 20, 5)
    first, again, other = (rating_batches(ratings, 16, mode, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in other]
