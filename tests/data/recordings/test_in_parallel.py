"""Pictures are worked on side by side, in order, and only a few ahead."""

import threading
import time

import pytest

from orchestrator.data.recordings import in_parallel as module
from orchestrator.data.recordings.in_parallel import WAITING_PER_CORE, in_parallel


def test_results_come_in_order_though_work_does_not_end_so():
    assert list(in_parallel(lambda n: time.sleep(0.002 * (n % 3)) or n * n, range(40))) == [n * n for n in range(40)]
    assert list(in_parallel(abs, [])) == []


def test_only_a_few_items_are_taken_ahead(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0, 1})
    taken = []
    results = in_parallel(abs, (taken.append(n) or n for n in range(100)))
    for n in range(100):
        assert next(results) == n
        assert len(taken) <= n + 1 + 2 * WAITING_PER_CORE


def test_work_goes_on_side_by_side(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0, 1, 2})
    together = threading.Barrier(3, timeout=30)
    assert list(in_parallel(lambda n: together.wait() is not None, range(9))) == [True] * 9


def test_an_error_comes_where_its_result_would_have():
    results = in_parallel(lambda n: 1 // (3 - n), range(100))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_what_is_left_in_the_middle_leaves_no_thread():
    results = in_parallel(lambda n: n, range(1000))
    next(results)
    results.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("pictures")]
