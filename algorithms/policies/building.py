"""The policy of an online run, by whichever algorithm its settings name."""

from algorithms.policies.rated_algorithm import RatedAlgorithm
from algorithms.policies.rated_iql import build_rated_iql
from algorithms.policies.rated_sac import build_rated_sac
from algorithms.policy_settings import OnlineIQLSettings, PolicySettings
from algorithms.spaces import AgentSpaces


def build_policy(policy: PolicySettings, spaces: AgentSpaces, instruction: str, seed: int) -> RatedAlgorithm:
    """A policy that is fed from outside. Without a GPU it needs no running Ray, and starts none.

    `instruction` is the task's, of episodes that say nothing of their own.
    """
    if isinstance(policy, OnlineIQLSettings):
        return build_rated_iql(policy, spaces, instruction, seed)
    return build_rated_sac(policy, spaces.observation_size, spaces.action_size, seed)
