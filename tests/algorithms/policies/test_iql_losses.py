"""The formulas of implicit Q-learning, worked by hand, and what actors say of recorded actions."""

import math
from collections import Counter

import pytest
import torch

from algorithms.actor_network import LARGEST_ACTION, SquashedGaussianActor
from algorithms.language_actor import LanguageActor
from algorithms.language_networks import PolicyShape, asked_of
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.policies.iql_losses import (
    advantage_weights,
    bellman_target,
    expectile_loss,
    twin_critic_loss,
    weighted_imitation_loss,
)

SMALL = PolicyNetworkSettings(channels=8, hidden=(16,), instruction_size=8)


def test_expectile_loss_weighs_a_value_that_is_too_low_more():
    # Errors 2, -1 and 0 with weights 0.8, 0.2 and either: (0.8 * 4 + 0.2 * 1 + 0) / 3.
    loss = expectile_loss(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 2.0]), 0.8)
    torch.testing.assert_close(loss, torch.tensor(3.4 / 3.0))


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 0.25), (0.9, 0.75)])
def test_the_expectile_lies_between_mean_and_maximum(expectile, expected):
    # Of 0, 0, 0 and 1: the root of expectile * (1 - v) = (1 - expectile) * 3 v; 0.5 gives the mean, 0.9 gives 9 / 12.
    q, value = torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.zeros(1, requires_grad=True)
    for _ in range(2000):
        (gradient,) = torch.autograd.grad(expectile_loss(q, value.expand(4), expectile), value)
        value.data -= 0.5 * gradient
    assert value.item() == pytest.approx(expected, abs=1e-4)


def test_target_bootstraps_unless_the_step_terminated():
    target = bellman_target(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0]), torch.tensor([2.0, 9.0]), 0.9)
    torch.testing.assert_close(target, torch.tensor([0.5 + 0.9 * 2.0, 1.0]))


def test_critic_loss_leaves_rows_without_a_reward_out():
    q, target = torch.tensor([[1.0, 50.0, 3.0], [0.0, 70.0, 1.0]]), torch.tensor([0.0, 0.0, 1.0])
    # Known rows 0 and 2: squares 1 and 4 of the first critic, 0 and 0 of the second, each over two rows.
    torch.testing.assert_close(twin_critic_loss(q, target, torch.tensor([1.0, 0.0, 1.0])), torch.tensor(2.5))
    torch.testing.assert_close(twin_critic_loss(q, target, torch.zeros(3)), torch.tensor(0.0))


def test_weights_grow_with_the_advantage_and_are_cut():
    # exp(5 * 0.2) = e, exp(5 * -0.2) = 1 / e; exp(5 * 200) is infinite in float32, and is cut to 100.
    advantage = torch.tensor([0.2, -0.2, 200.0], requires_grad=True)
    weights = advantage_weights(advantage, beta=5.0, largest=100.0)
    torch.testing.assert_close(weights, torch.tensor([math.e, 1.0 / math.e, 100.0]))
    assert not weights.requires_grad


def test_imitation_is_weighted():
    loss = weighted_imitation_loss(torch.tensor([-1.0, -2.0]), torch.tensor([3.0, 0.5]))
    torch.testing.assert_close(loss, torch.tensor((3.0 + 1.0) / 2.0))


def test_log_probability_of_a_recorded_action_is_that_of_a_sampled_one():
    torch.manual_seed(0)
    actor = SquashedGaussianActor(observation_size=3, action_size=2, hidden=(8,))
    obs = torch.randn(50, 3)
    actions, log_prob = actor.sample(obs, torch.Generator().manual_seed(1))
    inner = actions.abs().amax(dim=1) < LARGEST_ACTION
    assert inner.sum() > 30
    torch.testing.assert_close(actor.log_prob(obs, actions)[inner], log_prob[inner], rtol=1e-3, atol=1e-3)


def test_an_action_at_the_end_of_its_range_has_a_finite_density_and_gradient():
    actor = SquashedGaussianActor(observation_size=1, action_size=2, hidden=(4,))
    log_prob = actor.log_prob(torch.zeros(1, 1), torch.tensor([[1.0, -1.0]]))
    log_prob.sum().backward()
    torch.testing.assert_close(log_prob, actor.log_prob(torch.zeros(1, 1), torch.tensor([[0.999, -0.999]])))
    assert log_prob.isfinite().all() and actor.head.bias.grad.isfinite().all()


@pytest.mark.parametrize(
    "shape",
    [
        PolicyShape("grid", (5, 4, 3), 11, 9, 6, 7, 7),
        PolicyShape("image", (20, 24, 3), 0, 9, 6, 7, 7),
        PolicyShape("vector", (5,), 0, 9, 6, 7, 7),
        PolicyShape("grid", (5, 4, 3), 11, 0, 12, 0, 2),
    ],
    ids=["grid", "image", "vector", "embedding and continuous actions"],
)
def test_an_actor_sees_reads_and_remembers(shape):
    torch.manual_seed(0)
    network = SMALL.model_copy(update={"history": 3})
    actor = LanguageActor(shape, network)
    if shape.kind == "vector":
        seen = torch.randn(2, 3, *shape.observation_shape)
    else:
        seen = torch.randint(0, 11, (2, 3, *shape.observation_shape), dtype=torch.uint8)
    asked = torch.randint(2, 9, (2, 6)) if shape.num_words else torch.randn(2, 12)
    actions = torch.tensor([0, 3]) if shape.num_actions else torch.tensor([[0.1, -0.4], [0.3, 0.0]])
    log_prob = actor.log_prob(seen, asked_of(asked), actions)
    assert log_prob.shape == (2,)
    # The oldest observation and the last word each count.
    older, other = seen.clone(), asked.clone()
    older[:, 0] = 10 - older[:, 0]
    other[:, -1] = (other[:, -1] - 1) if shape.num_words else -other[:, -1]
    assert not torch.equal(actor.log_prob(older, asked_of(asked), actions), log_prob)
    assert not torch.equal(actor.log_prob(seen, asked_of(other), actions), log_prob)
    # One at a time is as all at once.
    alone = torch.cat([actor.log_prob(seen[[i]], asked_of(asked[[i]]), actions[[i]]) for i in (0, 1)])
    torch.testing.assert_close(alone, log_prob, rtol=1e-4, atol=1e-5)


