"""The formulas of soft actor-critic, worked by hand, and the twin critic against two plain networks."""

import math

import pytest
import torch
from torch import nn

from algorithms.actor_network import SquashedGaussianActor
from algorithms.policies.sac_losses import actor_loss, critic_loss, soft_target, temperature_loss
from algorithms.policies.twin_critic import TwinCritic


def test_target_bootstraps_unless_the_step_terminated():
    # 1 + 0.9 * (5 - 0.5 * 2) = 4.6 while the episode goes on or hits its time limit; the reward alone once terminated.
    target = soft_target(
        rewards=torch.tensor([1.0, 1.0]),
        terminated=torch.tensor([0.0, 1.0]),
        next_q=torch.tensor([5.0, 5.0]),
        next_log_prob=torch.tensor([2.0, 2.0]),
        temperature=torch.tensor(0.5),
        discount=0.9,
    )
    torch.testing.assert_close(target, torch.tensor([4.6, 1.0]))


def test_critic_loss_sums_both_critics_means():
    q = torch.tensor([[1.0, 4.0], [2.0, 2.0]])
    target = torch.tensor([1.0, 1.0])
    # Errors 0, 3 and 1, 1: means of squares 4.5 and 1. Huber: 3 counts 3 - 0.5, 1 counts 0.5: means 1.25 and 0.5.
    torch.testing.assert_close(critic_loss(q, target, "mse"), torch.tensor(5.5))
    torch.testing.assert_close(critic_loss(q, target, "huber"), torch.tensor(1.75))


def test_actor_loss_weighs_entropy_against_value():
    # 0.5 * 2 - 3 = -2 and 0.5 * 4 - 1 = 1, on average -0.5.
    loss = actor_loss(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 4.0]), torch.tensor(0.5))
    torch.testing.assert_close(loss, torch.tensor(-0.5))


@pytest.mark.parametrize(("log_prob", "rises"), [(-1.0, False), (3.0, True)])
def test_temperature_rises_while_the_entropy_is_below_its_target(log_prob, rises):
    log_alpha = torch.tensor(0.0, requires_grad=True)
    temperature_loss(log_alpha, torch.tensor([log_prob]), target_entropy=-2.0).backward()
    # Gradient descent moves against the gradient, -(log_prob - 2): entropies 1 and -3 against a target of -2.
    torch.testing.assert_close(log_alpha.grad, torch.tensor(-(log_prob - 2.0)))
    assert (log_alpha.grad < 0) == rises


def test_log_probability_has_the_correction_for_tanh():
    actor = SquashedGaussianActor(observation_size=1, action_size=2, hidden=(4,))
    with torch.no_grad():
        actor.head.weight.zero_()
        # Raw log deviation 0 means -1.5; means 0.3 and -0.2 for the two dimensions.
        actor.head.bias.copy_(torch.tensor([0.3, -0.2, 0.0, 0.0]))
    action, log_prob = actor.sample(torch.zeros(1, 1), torch.Generator().manual_seed(0))
    expected = 0.0
    for value, mean in zip(action[0].tolist(), (0.3, -0.2), strict=True):
        deviation = math.exp(-1.5)
        unsquashed = math.atanh(value)
        gaussian = math.exp(-0.5 * ((unsquashed - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        expected += math.log(gaussian / (1.0 - value**2))
    assert log_prob.item() == pytest.approx(expected, abs=1e-4)


def plain_network(critic, index):
    """One of the two critics as torch's own layers."""
    layers = []
    for weight, bias in zip(critic.weights, critic.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data = weight.data[index].T.clone()
        linear.bias.data = bias.data[index, 0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_twin_critic_equals_two_plain_networks():
    torch.manual_seed(0)
    critic = TwinCritic(observation_size=3, action_size=2, hidden=(8, 5))
    obs, actions = torch.randn(7, 3), torch.randn(7, 2)
    values = critic(obs, actions)
    assert values.shape == (2, 7)
    for index in (0, 1):
        torch.testing.assert_close(values[index], plain_network(critic, index)(torch.cat((obs, actions), 1))[:, 0])
    assert not torch.allclose(values[0], values[1])


def test_a_frozen_critic_passes_the_gradient_on_and_keeps_none():
    torch.manual_seed(0)
    critic = TwinCritic(observation_size=3, action_size=2, hidden=(8,))
    obs, actions = torch.randn(7, 3), torch.randn(7, 2, requires_grad=True)
    critic(obs, actions, frozen=True).sum().backward()
    through_frozen = actions.grad.clone()
    assert through_frozen.abs().sum() > 0 and all(parameter.grad is None for parameter in critic.parameters())
    actions.grad = None
    critic(obs, actions).sum().backward()
    torch.testing.assert_close(through_frozen, actions.grad)


def test_a_reset_critic_is_drawn_within_the_bounds_of_a_linear_layer():
    critic = TwinCritic(observation_size=3, action_size=1, hidden=(16,))
    before = critic.weights[0].clone()
    critic.reset(torch.Generator().manual_seed(1))
    again = TwinCritic(observation_size=3, action_size=1, hidden=(16,))
    again.reset(torch.Generator().manual_seed(1))
    assert not torch.equal(critic.weights[0], before)
    assert torch.equal(critic.weights[0], again.weights[0])
    assert critic.weights[0].abs().max() <= 0.5 and critic.weights[1].abs().max() <= 0.25
    assert critic.weights[0].abs().max() > 0.4
