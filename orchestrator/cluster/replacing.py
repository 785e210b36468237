"""Replacing actors that died: which errors mean a death, when to give up, and waiting for successors without silence.

`online/rollouts.py` replaces rollout workers by it, `online/reward_training.py` the reward learner.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from orchestrator.errors import ActorsLost

log = logging.getLogger(__name__)

SAY_EVERY_S = 60.0
"""While actors wait for a place, that is said so often."""
FIRST_SAY_S = 30.0
"""A new process takes seconds; what takes longer waits for a place, or comes up on a very busy machine."""
MOST_DEATHS = 5
"""An actor that dies so often in a row, and does nothing in between, is not replaced again."""


def died(error: RayError) -> bool:
    """Whether `error` came from the death of the actor's process or node, and not from what it was told to do."""
    return not isinstance(error, RayTaskError)


def raise_if_hopeless(what: str, error: RayError, num_deaths: int) -> None:
    """Raise ActorsLost if an actor's successor would die as well: of its own construction, or of anything too often."""
    text = str(error).strip()
    if isinstance(error, RayActorError) and "creation task" in text:
        raise ActorsLost(f"{what} cannot be made: {text.splitlines()[-1]}") from error
    if num_deaths >= MOST_DEATHS:
        raise ActorsLost(
            f"{what} died {num_deaths} times in a row, the last time with: {first_line(error)}. Ray's log of it tells "
            "more; out of memory is the commonest reason. Mend that, then give the same command again"
        ) from error


def wait_for_life(references: Sequence[Any], what: str, needs: str, timeout_s: float) -> None:
    """Wait for the first answers of new actors; tell when they find no place.

    Raises ActorsLost after `timeout_s`: the run can be resumed. An answer may be an error; that is left to whoever
    asks next.
    """
    began = time.monotonic()
    waiting, pause_s, spoke = list(references), FIRST_SAY_S, False
    while True:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=pause_s)
        if not waiting:
            break
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise ActorsLost(
                f"{len(waiting)} of {len(references)} {what} found no place within rollout.lost_timeout_s = "
                f"{timeout_s:g} s; each needs {needs}. Give the same command again once nodes are there: the run goes "
                "on from its last checkpoint"
            )
        log.warning(
            "%d of %d %s are not there after %.0f s: each needs %s; `ray status` tells whether a node has that free",
            len(waiting), len(references), what, waited_s, needs,
        )  # fmt: skip
        pause_s, spoke = SAY_EVERY_S, True
    if spoke:
        log.warning("%s: back after %.0f s", what, time.monotonic() - began)


def first_line(error: BaseException) -> str:
    """The name of an error and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
