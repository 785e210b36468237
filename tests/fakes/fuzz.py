"""How readers of outside data are fuzzed: hypothesis draws the inputs; the same ones each time, kept nowhere."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_COMMON = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}

TEN_THOUSAND = settings(max_examples=10_000, **_COMMON)
"""For a test marked slow."""

A_HUNDRED = settings(max_examples=100, **_COMMON)
"""For the quick suite: that the fuzz itself works, and the commonest damage."""


def fuzzed(examples: settings, check: Callable[[st.DataObject], Any]) -> set[Any]:
    """What `check` returned for so many draws, each once."""
    found = set()

    @examples
    @given(st.data())
    def each(data: st.DataObject) -> None:
        found.add(check(data))

    each()
    return found
