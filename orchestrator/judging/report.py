"""Tables and figure of judged raters: how often they are right, how sure that is, and what an answer costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from algorithms.ratings import RaterIdentity, RatingFailure
from algorithms.scores import Scores
from orchestrator.judging.asking import COMPLETED, Verdict
from orchestrator.judging.settings import JudgeSettings
from orchestrator.reports.figures import COLOURS, legend_outside, save_figure, share_axis
from orchestrator.reports.intervals import CONFIDENCE, Interval, mean_share_interval, wilson_interval
from orchestrator.reports.tables import csv_table, markdown_table
from orchestrator.storage.writing import write_text


@dataclass(frozen=True)
class RaterResult:
    """What one rater did."""

    name: str
    identity: RaterIdentity
    verdicts: list[Verdict]

    def answered(self, case: str) -> np.ndarray:
        """Verdicts on a case, bool [N]: whether the rater says that the task is completed. Failures are left out."""
        found = [one.says_completed for one in self.verdicts if one.case == case]
        return np.array([said for said in found if said is not None], dtype=bool)

    def says_completed(self, case: str) -> Interval | None:
        """Share of a case's trajectories that the rater calls completed, with Wilson's interval; None of none."""
        said = self.answered(case)
        return wilson_interval(int(said.sum()), len(said)) if len(said) else None

    def balanced_accuracy(self) -> Interval | None:
        """Mean of the shares of right answers on completed trajectories and on all negatives; 0.5 is chance.

        With an interval made of both shares' Wilson intervals. None where either is missing.
        """
        right = [self.answered(COMPLETED), ~self._negatives()]
        if any(not len(one) for one in right):
            return None
        return mean_share_interval([(int(one.sum()), len(one)) for one in right])

    def false_positives(self) -> Interval | None:
        """Share of all negatives that the rater calls completed."""
        said = self._negatives()
        return wilson_interval(int(said.sum()), len(said)) if len(said) else None

    def per_answer(self, what: str) -> float | None:
        """Mean of a field of `Scores` over all answers: what one trajectory costs."""
        found = [getattr(one.outcome, what) for one in self.verdicts if isinstance(one.outcome, Scores)]
        return float(np.mean(found)) if found else None

    @property
    def num_failed(self) -> int:
        """Questions without an answer."""
        return sum(isinstance(one.outcome, RatingFailure) for one in self.verdicts)

    def _negatives(self) -> np.ndarray:
        cases = dict.fromkeys(one.case for one in self.verdicts if one.case != COMPLETED)
        return np.concatenate([np.zeros(0, dtype=bool), *map(self.answered, cases)])


def write_judgement(results: Sequence[RaterResult], settings: JudgeSettings) -> list[Path]:
    """Write `table.md`, `table.csv`, `answers.csv` and `judge.png` into `settings.out`, and return their paths."""
    rows = [_row(result, settings) for result in results]
    texts = {
        "table.md": _markdown(results, settings),
        "table.csv": csv_table(rows),
        "answers.csv": csv_table([row for result in results for row in _answers(result)]),
    }
    for name, text in texts.items():
        write_text(settings.out / name, text)
    save_figure(_figure(results, settings), settings.out / "judge.png")
    return [settings.out / name for name in (*texts, "judge.png")]


def _row(result: RaterResult, settings: JudgeSettings) -> dict[str, object]:
    shares = {
        "accuracy": result.says_completed(COMPLETED),
        **{f"false_positives_{name}": result.says_completed(name) for name in settings.negatives},
        "false_positives": result.false_positives(),
        "balanced_accuracy": result.balanced_accuracy(),
    }
    row: dict[str, object] = {
        "rater": result.name,
        "model": result.identity.model,
        "revision": result.identity.revision,
        "num_trajectories": settings.num_trajectories,
        "num_questions": len(result.verdicts),
        "num_failed": result.num_failed,
    }
    for name, share in shares.items():
        values = ("", "", "") if share is None else (share.mean, share.low, share.high)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    for column, what in _COSTS.items():
        row[column] = result.per_answer(what)
    return row


_COSTS = {
    "seconds": "latency_s",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
}
"""Columns of what one trajectory costs, and the fields they are the mean of."""


def _answers(result: RaterResult) -> list[dict[str, object]]:
    return [
        {
            "rater": result.name,
            "episode_id": one.episode_id,
            "case": one.case,
            "instruction": one.instruction,
            "says_completed": "" if one.says_completed is None else int(one.says_completed),
            "right": "" if one.is_right is None else int(one.is_right),
            "probability": one.outcome.probabilities[0][0]
            if isinstance(one.outcome, Scores) and one.outcome.probabilities
            else "",
            "failure": one.outcome.cause if isinstance(one.outcome, RatingFailure) else "",
        }
        for one in result.verdicts
    ]


def _markdown(results: Sequence[RaterResult], settings: JudgeSettings) -> str:
    columns = [
        "rater",
        "accuracy",
        *(f"false positives: {name.replace('_', ' ')}" for name in settings.negatives),
        "false positives",
        "balanced accuracy",
        "seconds",
        "tokens read",
        "tokens written",
        "failed",
    ]
    rows = []
    for result in results:
        shares = [
            result.says_completed(COMPLETED),
            *map(result.says_completed, settings.negatives),
            result.false_positives(),
            result.balanced_accuracy(),
        ]
        costs = [result.per_answer(what) for what in _COSTS.values()]
        rows.append(
            [
                result.name,
                *("" if share is None else str(share) for share in shares),
                *("" if cost is None else f"{cost:,.2f}" for cost in costs),
                f"{result.num_failed} of {len(result.verdicts)}",
            ]
        )
    return "\n".join(
        [
            f"# Is the task completed? {settings.num_trajectories} trajectories of {settings.data.name}",
            "",
            markdown_table(columns, rows),
            "",
            "Accuracy is the share of completed trajectories that a rater calls completed: the likely meaning of "
            "table I of RG-VLM, which whoever always says yes fulfils. False positives are negatives called "
            f"completed. Brackets are {CONFIDENCE:.0%} intervals: Wilson's, combined for balanced accuracy. Seconds "
            "and tokens are means of one trajectory; seconds were measured while the rater answered up to "
            "rater.max_in_flight questions at once. Failed questions count for nothing else.",
            "",
        ]
    )


def _figure(results: Sequence[RaterResult], settings: JudgeSettings) -> Figure:
    """For each case the share that each rater calls completed: right is 1 on the left, 0 everywhere else."""
    cases = (COMPLETED, *settings.negatives)
    figure = Figure(figsize=(8.0, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for index, result in enumerate(results):
        shift = 0.6 * ((index + 0.5) / len(results) - 0.5)
        known = [(x, share) for x, case in enumerate(cases) if (share := result.says_completed(case)) is not None]
        centres = np.array([share.mean for _, share in known])
        errors = np.abs(np.array([[share.low, share.high] for _, share in known]).T.reshape(2, -1) - centres)
        places = [x + shift for x, _ in known]
        colour = COLOURS[index % len(COLOURS)]
        axes.errorbar(places, centres, errors, fmt="o", color=colour, capsize=3, label=result.name)
    axes.set_xticks(range(len(cases)), [case.replace("_", "\n") for case in cases])
    share_axis(axes, "called completed")
    axes.set_title("What raters call completed; should be 100 % on the left, else 0 %", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6, axis="y")
    legend_outside(axes)
    return figure
