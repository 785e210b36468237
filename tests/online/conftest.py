"""What the tests of the loop share."""

import pytest
import ray
import torch

from tests.fakes.actors_here import HERE_OR_BY_RAY, actors_here


@pytest.fixture(scope="module")
def local_ray():
    """A Ray of the module's own, for real actors."""
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module", params=HERE_OR_BY_RAY)
def actors(request):
    """Where a module's runs have their actors; whoever asks for it must not ask for `local_ray`."""
    torch.set_num_threads(1)
    if request.param == "here":
        with pytest.MonkeyPatch.context() as patch:
            actors_here(patch)
            yield
    else:
        request.getfixturevalue("local_ray")
        yield
