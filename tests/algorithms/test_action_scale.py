"""The affine map between a recording's units and a policy's [-1, 1], by numbers worked by hand."""

import numpy as np
import pytest

from algorithms.action_scale import ActionScale

ARM = ActionScale(low=(-90.0, 0.0, 12.34), high=(90.0, 0.04, 12.34))
"""Degrees, metres, and an entry that never changes."""


def test_low_middle_and_high_and_what_lies_beyond():
    scaled = ARM.scale([[-90, 0, 12.34], [0, 0.02, 12.34], [45, 0.03, 12.34], [90, 0.04, 12.34], [1000, -1, 7]])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[-0.9, -0.9], [0, 0], [0.45, 0.45], [0.9, 0.9], [0.9, -0.9]], atol=1e-7, rtol=0)


def test_a_policys_actions_come_out_in_the_recordings_units():
    actions = ARM.unscale([[-0.9, -1.0], [0.45, 0.45], [1.0, 0.9]])
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions[:, :2], [[-90, 0], [45, 0.03], [90, 0.04]], rtol=1e-6)
    # A policy has no part in the constant, which comes out as it was to the last bit.
    assert ARM.size == 2 and ARM.varies.tolist() == [True, True, False]
    assert (actions[:, 2] == np.float32(12.34)).all()


def test_there_and_back_for_one_action_a_batch_and_a_history():
    rng = np.random.default_rng(0)
    actions = rng.uniform([-90, 0, 12.34], [90, 0.04, 12.34], (4, 5, 3)).astype(np.float32)
    for part in (actions, actions[0], actions[0, 0]):
        np.testing.assert_allclose(ARM.unscale(ARM.scale(part)), part, rtol=1e-5, atol=1e-5)


def test_actions_that_are_a_policys_own_already_are_not_rounded():
    own = ActionScale.identity(2)
    actions = np.float32([[0.1, -0.7], [1.0, np.nextafter(np.float32(-1), np.float32(0))]])
    assert own.is_identity and np.array_equal(own.scale(actions), actions)
    assert np.array_equal(own.scale([[1.000001, -1.1]]), np.float32([[1, -1]]))
    assert not ARM.is_identity


def test_what_is_beyond_the_bounds_is_told_but_not_rounding():
    assert ARM.beyond(np.float32([[90.0001, 0.04, 12.34], [91, -0.01, 12.35]])).tolist() == [
        [False] * 3,
        [True] * 3,
    ]


def test_what_is_not_finite_is_not_made_up():
    assert np.isfinite(ARM.scale([[np.nan, 0.0, 12.34], [0, np.inf, 0]])).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("low", "high"), [((), ()), ((0.0,), (1.0, 2.0)), ((1.0,), (0.0,)), ((float("nan"),), (1.0,)), ((0.0,), (np.inf,))]
)
def test_bounds_that_are_none_are_refused(low, high):
    with pytest.raises(ValueError, match=r"must be"):
        ActionScale(low, high)
