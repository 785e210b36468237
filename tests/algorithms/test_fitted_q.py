"""Fitted-Q evaluation in a corridor whose values are known by hand."""

import numpy as np
import torch

from algorithms.fitted_q import FittedQ, FittedQPlan
from algorithms.language_actor import LanguageActor
from algorithms.language_networks import PolicyShape
from algorithms.offline_settings import PolicyNetworkSettings

LENGTH, DISCOUNT = 4, 0.8
SHAPE = PolicyShape("vector", (LENGTH,), 0, 0, 1, 2, 2)
"""Instructions as embeddings, which cost least."""
NETWORK = PolicyNetworkSettings(hidden=(64,), instruction_size=4)


def actor_that_goes(action):
    """Always left (0), or right (1)."""
    torch.manual_seed(0)
    actor = LanguageActor(SHAPE, NETWORK)
    with torch.no_grad():
        actor.head.weight.zero_()
        actor.head.bias.copy_(torch.eye(2)[action])
    return actor


def corridor():
    """Every action in every cell. To go right from the last but one ends it, and pays 1; to go left costs 0.1, which a
    second reward does not have. What going left from the first cell pays is not known."""
    rows = []
    for cell in range(LENGTH - 1):
        for action in (0, 1):
            end = action == 1 and cell == LENGTH - 2
            following = cell + 1 if action else max(cell - 1, 0)
            rows.append((cell, action, [float(end) - 0.1 * (1 - action), float(end)], following, float(end)))
    cells, actions, rewards, following, ends = map(np.array, zip(*rows, strict=True))
    known = np.ones_like(rewards)
    known[(cells == 0) & (actions == 0)] = 0.0
    seen = np.eye(LENGTH, dtype=np.float32)
    return {
        "observation": torch.from_numpy(seen[cells][:, None]),
        "next_observation": torch.from_numpy(seen[following][:, None]),
        "instruction": torch.ones(len(rows), 1),
        "action": torch.from_numpy(actions),
        "reward": torch.from_numpy((rewards * known).astype(np.float32)),
        "reward_known": torch.from_numpy(known.astype(np.float32)),
        "terminated": torch.from_numpy(ends.astype(np.float32)),
    }


def worth(actor, num_updates=400, seed=0, highest=5.0):
    plan = FittedQPlan(DISCOUNT, (-1.0, 0.0), (highest, highest), num_updates, seed)
    fitted = FittedQ(actor, SHAPE, NETWORK, plan)
    batch = corridor()
    for _ in range(num_updates):
        fitted.update(batch)
    cells = torch.eye(LENGTH)[: LENGTH - 1, None]
    return fitted.values(cells, torch.ones(LENGTH - 1, 1)).numpy()


def test_a_policy_is_worth_what_its_own_actions_bring():
    right = worth(actor_that_goes(1))
    # 1 after two more steps, one more step, none; both rewards alike, since it never goes left.
    np.testing.assert_allclose(right, np.outer([DISCOUNT**2, DISCOUNT, 1.0], [1.0, 1.0]), atol=0.05)
    left = worth(actor_that_goes(0))
    assert np.abs(left[:, 1]).max() < 0.05 and left[:, 0].max() < 0.05


def test_equal_seeds_give_equal_estimates_and_no_estimate_leaves_its_bounds():
    actor = actor_that_goes(1)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(worth(actor, 5), worth(actor, 5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.array_equal(worth(actor, 5), worth(actor, 5, seed=1))
    assert 0.2 < worth(actor, 200, highest=0.3).max() <= np.float32(0.3)