def test_probabilities_of_discrete_actions_sum_to_one_and_the_likeliest_is_taken():
    torch.manual_seed(0)
    shape = PolicyShape("vector", (4,), 0, 5, 3, 6, 6)
    actor = LanguageActor(shape, SMALL)
    seen, asked = torch.randn(1, 1, 4), torch.tensor([[2, 3, 0]])
    log_probs = torch.stack([actor.log_prob(seen, asked_of(asked), torch.tensor([action])) for action in range(6)])
    assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert actor.act(seen, asked).item() == int(log_probs.argmax())
    drawn = actor.act(seen.expand(4000, 1, 4), asked.expand(4000, 3), torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=6) / 4000
    torch.testing.assert_close(shares, log_probs.exp().squeeze(1), atol=0.03, rtol=0.0)


def test_with_objects_an_action_is_a_pair_and_the_object_counts_where_there_is_one():
    torch.manual_seed(0)
    actor = LanguageActor(PolicyShape("vector", (4,), 0, 5, 3, 3, 7, num_objects=4), SMALL)
    seen, asked = torch.randn(1, 1, 4), torch.tensor([[2, 3, 0]])
    pairs = torch.tensor([[action, thing] for action in range(3) for thing in range(4)])
    probabilities = actor.log_prob(
        seen.expand(12, 1, 4), asked_of(asked.expand(12, 3)), pairs
    ).exp().reshape(3, 4)  # fmt: skip
    # Class 0 is no object: the action alone counts. The other classes share what the object head gives them.
    torch.testing.assert_close(probabilities[:, 0].sum(), torch.tensor(1.0))
    shares = probabilities[:, 1:] / probabilities[:, :1]
    torch.testing.assert_close(shares, shares[:1].expand(3, 3))
    assert 0.0 < shares[0].sum() < 1.0
    # An object is learned from interactions, and from nothing else.
    actor.log_prob(seen, asked_of(asked), torch.tensor([[1, 0]])).sum().backward()
    assert not actor.object_head.weight.grad.any() and actor.head.weight.grad.any()
    actor.log_prob(seen, asked_of(asked), torch.tensor([[1, 2]])).sum().backward()
    assert actor.object_head.weight.grad.any()


def test_only_what_is_possible_is_chosen_the_action_first_and_then_its_object():
    torch.manual_seed(0)
    actor = LanguageActor(PolicyShape("vector", (4,), 0, 5, 3, 3, 7, num_objects=4), SMALL)
    with torch.no_grad():
        for head, bias in ((actor.head, [3.0, 2.0, 1.0]), (actor.object_head, [0.0, 3.0, 2.0, 1.0])):
            head.weight.zero_()
            head.bias.copy_(torch.tensor(bias))
    seen, asked = torch.randn(2, 1, 4), torch.tensor([[2, 3, 0]]).expand(2, 3)
    possible = torch.zeros(2, 3, 4, dtype=torch.bool)
    possible[0, 1, [2, 3]] = possible[0, 2, 1] = possible[1, 2, 0] = True
    assert actor.act(seen, asked, possible=possible).tolist() == [[1, 2], [2, 0]]
    assert actor.act(seen, asked).tolist() == [[0, 1], [0, 1]]
    drawn = actor.act(
        seen[:1].expand(4000, 1, 4), asked[:1].expand(4000, 3), torch.Generator().manual_seed(0),
        possible[:1].expand(4000, 3, 4),
    )  # fmt: skip
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == {(1, 2), (1, 3), (2, 1)}
    # Actions 1 and 2 are e : 1, objects 2 and 3 of action 1 likewise.
    assert (counts[1, 2] + counts[1, 3]) / counts[2, 1] == pytest.approx(math.e, rel=0.15)
    assert counts[1, 2] / counts[1, 3] == pytest.approx(math.e, rel=0.15)


def test_padding_behind_the_last_word_says_nothing():
    torch.manual_seed(0)
    shape = PolicyShape("vector", (4,), 0, 9, 6, 5, 5)
    actor = LanguageActor(shape, SMALL)
    short = torch.tensor([[2, 3, 0, 0, 0, 0]])
    read = actor.encoder.instruction(asked_of(short))
    # The same two words in an encoder that has places for two words only.
    narrow = LanguageActor(PolicyShape("vector", (4,), 0, 9, 2, 5, 5), SMALL).encoder.instruction
    state = actor.encoder.instruction.state_dict()
    narrow.load_state_dict(state | {"places": state["places"][:2]})
    torch.testing.assert_close(narrow(asked_of(short[:, :2])), read, rtol=1e-4, atol=1e-5)


def test_weights_travel_as_arrays():
    shape = PolicyShape("grid", (4, 4, 3), 11, 9, 6, 7, 7)
    one, other = LanguageActor(shape, SMALL), LanguageActor(shape, SMALL)
    other.load_numpy(one.numpy_weights())
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
