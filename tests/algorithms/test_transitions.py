"""Recorded transitions as columns, their order in an epoch, and instructions as word ids."""

import numpy as np
import pytest

from algorithms.instructions import PADDING, UNKNOWN, Vocabulary, split
from algorithms.transitions import EpochSampler, join_episodes

INSTRUCTIONS = np.array([[2, 3], [4, 0]], np.int32)


def two_episodes():
    """Three actions through states 10 to 13, then two through 20 to 22; the second action has no label."""
    return join_episodes(
        [
            {
                "observations": np.array([[10], [11], [12], [13]]),
                "actions": np.array([1, 2, 3]),
                "rewards": np.array([0.1, np.nan, 1.0]),
                "terminated": True,
                "instruction": 1,
            },
            {
                "observations": np.array([[20], [21], [22]]),
                "actions": np.array([4, 5]),
                "rewards": np.array([0.0, 0.5]),
                "terminated": False,
                "instruction": 0,
            },
        ],
        INSTRUCTIONS,
    )


def test_a_batch_holds_the_states_around_each_action():
    data = two_episodes()
    batch = data.batch(np.arange(5))
    assert batch["observation"][:, 0, 0].tolist() == [10, 11, 12, 20, 21]
    assert batch["next_observation"][:, 0, 0].tolist() == [11, 12, 13, 21, 22]
    assert batch["action"].tolist() == [1, 2, 3, 4, 5]
    assert batch["terminated"].tolist() == [0, 0, 1, 0, 0]
    assert batch["instruction"].tolist() == [[4, 0]] * 3 + [[2, 3]] * 2


def test_an_action_without_a_label_is_marked_and_not_zero():
    data = two_episodes()
    batch = data.batch(np.arange(5))
    assert batch["reward_known"].tolist() == [1, 0, 1, 1, 1]
    assert np.isfinite(batch["reward"]).all() and data.num_unlabelled == 1
    assert data.with_rewards(np.zeros(5)).batch(np.array([1]))["reward_known"].tolist() == [1]


def test_history_stays_within_the_episode():
    batch = two_episodes().batch(np.array([0, 2, 3]), history=3)
    assert batch["observation"][..., 0].tolist() == [[10, 10, 10], [10, 11, 12], [20, 20, 20]]
    assert batch["next_observation"][..., 0].tolist() == [[10, 10, 11], [11, 12, 13], [20, 20, 21]]


def test_columns_must_fit():
    data = two_episodes()
    with pytest.raises(ValueError, match="columns differ in length"):
        data.with_rewards(np.zeros(4))


def test_an_epoch_holds_each_row_once_and_the_next_another_order():
    sampler = EpochSampler(10, seed=3)
    first, second = sampler.take(10), sampler.take(10)
    assert sorted(first) == sorted(second) == list(range(10)) and first.tolist() != second.tolist()
    assert EpochSampler(10, seed=3).take(20).tolist() == [*first, *second]
    assert EpochSampler(10, seed=4).take(10).tolist() != first.tolist()


def test_a_sampler_goes_on_from_its_state():
    sampler = EpochSampler(10, seed=3)
    sampler.take(17)
    state = sampler.state()
    expected = sampler.take(15)
    again = EpochSampler(10, seed=99)
    again.set_state(state)
    assert again.take(15).tolist() == expected.tolist()
    with pytest.raises(ValueError, match="learned from 10 transitions and there are 11"):
        EpochSampler(11, seed=3).set_state(state)


def test_words_become_ids():
    vocabulary = Vocabulary.of(["Go to the red ball", "pick up the ball, then go"])
    assert split("pick up the ball, then go") == ["pick", "up", "the", "ball", ",", "then", "go"]
    encoded = vocabulary.encode(["go to the GREEN ball", "go"])
    assert vocabulary.num_ids == len(vocabulary.words) + 2
    assert encoded[0, 3] == UNKNOWN and encoded[1, 1:].tolist() == [PADDING] * 4
    assert encoded[0, 0] == encoded[1, 0] >= 2
    assert vocabulary.encode(["go"], length=7).shape == (1, 7)


@pytest.mark.parametrize(("text", "message"), [("", "has 0 words"), ("go to the red ball", "has 5 words; 1 to 3")])
def test_an_instruction_that_cannot_be_read_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.of(["go to the red ball"]).encode([text], length=3)


@pytest.mark.parametrize("value", [1.01, -80.0, np.nan, np.inf])
def test_continuous_actions_beyond_what_a_policy_can_do_are_refused(value):
    episode = {"observations": np.zeros((3, 1)), "rewards": np.zeros(2), "terminated": True, "instruction": 0}
    within = np.array([[0.5, -1.0], [1.0 + 1e-6, 0.0]], np.float32)
    assert len(join_episodes([episode | {"actions": within}], INSTRUCTIONS)) == 2
    beyond = np.array([[0.5, -1.0], [value, 0.0]], np.float32)
    with pytest.raises(ValueError, match="must lie in"):
        join_episodes([episode | {"actions": beyond}], INSTRUCTIONS)
