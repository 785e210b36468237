"""The reward learner of a run, as something that lasts: its actor may die, what it has learned does not."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from actors.reward.learner import RewardUpdate, ScoredSteps
from orchestrator.cluster.replacing import died, first_line, raise_if_hopeless, wait_for_life

log = logging.getLogger(__name__)

KnownRatings = Callable[[int], tuple[np.ndarray, np.ndarray, Sequence[str]]]
"""Given n: what the reward model sees of the first n rated segments of the run, their ratings and instructions."""


class FramesLost(Exception):
    """Frames that a worker held went away with its node. They can be drawn again."""


class RewardTraining:
    """Drives a `RewardLearner` actor. One that died is rebuilt exactly: from the ratings, which the run and its store
    hold, and from its own state after the last training, of which a copy is kept here. Frames that it had cached are
    drawn again when they are next needed.
    """

    def __init__(
        self,
        start_learner: Callable[[], Any],
        known_ratings: KnownRatings,
        needs: str = "a processor",
        lost_timeout_s: float = 3600.0,
    ) -> None:
        """`start_learner()` makes a new actor; `needs` says in words what it needs of a node."""
        self._start = start_learner
        self._known_ratings = known_ratings
        self._needs = needs
        self._lost_timeout_s = lost_timeout_s
        self._actor = start_learner()
        self._num_known = 0
        self._state: dict[str, Any] | None = None

    def learn(
        self,
        inputs: np.ndarray,
        ratings: np.ndarray,
        instructions: Sequence[str],
        ratings_to_learn: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> RewardUpdate:
        """Add rated segments to those known, and train on all with `ratings_to_learn`, of which each counts as much as
        `weights` say; see `RewardLearner`."""

        def add_and_train(actor: Any) -> tuple[RewardUpdate, dict[str, Any]]:
            ray.get(actor.add_ratings.remote(inputs, ratings, instructions))
            return ray.get(actor.train.remote(ratings_to_learn, weights)), ray.get(actor.state.remote())

        update, self._state = self._lasting(add_and_train)
        self._num_known += len(ratings)
        return update

    def cache_frames(self, first_index: int, frames: Any, instructions: Sequence[str]) -> None:
        """Keep frames for `relabel`, if it can; returns at once."""
        self._actor.cache_frames.remote(first_index, frames, instructions)

    def score(self, inputs: Any, instructions: Sequence[str]) -> tuple[np.ndarray, int]:
        """See `RewardLearner.score`. Raises FramesLost if `inputs` is a reference to what is gone."""
        return self._lasting(lambda actor: ray.get(actor.score.remote(inputs, instructions)))

    def opinions(self, inputs: np.ndarray, instructions: Sequence[str]) -> np.ndarray:
        """See `RewardLearner.opinions`."""
        return self._lasting(lambda actor: ray.get(actor.opinions.remote(inputs, instructions)))

    def relabel(self, oldest_index: int) -> ScoredSteps:
        """See `RewardLearner.relabel`."""
        return self._lasting(lambda actor: ray.get(actor.relabel.remote(oldest_index)))

    def publish(self) -> tuple[dict[str, np.ndarray], int]:
        """Copies of the model's weights by name, and its version."""
        return self._lasting(lambda actor: ray.get(actor.publish.remote()))

    def state(self) -> dict[str, Any]:
        """For a checkpoint; see `RewardLearner.state`."""
        return self._lasting(lambda actor: ray.get(actor.state.remote()))

    def restore(self, state: dict[str, Any], num_ratings: int) -> None:
        """Go on from a checkpoint's state, with the run's first `num_ratings` ratings."""
        if self._num_known:
            # Something was restored before, from a checkpoint that turned out to be damaged.
            self._succeed()
        self._state, self._num_known = state, num_ratings
        self._lasting(self._fill)

    def _lasting(self, attempt: Callable[[Any], Any]) -> Any:
        """What `attempt` brings from the actor, or from its successor if it dies meanwhile."""
        num_deaths = 0
        is_filled = True
        while True:
            try:
                if not is_filled:
                    self._fill(self._actor)
                    is_filled = True
                return attempt(self._actor)
            except RayError as error:
                if not died(error):
                    if isinstance(getattr(error, "cause", None), RayError):
                        raise FramesLost(first_line(error.cause)) from error
                    raise
                num_deaths += 1
                raise_if_hopeless("the reward learner", error, num_deaths)
                log.warning("the reward learner died (%s) and is rebuilt from the ratings", first_line(error))
                self._succeed()
                is_filled = False

    def _succeed(self) -> None:
        ray.kill(self._actor)
        self._actor = self._start()
        wait_for_life([self._actor.publish.remote()], "reward learners", self._needs, self._lost_timeout_s)

    def _fill(self, actor: Any) -> None:
        if self._num_known:
            ray.get(actor.add_ratings.remote(*self._known_ratings(self._num_known)))
        if self._state is not None:
            # After the ratings, because adding them may draw random numbers.
            ray.get(actor.set_state.remote(self._state))
