"""What probabilities say beyond an answer: coarser scales, temperatures, and targets of the losses."""

import numpy as np
import pytest
import torch

from algorithms.preference_loss import preference_log_probabilities, preference_losses
from algorithms.rating_loss import item_losses, smoothed_targets
from algorithms.ratings import Rating
from algorithms.reward_model import RewardModel
from algorithms.settings import RewardModelSettings
from algorithms.soft_labels import distributions, fitted_temperature, learned_preferences, likeliest, merged, tempered


def test_an_answer_without_probabilities_is_certain():
    answers = [Rating("key", 2, (0.1, 0.2, 0.7), "", 1, 1, 0.0), Rating("key", 1, (), "", 1, 1, 0.0)]
    np.testing.assert_allclose(distributions(answers, 3), [[0.1, 0.2, 0.7], [0, 1, 0]])
    assert distributions([], 4).shape == (0, 4)


def test_what_falls_on_cannot_tell_is_shared_out():
    told = ((0, (0.6, 0.2, 0.2)), (1, ()), (1, (0.0, 0.0, 1.0)))
    preferred, either = learned_preferences([Rating("key", one, p, "", 1, 1, 0.0) for one, p in told], 1.0)
    assert preferred.tolist() == [0, 1, 1]
    np.testing.assert_allclose(either, [[0.75, 0.25], [0, 1], [0, 1]], atol=1e-6)
    assert [part.shape for part in learned_preferences([], 1.0)] == [(0,), (0, 2)]


def test_a_finer_scale_is_shared_out_by_equal_parts():
    five = np.eye(5)
    np.testing.assert_allclose(merged(five, 5), five, atol=1e-12)
    # The middle of five lies across the cut of two, and the second across that of three.
    np.testing.assert_allclose(merged(five, 2), [[1, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 1]], atol=1e-12)
    np.testing.assert_allclose(merged(five, 3)[1], [2 / 3, 1 / 3, 0], atol=1e-12)
    np.testing.assert_allclose(merged(np.full((2, 5), 0.2), 4), np.full((2, 4), 0.25), atol=1e-12)
    # As good as equal is equal.
    assert likeliest(np.array([[0.5 - 1e-9, 0.5 + 1e-9], [0.4, 0.6]])).tolist() == [0, 1]


def test_a_temperature_makes_less_sure_or_surer():
    told = np.array([[0.8, 0.2], [1.0, 0.0]])
    # 0.8 : 0.2 is 4 : 1, whose square root is 2 : 1 and whose square 16 : 1.
    np.testing.assert_allclose(tempered(told, 2.0), [[2 / 3, 1 / 3], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(tempered(told, 0.5)[0], [16 / 17, 1 / 17], atol=1e-12)
    assert tempered(told, 1.0) is told


def test_the_temperature_is_found_again():
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([1.0, 1.0, 1.0], size=4000)
    levels = np.array([rng.choice(3, p=row) for row in honest])
    assert fitted_temperature(honest, levels) == pytest.approx(1.0, abs=0.1)
    assert fitted_temperature(tempered(honest, 1 / 3), levels) == pytest.approx(3.0, rel=0.1), "three times too sure"
    with pytest.raises(ValueError, match="no true level is known"):
        fitted_temperature(honest[:0], levels[:0])


def test_soft_targets_are_the_probabilities_of_levels_that_occur():
    ratings, soft = torch.tensor([0, 2]), torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    # Level 1 is nobody's likeliest: what it has is shared out in proportion.
    expected = torch.tensor([[6 / 7, 0.0, 1 / 7], [1 / 9, 0.0, 8 / 9]])
    torch.testing.assert_close(smoothed_targets(ratings, 3, 0.0, soft), expected)
    torch.testing.assert_close(smoothed_targets(ratings, 3, 0.5, soft), 0.5 * expected + torch.tensor([0.25, 0, 0.25]))
    certain = torch.eye(3)[ratings]
    assert torch.equal(smoothed_targets(ratings, 3, 0.2, certain), smoothed_targets(ratings, 3, 0.2))
    # |6/7 - 1/2| twice: a third level has no part in it.
    told = torch.tensor([[0.5, 0.0, 0.5]]).log()
    assert float(item_losses(told, expected[:1], "mae")) == pytest.approx(5 / 7)


def test_the_loss_of_a_preference_in_doubt():
    told = preference_log_probabilities(torch.tensor([[0.2, 0.7]]))
    soft, preferred = torch.tensor([[0.25, 0.75]]), torch.tensor([1])
    # 0.75 * 0.474077 + 0.25 * 0.974077, and |0.75 - 0.622459| twice
    assert float(preference_losses(told, preferred, "cross_entropy", 0.0, soft)) == pytest.approx(0.599077, abs=1e-6)
    assert float(preference_losses(told, preferred, "mae", 0.0, soft)) == pytest.approx(0.255081, abs=1e-6)


@pytest.mark.parametrize("loss", ["mae", "cross_entropy"])
@pytest.mark.parametrize("compares", [False, True])
def test_certain_probabilities_teach_what_levels_teach(loss, compares):
    settings = RewardModelSettings(
        input="state", hidden=(16,), batch_size=16, max_epochs=3, loss=loss, preference_loss=loss
    )
    rng, num_levels = np.random.default_rng(0), 2 if compares else 3
    states = rng.normal(size=(40, 2, 2) if compares else (40, 2)).astype(np.float32)
    ratings = rng.integers(num_levels, size=40)
    weights = []
    for learned in (ratings, np.eye(num_levels, dtype=np.float32)[ratings]):
        model = RewardModel(settings, 2, seed=0, compares=compares)
        model.fit(states, learned, num_levels, np.random.default_rng(1))
        weights.append(model.weights())
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", ["mae", "cross_entropy"])
def test_a_doubtful_label_pulls_less(loss):
    """Of what is furthest on most is said to be bad, with little confidence: as hard levels that turns the order."""
    settings = RewardModelSettings(
        input="state", hidden=(32, 32), num_members=1, batch_size=64, max_epochs=60, learning_rate=3e-3, loss=loss,
        stratified="off", class_weights="none", target_accuracy=1.0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    states = rng.uniform(size=(400, 1)).astype(np.float32)
    wrong = (states[:, 0] > 0.75) & (rng.random(400) < 0.7)
    told = np.where(states > 0.5, [[0.02, 0.98]], [[0.98, 0.02]])
    soft = np.where(wrong[:, None], [[0.52, 0.48]], told).astype(np.float32)
    rewards = {}
    for name, learned in (("hard", soft.argmax(axis=1)), ("soft", soft)):
        model = RewardModel(settings, 1, seed=0)
        model.fit(states, learned, 2, np.random.default_rng(0))
        rewards[name] = model.score(np.array([[0.1], [0.6], [0.9]], dtype=np.float32))
    assert rewards["hard"][2] < 0.2 < 0.8 < rewards["hard"][1]
    assert rewards["soft"][0] < 0.5 and rewards["soft"][1:].min() > 0.9
