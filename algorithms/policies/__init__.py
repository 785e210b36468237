"""Policies as RLlib algorithms: the one folder of `algorithms` that may import `ray.rllib`."""

from ray.util.debug import log_once

from algorithms.policies.building import build_policy
from algorithms.policies.iql_config import LanguageIQLConfig
from algorithms.policies.language_iql import LanguageIQL, build_language_iql
from algorithms.policies.rated_algorithm import RatedAlgorithm
from algorithms.policies.rated_iql import RatedIQL, RatedIQLConfig, build_rated_iql
from algorithms.policies.rated_sac import RatedSAC, build_rated_sac
from algorithms.policies.sac_config import RatedSACConfig

__all__ = [
    "LanguageIQL",
    "LanguageIQLConfig",
    "RatedAlgorithm",
    "RatedIQL",
    "RatedIQLConfig",
    "RatedSAC",
    "RatedSACConfig",
    "build_language_iql",
    "build_policy",
    "build_rated_iql",
    "build_rated_sac",
]

# RLlib remarks on these once in every process, whatever one does; a remark that counts as made is not made again.
for _remark in (
    "RatedIQL_on_new_api_stack",
    "RatedSAC_on_new_api_stack",
    "LanguageIQL_on_new_api_stack",
    "RLModule(config=[RLModuleConfig object])",
):
    log_once(_remark)
