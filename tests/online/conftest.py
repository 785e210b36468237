"""What the tests of the loop share."""

import pytest
import ray
import torch


@pytest.fixture(scope="module")
def local_ray():
    """A Ray of the module's own, for real actors."""
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
