"""How readers of outside data are fuzzed: hypothesis draws the inputs; the same ones each time, kept nowhere."""

from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}

TEN_THOUSAND = settings(max_examples=10_000, **_COMMON)
"""For a test marked slow."""

A_HUNDRED = settings(max_examples=100, **_COMMON)
"""For the quick suite: that the fuzz itself works, and the commonest damage."""
