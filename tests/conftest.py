"""Fixtures that several files share, and the order in which files are run."""

import pytest

from orchestrator.cluster import START_ATTEMPTS, TOO_SLOW
from tests.remote_folders import memory_folder, remote_folder, s3_folder, s3_server

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
    import ray

    once = ray.init

    def init(*arguments, **options):
        for attempt in range(START_ATTEMPTS):
            try:
                return once(*arguments, **options)
            except Exception as error:
                if TOO_SLOW not in str(error) or attempt == START_ATTEMPTS - 1:
                    raise

    ray.init = init
    yield
    ray.init = once
