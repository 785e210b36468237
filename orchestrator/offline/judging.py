"""What judges a policy while it learns. The loop knows no more of it than this."""

from typing import Protocol

from algorithms.policies import LanguageIQL


class Judge(Protocol):
    """Judges the policy as it is."""

    score: str
    """Name of the metric, in [0, 1], by which runs are compared."""
    measure: str
    """What it is called on the screen."""

    def metrics(self, policy: LanguageIQL, *, control: str | None = None, last: bool = False) -> dict[str, float]:
        """Metrics by name.

        `control` names the policy where it is only there to be compared with: its metrics bear that name, and `score`
        is not among them. `last`: the policy will change no more.
        """
