"""The policy network against torch's own distributions, and its way between processes."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from algorithms.actor_network import LOG_STD_MAX, LOG_STD_MIN, SquashedGaussianActor


def make_actor(seed=0, hidden=(8, 6)):
    torch.manual_seed(seed)
    return SquashedGaussianActor(observation_size=5, action_size=2, hidden=hidden)


def observations(count=7):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(1))


def test_log_probability_is_that_of_a_squashed_gaussian():
    actor, obs = make_actor(), observations()
    actions, log_probs = actor.sample(obs, torch.Generator().manual_seed(2))
    mean, log_std = actor.distribution_parameters(obs)
    reference = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform())
    torch.testing.assert_close(log_probs, reference.log_prob(actions).sum(dim=-1), rtol=1e-3, atol=1e-3)


def test_log_probability_stays_finite_at_the_edge():
    actor = make_actor()
    with torch.no_grad():
        actor.head.bias[:2] = 50.0
    actions, log_probs = actor.sample(observations())
    assert (actions == 1.0).all()
    assert log_probs.isfinite().all()


def test_samples_pass_gradients_to_the_weights():
    actor = make_actor()
    actions, log_probs = actor.sample(observations())
    (actions.sum() + log_probs.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in actor.parameters())


def test_log_std_stays_in_its_range():
    actor = make_actor()
    with torch.no_grad():
        actor.head.bias[2], actor.head.bias[3] = 1e3, -1e3
    _, log_std = actor.distribution_parameters(observations())
    torch.testing.assert_close(log_std[:, 0], torch.full((7,), LOG_STD_MAX))
    torch.testing.assert_close(log_std[:, 1], torch.full((7,), LOG_STD_MIN))


def test_act_is_the_mean_or_a_repeatable_sample():
    actor, obs = make_actor(), observations()
    mean, _ = actor.distribution_parameters(obs)
    torch.testing.assert_close(actor.act(obs), torch.tanh(mean).detach())
    samples = [actor.act(obs, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    torch.testing.assert_close(samples[0], actor.sample(obs, torch.Generator().manual_seed(3))[0].detach())


def test_observations_are_shifted_then_scaled():
    plain, normalising, obs = make_actor(), make_actor(), observations()
    normalising.obs_shift.fill_(2.0)
    normalising.obs_scale.fill_(0.5)
    torch.testing.assert_close(normalising.act(2.0 * obs + 2.0), plain.act(obs))


@pytest.mark.parametrize("hidden", [(8, 6), (4,)])
def test_weights_travel_as_arrays(hidden):
    actor, obs = make_actor(hidden=hidden), observations()
    actor.obs_shift.fill_(0.3)
    weights = actor.numpy_weights()
    for array in weights.values():
        array.setflags(write=False)
    copy = SquashedGaussianActor.from_numpy(weights)
    assert torch.equal(copy.act(obs), actor.act(obs))
    with torch.no_grad():
        actor.head.bias.add_(1.0)
    assert torch.equal(copy.head.bias, torch.from_numpy(np.array(weights["head.bias"])))


def test_weights_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        make_actor(hidden=(8, 6)).load_numpy(make_actor(hidden=(8, 7)).numpy_weights())
