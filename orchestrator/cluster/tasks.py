"""Work without a state, on all processors that Ray has."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from orchestrator.cluster.actors import connected
from orchestrator.cluster.placement import ONE_THREAD
from orchestrator.errors import LikertError

A = TypeVar("A")
R = TypeVar("R")


def spread(function: Callable[[A], R], arguments: Iterable[A]) -> Iterator[R]:
    """As `map`, by as many processes as Ray has processors; a bounded number of results is under way.

    Ray is connected from the first result that is wanted to the last. A LikertError that `function` raises is raised
    here; another error comes as Ray's own.
    """
    with connected([]):
        # Ray takes functions by name only, not what `functools.partial` makes.
        call = ray.remote(_call).options(runtime_env={"env_vars": ONE_THREAD})
        under_way: deque[Any] = deque()
        for argument in arguments:
            under_way.append(call.remote(function, argument))
            # Nodes may come and go meanwhile.
            if len(under_way) > 2 * int(ray.cluster_resources().get("CPU", 1)):
                yield _result(under_way.popleft())
        while under_way:
            yield _result(under_way.popleft())


def _call(function: Callable[[A], R], argument: A) -> R:
    return function(argument)


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, LikertError) else error from None
