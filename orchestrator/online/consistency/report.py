"""Table and figure of a rater's consistency on scales of 2 to 5 levels, and the scale that they speak for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from algorithms.scales import SCALE_WORDS
from algorithms.soft_labels import fitted_temperature, likeliest, merged
from orchestrator.online.consistency.measures import agreement_of_repeats, falls, order, recommended
from orchestrator.online.consistency.trajectories import Trajectory
from orchestrator.reports.figures import COLOURS, dress, save_figure
from orchestrator.reports.intervals import CONFIDENCE, Interval, bootstrap_interval, interval_columns, wilson_interval
from orchestrator.reports.tables import csv_table, markdown_table
from orchestrator.storage.writing import write_text


@dataclass(frozen=True)
class Rated:
    """What a rater said of one trajectory's frames on one scale."""

    scale: int
    """Number of levels."""
    trajectory: Trajectory
    levels: np.ndarray
    """[R, F] int64 of R rounds of questions, from 0."""
    probabilities: np.ndarray | None
    """[F, n]: of the first round; None if the rater tells none."""
    stages: np.ndarray | None
    """[F] int64: the level that would be right by the simulator, -1 where that is not known; None if nowhere."""

    @property
    def truth(self) -> np.ndarray:
        """[F]: true progress, or where that is unknown time."""
        return self.trajectory.steps if self.trajectory.progress is None else self.trajectory.progress

    @property
    def order(self) -> float:
        """See `measures.order`, of the mean over rounds."""
        return order(self.levels.mean(axis=0), self.truth)


@dataclass(frozen=True)
class Line:
    """What the table says of a scale."""

    num_ratings: int
    order: Interval
    falls: Interval
    repeats: float | None
    """Share of pairs of rounds in which a frame has one level; None of a single round."""
    success: Interval | None
    """Share of frames of which the top level was said where the success flag was up, and another where it was not."""
    stage: Interval | None
    """Share of frames of which the right level was said."""
    from_finest: Interval | None
    """Share of frames of which the answer on the finest scale, merged, is the level that was said."""
    finest_order: float | None
    """Mean `order` of levels made so."""
    shares: tuple[float, ...]
    """Of each level among the ratings."""
    temperature: float | None
    """At which the probabilities fit the true levels best; None where either is unknown."""


def line_of(rated: Sequence[Rated], finest: Sequence[Rated] | None) -> Line:
    """Sum up a scale; `finest` are the same trajectories on the scale from which it might be made, if there is one."""
    num_ratings = _scale_of(rated)
    levels = np.concatenate([one.levels.ravel() for one in rated])
    fell = [falls(round_, one.truth) for one in rated for round_ in one.levels]
    rounds = len(rated[0].levels)
    made = None if finest is None else [likeliest(merged(one.probabilities, num_ratings)) for one in finest]
    pairs = [] if made is None else list(zip(made, rated, strict=True))
    return Line(
        num_ratings=num_ratings,
        order=bootstrap_interval([np.array([one.order for one in rated])]),
        falls=wilson_interval(sum(number for number, _ in fell), max(1, sum(of for _, of in fell))),
        repeats=float(np.mean([agreement_of_repeats(one.levels) for one in rated])) if rounds > 1 else None,
        success=_share(
            (one.levels == num_ratings - 1) == one.trajectory.successes
            for one in rated
            if one.trajectory.successes is not None
        ),
        stage=_share((one.levels == one.stages)[:, one.stages >= 0] for one in rated if one.stages is not None),
        from_finest=_share(found == one.levels[0] for found, one in pairs),
        finest_order=float(np.mean([order(found, one.truth) for found, one in pairs])) if pairs else None,
        shares=tuple(float(np.mean(levels == level)) for level in range(num_ratings)),
        temperature=_temperature(rated),
    )


def _temperature(rated: Sequence[Rated]) -> float | None:
    known = [one for one in rated if one.stages is not None and one.probabilities is not None]
    levels = [one.stages[one.stages >= 0] for one in known]
    if not sum(map(len, levels)):
        return None
    probabilities = [one.probabilities[one.stages >= 0] for one in known]
    return fitted_temperature(np.concatenate(probabilities), np.concatenate(levels))


