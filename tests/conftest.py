"""Fixtures that several files share, and the order in which files are run."""

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
