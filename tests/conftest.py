"""Fixtures that several files share, and the order in which files are run."""

import functools

import pytest
import ray

from orchestrator.cluster.actors import patiently
from tests.fakes.remote_folders import memory_folder, remote_folder, s3_folder, s3_server

__all__ = ["memory_folder", "remote_folder", "s3_folder", "s3_server"]

LONGEST_FIRST = (
    "test_surviving.py",
    "test_online_loop.py",
    "test_run_for_real.py",
    "test_shared_rater.py",
    "test_rating_server_vllm.py",
    "test_policy_rllib.py",
)
"""Files that take minutes. `make test` deals files to two processes, which end together if these begin first."""


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def patient_ray():
    """Tests that start Ray by themselves try again where a busy machine made its agents slow, as the product does."""
    once = ray.init
    ray.init = functools.partial(patiently, once)
    yield
    ray.init = once
