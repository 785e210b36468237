"""Fitted-Q evaluation: what a policy is worth, from recorded transitions alone (Le et al. 2019, arXiv 1903.08738)."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from algorithms.language_actor import LanguageActor
from algorithms.language_networks import Asked, LanguageEncoder, PolicyShape, asked_of, critic_actions
from algorithms.offline_settings import PolicyNetworkSettings

TAU = 0.02
"""Polyak step of the target network, taken after every update."""
LEARNING_RATE = 1e-3
"""Adam's, at most; it falls to 0 by the last update, so that the estimate does not depend on which is the last."""


@dataclass(frozen=True)
class FittedQPlan:
    """What is fitted."""

    discount: float
    lowest: tuple[float, ...]
    """[R]: no policy's value is below, of each of the rewards that are told apart."""
    highest: tuple[float, ...]
    """[R]: none is above."""
    num_updates: int
    seed: int


class FittedQ:
    """Q of one policy, for several rewards at once: a network of its own with an output for each.

    It regresses on r + discount * Q'(s', pi(s')), where pi(s') is the policy's likeliest action and Q' a slow copy.
    Targets are kept between the values that rewards allow, so that it cannot diverge.
    """

    def __init__(self, actor: LanguageActor, shape: PolicyShape, network: PolicyNetworkSettings, plan: FittedQPlan):
        """`actor` is not changed; its device is that of everything here."""
        device = next(actor.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(plan.seed)
            self._q = _Network(shape, network, len(plan.lowest))
        if shape.kind == "vector":
            self._q.encoder.observation.load_state_dict(
                {name: getattr(actor.encoder.observation, name) for name in ("shift", "scale")}, strict=False
            )
        self._q.to(device)
        self._target = copy.deepcopy(self._q).requires_grad_(False)
        self._actor = actor
        self._shape = shape
        self._plan = plan
        self._lowest = torch.tensor(plan.lowest, device=device)
        self._highest = torch.tensor(plan.highest, device=device)
        self._optimizer = torch.optim.Adam(self._q.parameters(), lr=LEARNING_RATE)
        self._done = 0

    def update(self, batch: Mapping[str, torch.Tensor]) -> None:
        """One gradient step on columns of `Transitions.batch`, but `reward` and `reward_known` are [B, R]."""
        asked = asked_of(batch["instruction"])
        with torch.no_grad():
            actions = self._actor.act(batch["next_observation"], batch["instruction"])
            following = self._target(batch["next_observation"], asked, critic_actions(self._shape, actions))
            going_on = (1.0 - batch["terminated"]).unsqueeze(-1)
            target = batch["reward"] + self._plan.discount * going_on * following
            target = torch.maximum(torch.minimum(target, self._highest), self._lowest)
        q = self._q(batch["observation"], asked, critic_actions(self._shape, batch["action"]))
        known = batch["reward_known"]
        loss = ((q - target).square() * known).sum() / known.sum().clamp(min=1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1.0 - self._done / self._plan.num_updates)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        torch._foreach_lerp_(list(self._target.parameters()), list(self._q.parameters()), TAU)
        self._done += 1

    @torch.no_grad()
    def values(self, observation: torch.Tensor, instruction: torch.Tensor) -> torch.Tensor:
        """What the policy is worth [B, R] from observations [B, history, ...] on, asked for instructions [B, ...]."""
        actions = critic_actions(self._shape, self._actor.act(observation, instruction))
        found = self._q(observation, asked_of(instruction), actions)
        return torch.maximum(torch.minimum(found, self._highest), self._lowest)


class _Network(nn.Module):
    def __init__(self, shape: PolicyShape, network: PolicyNetworkSettings, num_rewards: int) -> None:
        super().__init__()
        self.encoder = LanguageEncoder(shape, network)
        width = self.encoder.num_features
        self.head = nn.Sequential(nn.Linear(width + shape.action_size, width), nn.ReLU(), nn.Linear(width, num_rewards))

    def forward(self, observation: torch.Tensor, asked: Asked, actions: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat((self.encoder(observation, asked), actions), dim=-1))
