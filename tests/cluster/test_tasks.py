"""Work spread over Ray's processes comes back in order, whatever callable does it."""

import os
from functools import partial

import pytest
import ray

from orchestrator.cluster.tasks import spread
from orchestrator.errors import SettingsError

NICENESS = os.nice(0)


def divide(by, number):
    if number == 13:
        raise SettingsError("13 is unlucky")
    return number // by


def divide_where_nice(by, number):
    assert os.nice(0) == NICENESS
    return divide(by, number)


def test_results_come_in_order_and_errors_of_ours_as_themselves(monkeypatch):
    """And by workers as nice as we are: by Ray's default they would be at 15."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    results = spread(partial(divide_where_nice, 2), iter([*range(10), 13, 14]))
    assert [next(results) for _ in range(10)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(SettingsError, match="13 is unlucky"):
        next(results)
    assert not ray.is_initialized()
