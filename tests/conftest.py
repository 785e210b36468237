"""Fixtures that several files share, and the order in which files are run."""

import functools
from pathlib import Path

import pytest
import ray

from orchestrator.cluster.actors import patiently
from tests.fakes.remote_folders import memory_folder, remote_folder, s3_folder, s3_server
from tests.fakes.run_folders import make_run

__all__ = ["make_run", "memory_folder", "remote_folder", "s3_folder", "s3_server"]

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "online/test_run_for_real.py",
    "online/test_surviving.py",
    "ratings/test_shared_server.py",
    "actors/rating/test_vllm.py",
    "algorithms/policies/test_rllib.py",
    "online/test_loop.py",
    "test_kinds.py",
)
"""Files that take minutes. `make test` deals files to two processes, which end together if these begin first."""


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).as_posix(), len(order)))


@pytest.fixture(scope="session", autouse=True)
def patient_ray():
    """Tests that start Ray by themselves try again where a busy machine made its agents slow, as the product does."""
    once = ray.init
    ray.init = functools.partial(patiently, once)
    yield
    ray.init = once
