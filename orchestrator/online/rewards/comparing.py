"""The similarity model of a run, as something that lasts: its actor may die, and holds nothing that would be lost."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from actors.rating.similarity.model import Loaded
from orchestrator.cluster.replacing import died, first_line, raise_if_hopeless, wait_for_life
from orchestrator.errors import SettingsError

log = logging.getLogger(__name__)


class Comparing:
    """Drives a `SimilarityModel` actor. One that died is replaced, and asked again."""

    def __init__(self, start_model: Callable[[], Any], needs: str = "a processor", lost_timeout_s: float = 3600.0):
        """`start_model()` makes a new actor; `needs` says in words what it needs of a node."""
        self._start, self._needs, self._lost_timeout_s = start_model, needs, lost_timeout_s
        self._actor = start_model()
        self._num_frames, self._seconds = 0, 0.0

    def load(self) -> Loaded:
        """Wait for the model. Raises SettingsError if it cannot be loaded."""
        try:
            return self._lasting("start")
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ValueError):
                raise SettingsError(str(cause)) from None
            raise

    def of_frames(self, pngs: Sequence[bytes], goal: str) -> np.ndarray:
        """See `SimilarityModel.of_frames`."""
        return self._timed(len(pngs), "of_frames", pngs, goal)

    def of_episode(self, pngs: Sequence[bytes], goal: str) -> float:
        """See `SimilarityModel.of_episode`."""
        return self._timed(len(pngs), "of_episode", pngs, goal)

    def take_pace(self) -> float | None:
        """Seconds a frame since this was last asked; None if none was looked at."""
        pace = self._seconds / self._num_frames if self._num_frames else None
        self._num_frames, self._seconds = 0, 0.0
        return pace

    def _timed(self, num_frames: int, method: str, *arguments: Any) -> Any:
        began = time.monotonic()
        found = self._lasting(method, *arguments)
        self._num_frames += num_frames
        self._seconds += time.monotonic() - began
        return found

    def _lasting(self, method: str, *arguments: Any) -> Any:
        """What the actor brings, or its successor if it dies meanwhile."""
        num_deaths = 0
        while True:
            try:
                return ray.get(getattr(self._actor, method).remote(*arguments))
            except RayError as error:
                if not died(error):
                    raise
                num_deaths += 1
                raise_if_hopeless("the similarity model", error, num_deaths)
                log.warning("the similarity model died (%s) and is loaded again", first_line(error))
                ray.kill(self._actor)
                self._actor = self._start()
                wait_for_life([self._actor.start.remote()], "similarity models", self._needs, self._lost_timeout_s)
