"""The exploration bonus of states that lie far from what was visited."""

import math

import numpy as np
import pytest

from algorithms.state_entropy import CHUNK_ROWS, RunningDeviation, StateEntropy, neighbour_distances

STORED = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]], dtype=np.float32)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 5.0), (3, 10.0), (7, 10.0)])
def test_distance_to_the_kth_neighbour(k, expected):
    assert neighbour_distances(np.zeros((1, 2), dtype=np.float32), STORED, k).tolist() == [expected]


def test_distances_in_chunks_equal_those_of_each_state_alone():
    rng = np.random.default_rng(0)
    states, stored = rng.normal(size=(CHUNK_ROWS + 5, 3)), rng.normal(size=(40, 3))
    whole = neighbour_distances(states, stored, 5)
    by_hand = [np.sort(np.linalg.norm(stored - states[row], axis=1))[4] for row in (0, CHUNK_ROWS, CHUNK_ROWS + 4)]
    assert whole[[0, CHUNK_ROWS, CHUNK_ROWS + 4]].tolist() == pytest.approx(by_hand, rel=1e-5)


def test_near_neighbours_far_from_the_origin_keep_their_digits():
    stored = np.array([[1000.0, 1000.0]] * 30, dtype=np.float32)
    distances = neighbour_distances(np.array([[1000.0, 1000.5]] * 30, dtype=np.float32), stored, 1)
    assert distances.tolist() == [0.5] * 30


def test_running_deviation_equals_that_of_all_numbers_at_once():
    rng = np.random.default_rng(0)
    batches = [rng.normal(5.0, 2.0, size) for size in (1, 100, 7, 1000)] + [rng.normal(-3.0, 0.1, 50)]
    running = RunningDeviation()
    for number, batch in enumerate(batches, 1):
        running.update(batch)
        assert running.deviation == pytest.approx(np.concatenate(batches[:number]).std(), rel=1e-10, abs=1e-12)


def test_rewards_by_hand():
    # Distances 0 and 5 to the nearest: log 1 and log 6, whose deviation is log(6) / 2.
    rewards = StateEntropy(k=1).reward(np.array([[0.0, 0.0], [9.0, 12.0]], dtype=np.float32), STORED)
    assert rewards.tolist() == pytest.approx([0.0, 2.0])
    assert rewards.dtype == np.float32


def test_rewards_use_all_distances_so_far():
    entropy = StateEntropy(k=1)
    entropy.reward(np.array([[0.0, 0.0], [9.0, 12.0]], dtype=np.float32), STORED)
    rewards = entropy.reward(np.array([[6.0, 9.0]], dtype=np.float32), STORED)
    assert rewards.tolist() == pytest.approx([math.log(2.0) / np.std([0.0, math.log(6.0), math.log(2.0)])])


@pytest.mark.parametrize(("num_states", "num_stored"), [(3, 0), (0, 3), (2, 1)])
def test_nothing_to_compare_gives_zeros(num_states, num_stored):
    states, stored = np.zeros((num_states, 2), dtype=np.float32), np.zeros((num_stored, 2), dtype=np.float32)
    assert StateEntropy(k=5).reward(states, stored).tolist() == [0.0] * num_states


def test_a_resumed_bonus_equals_one_that_went_on():
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(20, 4)).astype(np.float32) for _ in range(3)]
    entropy, resumed = StateEntropy(k=5), StateEntropy(k=5)
    entropy.reward(batches[1], batches[0])
    resumed.set_state(entropy.state())
    assert resumed.reward(batches[2], batches[0]).tolist() == entropy.reward(batches[2], batches[0]).tolist()


def test_written_anew_what_was_seen_often_since_is_worth_less():
    seen_often, seen_once = np.zeros((50, 2), dtype=np.float32), np.array([[3.0, 4.0]], dtype=np.float32)
    states = np.concatenate([seen_often, seen_once])
    rewards = StateEntropy(k=5).anew(states)
    assert rewards.shape == (51,) and rewards.dtype == np.float32
    assert rewards[:50].tolist() == [0.0] * 50
    # Scaled by the deviation of these, where there were none before.
    distances = np.array([0.0] * 50 + [math.log(6.0)])
    assert rewards[50] == pytest.approx(math.log(6.0) / distances.std())


def test_written_anew_the_scale_is_that_of_what_was_rewarded_before():
    entropy = StateEntropy(k=1)
    entropy.reward(np.array([[0.0, 0.0], [9.0, 12.0]], dtype=np.float32), STORED)
    states = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    assert entropy.anew(states).tolist() == pytest.approx([2.0, 2.0])
