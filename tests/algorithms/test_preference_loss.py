"""The preference loss: worked by hand, the reference's, and what a reward model learns from pairs."""

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from algorithms.pairs import PairDraw
from algorithms.preference_loss import preference_log_probabilities, preference_losses
from algorithms.replay import StoredEpisode
from algorithms.reward_model import RewardModel
from algorithms.settings import FeedbackSettings, RewardModelSettings


def test_a_case_worked_by_hand():
    # exp(0.7) / (exp(0.2) + exp(0.7)) = 1 / (1 + exp(-0.5)) = 0.622459
    told = preference_log_probabilities(torch.tensor([[0.2, 0.7], [0.2, 0.7], [1.0, 1.0]]))
    assert told.exp()[:, 1].tolist() == pytest.approx([0.622459, 0.622459, 0.5], abs=1e-6)
    preferred = torch.tensor([1, 0, 0])
    # -ln 0.622459, -ln 0.377541, ln 2
    assert preference_losses(told, preferred, "cross_entropy").tolist() == pytest.approx(
        [0.474077, 0.974077, 0.693147], abs=1e-6
    )
    # 2 (1 - p)
    assert preference_losses(told, preferred, "mae").tolist() == pytest.approx([0.755081, 1.244919, 1.0], abs=1e-6)
    # A fifth of the label's mass is spread: 0.9 of it stays. 0.9 * 0.474077 + 0.1 * 0.974077
    assert float(preference_losses(told, preferred, "cross_entropy", 0.2)[0]) == pytest.approx(0.524077, abs=1e-6)


def test_it_is_the_cross_entropy_of_the_reference():
    """RL-VLM-F joins both moments' outputs, and takes torch's cross-entropy of them."""
    scores, preferred = torch.randn(50, 2), torch.randint(2, (50,))
    ours = preference_losses(preference_log_probabilities(scores), preferred, "cross_entropy").mean()
    torch.testing.assert_close(ours, torch.nn.CrossEntropyLoss()(scores, preferred))


def pairs(num_pairs, seed, wrong=0.0):
    """Pairs of states [N, 2, 2] whose first number is progress, and which of both has more, a share of them wrong."""
    rng = np.random.default_rng(seed)
    states = rng.uniform(size=(num_pairs, 2, 2)).astype(np.float32)
    better = states[:, :, 0].argmax(axis=1)
    return states, np.where(rng.random(num_pairs) < wrong, 1 - better, better)


@pytest.mark.parametrize(("loss", "wrong"), [("cross_entropy", 0.0), ("mae", 0.2)])
def test_rewards_are_in_the_order_of_the_preferences(loss, wrong):
    settings = RewardModelSettings(
        input="state", hidden=(32,), batch_size=64, max_epochs=60, learning_rate=3e-3, preference_loss=loss
    )
    model = RewardModel(settings, 2, seed=0, compares=True)
    states, preferred = pairs(300, 0, wrong)
    metrics = model.fit(states, preferred, 2, np.random.default_rng(0))
    assert metrics["accuracy"] > 0.95 - wrong
    new = pairs(300, 1)[0][:, 0]
    rewards = model.score(new)
    assert kendalltau(rewards, new[:, 0]).statistic > 0.8
    assert 0.0 <= rewards.min() < 0.2 and 0.8 < rewards.max() <= 1.0


def test_a_single_preference_gives_rewards_a_scale():
    model = RewardModel(RewardModelSettings(input="state", hidden=(8,)), 2, seed=0, compares=True)
    states, preferred = pairs(1, 0)
    model.fit(states, preferred, 2, np.random.default_rng(0))
    scores = model.score(states[0])
    assert scores.min() == 0.0 and scores.max() == 1.0


def episodes(*lengths):
    starts = np.cumsum([0, *lengths])
    return [
        StoredEpisode(f"episode{n}", np.arange(start, start + length), ended=True, whole=True)
        for n, (start, length) in enumerate(zip(starts, lengths, strict=False))
    ]


def test_no_moment_is_drawn_twice_and_pairs_mix_episodes():
    draw = PairDraw(episodes(10, 10, 10, 11), FeedbackSettings(), 0, np.random.default_rng(0))
    drawn = draw.draw(12)
    more = draw.draw(12)
    assert (len(drawn), len(more), draw.draw(1)) == (12, 8, [])
    moments = np.concatenate([pair.indices for pair in [*drawn, *more]])
    assert all(pair.indices.shape == (2,) for pair in drawn) and len(np.unique(moments)) == len(moments) == 40
    across = [pair.indices[0] // 10 != pair.indices[1] // 10 for pair in drawn]
    assert sum(across) > 6
    # The newest are among the first as often as among the second.
    newest = FeedbackSettings(newest_share=0.5)
    shown = [PairDraw(episodes(20, 20), newest, 20, np.random.default_rng(seed)).draw(6) for seed in range(20)]
    places = np.array([[index >= 20 for index in pair.indices] for some in shown for pair in some])
    assert abs(places[:, 0].mean() - places[:, 1].mean()) < 0.15 < places.mean() - 0.5
