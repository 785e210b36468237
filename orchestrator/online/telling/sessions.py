"""What feedback sessions came to, as counts and metrics."""

from collections.abc import Mapping

import numpy as np

from algorithms.ratings import Rating, RatingFailure
from orchestrator.errors import RatingsFailing
from orchestrator.online.stopping.progress import Progress
from orchestrator.ratings.service import SessionAnswers
from orchestrator.runs.layout import RATING_LEVEL, RATINGS_ASKED


def counted_with(progress: Progress, answered: int, failed: int, from_store: int, shared: int) -> dict[str, int]:
    """Counts for the screen while a session is under way, of which so much has come back."""
    return {
        "answered": progress.num_asked - progress.num_failed + answered,
        "failed": progress.num_failed + failed,
        "from_store": progress.num_from_store + from_store,
        "shared": progress.num_shared + shared,
    }


def count_answers(progress: Progress, answers: SessionAnswers, num_repeats: int) -> None:
    """Add a closed session to where the run stands."""
    progress.num_asked += len(answers.outcomes)
    progress.num_failed += answers.num_failed
    progress.num_from_store += answers.num_from_store
    progress.num_shared += answers.num_shared
    progress.num_repeats += num_repeats


def session_metrics(
    progress: Progress,
    num_ratings: int,
    answers: SessionAnswers,
    reward_metrics: Mapping[str, float],
) -> dict[str, float]:
    """What is logged of a closed session on a scale of so many answers, and of what the reward model made of it."""
    ratings = [outcome.rating for outcome in answers.outcomes if isinstance(outcome, Rating)]
    counts = np.bincount(ratings, minlength=num_ratings)
    return {
        RATINGS_ASKED: progress.num_asked,
        "rating/failed": progress.num_failed,
        "rating/from_store": progress.num_from_store,
        "rating/shared": progress.num_shared,
        "rating/repeats": progress.num_repeats,
        "time/rating_s": answers.duration_s,
        **{RATING_LEVEL.format(number=level + 1): int(count) for level, count in enumerate(counts)},
        **{f"reward/{name}": value for name, value in reward_metrics.items()},
    }


def raise_if_failing(answers: SessionAnswers, tolerated: float) -> None:
    """Raise RatingsFailing if more than this share of the questions got no answer."""
    if answers.num_failed <= tolerated * len(answers.outcomes):
        return
    failures = [outcome for outcome in answers.outcomes if isinstance(outcome, RatingFailure)]
    causes = sorted({failure.cause for failure in failures})
    raise RatingsFailing(
        f"{len(failures)} of {len(answers.outcomes)} questions of this session got no rating ({', '.join(causes)}); "
        f"feedback.tolerated_failure_share allows {tolerated:.0%}. First failure: {failures[0].detail}. "
        "Mend the rater, then give the same command again: the run goes on from here and asks only what is missing"
    )
