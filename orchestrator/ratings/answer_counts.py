"""What a stream of questions came to, and when it is better to stop."""

from dataclasses import dataclass

from orchestrator.errors import RatingsFailing

ENOUGH_TO_JUDGE = 50
"""Answers before a share of failures means anything."""


@dataclass
class AnswerCounts:
    """What has been asked so far, by labelling or judging, and what came of it."""

    windows: int = 0
    """Windows whose outcome is known."""
    from_store: int = 0
    """Of them, those that nobody was asked about."""
    failed: int = 0
    """Questions that got no answer."""
    actions: int = 0
    """Actions that got a score."""
    prompt_tokens: int = 0
    """Tokens that the rater read for it; answers from the store cost none."""
    completion_tokens: int = 0
    """Tokens that it wrote."""
    episodes: int = 0
    """Trajectories that are through; counted by labellers that look at whole ones."""
    problems: int = 0
    """Rows, episodes and parts that something is wrong with."""
    first_failure: str = ""


def stop_if_failing(counts: AnswerCounts, tolerated: float) -> None:
    """Raise RatingsFailing if more than this share of the questions got no answer, and they are enough to tell."""
    asked = counts.windows - counts.from_store
    if asked >= ENOUGH_TO_JUDGE and counts.failed > tolerated * asked:
        raise RatingsFailing(
            f"{counts.failed} of {asked} questions got no answer; tolerated_failure_share allows {tolerated:.0%}. "
            f"First failure: {counts.first_failure}. Mend the rater, then give the same command again: it goes on "
            "from here and asks only what is missing"
        )