def write_consistency(rated: dict[int, list[Rated]], about: str, out: Path) -> tuple[list[Path], int, str]:
    """Write `consistency.md`, `.csv` and `.png` into `out`. Returns their paths, the recommended scale, and why."""
    most = max(rated)
    finest = rated[most] if all(one.probabilities is not None for one in rated[most]) else None
    lines = [line_of(found, finest if number < most else None) for number, found in sorted(rated.items())]
    number, why = recommended({n: [one.order for one in found] for n, found in rated.items()})
    write_text(out / "consistency.md", _page(lines, about, number, why))
    write_text(out / "consistency.csv", csv_table([_record(line, max(rated)) for line in lines]))
    save_figure(_figure(rated), out / "consistency.png")
    return [out / f"consistency.{ending}" for ending in ("md", "csv", "png")], number, why


def _scale_of(rated: Sequence[Rated]) -> int:
    (number,) = {one.scale for one in rated}
    return number


def _share(found) -> Interval | None:
    hits = [np.asarray(one).ravel() for one in found]
    joined = np.concatenate(hits) if hits else np.zeros(0)
    return wilson_interval(int(joined.sum()), len(joined)) if len(joined) else None


def _page(lines: Sequence[Line], about: str, number: int, why: str) -> str:
    header = ["levels", "follows the task (tau)", "falls", "equal repeats", "top level is success", "right stage"]
    header += ["made of the finest: same level", "tau of those", "temperature", "share of each level, worst first"]
    rows = [
        [
            str(line.num_ratings),
            str(line.order),
            str(line.falls),
            "" if line.repeats is None else f"{line.repeats:.2f}",
            str(line.success or ""),
            str(line.stage or ""),
            str(line.from_finest or ""),
            "" if line.finest_order is None else f"{line.finest_order:.2f}",
            "" if line.temperature is None else f"{line.temperature:.2f}",
            ", ".join(f"{share:.2f}" for share in line.shares),
        ]
        for line in lines
    ]
    return (
        f"# Which number of levels\n\n{about}\n\n**Recommended: `feedback.num_ratings={number}`.** {why}.\n\n"
        f"{markdown_table(header, rows)}\n\n"
        "Tau is Kendall's tau-b between a frame's level and true progress, or time where progress is unknown, the mean "
        "over trajectories: 1 if every pair of frames is in the right order and told apart. Falls are neighbouring "
        "frames of which the later one has a lower level, though the truth does not fall. In brackets intervals of "
        f"{CONFIDENCE:.0%}: of tau a bootstrap over trajectories, of shares Wilson's over frames, which are alike "
        "within a trajectory, so that these are narrower than they should be. Levels made of the finest scale share "
        "its probabilities out by equal parts of the way from worst to best; nothing is asked for them. Temperature is "
        "that at which the probabilities fit the true levels best, for `feedback.label_temperature`: above 1 the rater "
        "is surer than it is right, below 1 less sure.\n"
    )


def _record(line: Line, most: int) -> dict[str, object]:
    shares = dict.fromkeys((f"share_{level + 1}" for level in range(most)), None)
    intervals = {"tau": line.order, "falls": line.falls, "success": line.success, "stage": line.stage}
    intervals["from_finest"] = line.from_finest
    return {
        "levels": line.num_ratings,
        **interval_columns(intervals),
        "repeats": line.repeats,
        "finest_tau": line.finest_order,
        "temperature": line.temperature,
        **shares,
        **{f"share_{level + 1}": share for level, share in enumerate(line.shares)},
    }


def _figure(rated: dict[int, list[Rated]]) -> Figure:
    figure = Figure(figsize=(9.0, 2.4 * len(rated)), dpi=120, layout="constrained")
    panels = figure.subplots(len(rated), 1, squeeze=False, sharex=True)[:, 0]
    known = all(one.trajectory.progress is not None for found in rated.values() for one in found)
    for axes, (number, found) in zip(panels, sorted(rated.items()), strict=True):
        dress(axes, f"{number} levels")
        for index, one in enumerate(found):
            x = one.truth if known else one.truth / max(1, one.truth[-1])
            # A little apart, or trajectories that agree would hide one another.
            axes.plot(
                x,
                one.levels[0] + 0.04 * (index - (len(found) - 1) / 2),
                "-o",
                color=COLOURS[index % len(COLOURS)],
                markersize=3,
                linewidth=1,
                label=f"trajectory {index + 1}",
            )
        axes.set_yticks(range(number), SCALE_WORDS[number])
        axes.set_ylim(-0.4, number - 0.6)
    panels[-1].set_xlabel("true progress" if known else "share of the trajectory's time")
    panels[0].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
