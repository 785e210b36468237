"""When feedback sessions happen and how many ratings each one asks."""

import numpy as np

from algorithms.settings import FeedbackSettings


class FeedbackSchedule:
    """Sessions at `first_env_steps` and every `interval_env_steps` after it, before the end and within the budget.

    A run can open a session only where its episodes end, and not while one is open. Points of the schedule that were
    passed meanwhile are asked together at the next opportunity, so that ratings per environment step are as set.
    """

    def __init__(self, settings: FeedbackSettings, total_env_steps: int) -> None:
        self._settings = settings
        self._total_env_steps = total_env_steps
        self.points_passed = 0
        """Points of the schedule that are behind."""
        self.num_asked = 0
        """Ratings asked so far; failed questions count too."""

    def due(self, env_steps: int) -> bool:
        """Whether to open a session now. Never at the end of the run, where nothing would learn from it."""
        in_time = self._next_point() <= env_steps < self._total_env_steps
        return in_time and self.num_asked < self._settings.budget

    def begin(self, env_steps: int) -> int:
        """Number of ratings that the session due now asks; the schedule moves on. Raises ValueError if none is due."""
        if not self.due(env_steps):
            raise ValueError(
                f"no feedback session is due at {env_steps} environment steps; the next: {self._next_point()}"
            )
        wanted = 0
        while self._next_point() <= env_steps:
            wanted += self._ratings_at(self.points_passed)
            self.points_passed += 1
        num_ratings = min(wanted, self._settings.budget - self.num_asked)
        self.num_asked += num_ratings
        return num_ratings

    def give_back(self, num_ratings: int) -> None:
        """Of a session begun, so many ratings were not asked: they stay in the budget."""
        self.num_asked -= num_ratings

    def state(self) -> dict[str, int]:
        """All that a resumed schedule needs."""
        return {"points_passed": self.points_passed, "num_asked": self.num_asked}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on from what `state` returned."""
        self.points_passed = state["points_passed"]
        self.num_asked = state["num_asked"]

    def _next_point(self) -> int:
        return self._settings.first_env_steps + self.points_passed * self._settings.interval_env_steps

    def _ratings_at(self, point: int) -> int:
        if point == 0 and self._settings.first_session is not None:
            return self._settings.first_session
        return self._settings.per_session


def shuffled(ratings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A session's ratings [N] dealt out anew among its segments: same histogram, no information. A new array."""
    return rng.permutation(ratings)
