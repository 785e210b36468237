"""The table and the figure of offline runs: methods by labeller, two kinds of start, chain lengths, seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.data.metadata import read_info
from orchestrator.errors import SettingsError
from orchestrator.offline.figures import START_LABELS, chains_figure, curve_figure
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.offline.wrong_scores import curve_figure as wrong_scores_figure
from orchestrator.offline.wrong_scores import curve_markdown, longest_curve, reward_form
from orchestrator.reports.figures import save_figure
from orchestrator.reports.intervals import (
    CONFIDENCE,
    LAST_EVALUATIONS,
    Interval,
    bootstrap_interval,
    last_mean,
    ratio_interval,
)
from orchestrator.reports.tables import csv_table, grouped, markdown_table
from orchestrator.runs.layout import FIGURES_FOLDER, chain_metric
from orchestrator.runs.reading import RunData
from orchestrator.storage.writing import write_text

RG_VLM = "rg_vlm"
"""Labellers with this beginning are RG-VLM; one that ends on `_sparse` has joined the sparse reward already."""
CONTROLS = ("random", "truth")
"""Labellers with these beginnings are controls: no model made them."""


@dataclass(frozen=True)
class Method:
    """The runs of one experiment, which differ in their seed only."""

    name: str
    labeller: str
    joins_sparse: bool
    altered: str
    """What was done to the labeller's rewards that the paper does not do, such as `shift -1`; empty if nothing."""
    cloning: bool
    returns: Mapping[str, np.ndarray]
    """By start: the proportion of sub-tasks completed, a value for each seed, in the order of `seeds`."""
    by_length: Mapping[str, Mapping[int, np.ndarray]]
    """By start and chain length, likewise."""
    seeds: tuple[int, ...]
    complete: bool
    form: str = ""
    """Equal for methods that learn in the same way from different labellers: `wrong_scores.reward_form`."""
    wrong_share: float | None = None
    """Share of the scores that are wrong, of the truth; None for other labellers, and if the data set is gone."""

    @property
    def is_rg_vlm(self) -> bool:
        """RG-VLM, with or without the sparse reward."""
        return self.labeller.startswith(RG_VLM) and not self.cloning

    @property
    def is_other_vlm(self) -> bool:
        """Another model's labels: neither RG-VLM nor a control."""
        return not (self.is_rg_vlm or self.cloning or self.labeller == "sparse" or self.labeller.startswith(CONTROLS))

    @property
    def drop(self) -> Interval | None:
        """Share of the return that randomised starts cost."""
        if not {"fixed", "randomised"} <= self.returns.keys() or not self.returns["fixed"].mean():
            return None
        kept = ratio_interval(self.returns["randomised"], self.returns["fixed"], paired=True)
        return Interval(1.0 - kept.mean, 1.0 - kept.high, 1.0 - kept.low)


def write_offline_report(runs: Sequence[RunData], out: Path) -> list[Path]:
    """Write `chains.md`, `chains.csv` and `chains.png` into `out`, and each run's curve into its folder; where several
    shares of wrong scores were learned from, also `wrong_scores.md` and `wrong_scores.png`.

    Raises SettingsError if no run has been evaluated.
    """
    evaluated = [
        run for run in runs if len(run.series(chain_metric(run.experiment.evaluation.starts[0], "proportion")))
    ]
    if not evaluated:
        raise SettingsError(
            "none of these offline runs has been evaluated yet; let one reach evaluation.interval_updates"
        )
    methods = methods_of(evaluated)
    write_text(out / "chains.md", markdown(methods))
    write_text(out / "chains.csv", table_csv(methods))
    returns = {one.name: {s: bootstrap_interval([v]) for s, v in one.returns.items()} for one in methods}
    lengths = {
        one.name: {s: {n: bootstrap_interval([v]) for n, v in by.items()} for s, by in one.by_length.items()}
        for one in methods
    }
    save_figure(chains_figure(returns, lengths), out / "chains.png")
    paths = [out / name for name in ("chains.md", "chains.csv", "chains.png")]
    paths += _write_curve(methods, out)
    for run in evaluated:
        figure = curve_figure(run)
        if figure is not None and isinstance(run.folder, Path):
            paths.append(run.folder / FIGURES_FOLDER / "chains.png")
            save_figure(figure, paths[-1])
    return paths


def _write_curve(methods: Sequence[Method], out: Path) -> list[Path]:
    """`wrong_scores.md` and `wrong_scores.png`, where the truth was learned from with several shares of wrong scores:
    beside it the sparse reward, cloning, and what the rater's scores keep of the gain."""
    start = _start_of(methods)
    shown = [one for one in methods if start in one.returns]
    truth = [one for one in shown if one.wrong_share is not None]
    curve = longest_curve(
        [(one.form, _labels(one).removeprefix(one.labeller), one.wrong_share, one.returns[start]) for one in truth]
    )
    if curve is None:
        return []
    rater = {one.name: one.returns[start] for one in shown if one.is_rg_vlm}
    others = {one.name: one.returns[start] for one in shown if one.cloning or _is_sparse(one)}
    best = dict(sorted(rater.items(), key=lambda item: -item[1].mean())[:1])
    sparse = next((one.returns[start] for one in shown if _is_sparse(one)), None)
    write_text(out / "wrong_scores.md", curve_markdown(curve, rater, sparse, START_LABELS[start]))
    save_figure(wrong_scores_figure(curve, best | others, START_LABELS[start]), out / "wrong_scores.png")
    return [out / "wrong_scores.md", out / "wrong_scores.png"]


def _start_of(methods: Sequence[Method]) -> str:
    """The start as recorded, or the only kind there is."""
    return "fixed" if all("fixed" in one.returns for one in methods) else "randomised"


def _is_sparse(one: Method) -> bool:
    return one.labeller == "sparse" and not one.cloning


def methods_of(runs: Sequence[RunData]) -> list[Method]:
    """Runs by experiment, in the order given. Raises SettingsError if they are judged differently."""
    groups = grouped(runs)
    judged = {name: {run.experiment.evaluation.model_dump_json(exclude={"num_workers", "interval_updates"})
                     for run in group} for name, group in groups.items()}  # fmt: skip
    if len(set.union(*judged.values())) > 1:
        raise SettingsError(
            "these runs are judged by different tasks (evaluation differs between "
            f"{', '.join(sorted(groups))}): compare runs with equal evaluation settings"
        )
    return [_method(name, group) for name, group in groups.items()]


def markdown(methods: Sequence[Method]) -> str:
    """The tables for people, with what their columns mean."""
    rows = []
    for one in methods:
        cells = [str(bootstrap_interval([one.returns[s]])) if s in one.returns else "" for s in START_LABELS]
        drop = f"{one.drop.mean:.0%} [{one.drop.low:.0%}, {one.drop.high:.0%}]" if one.drop else ""
        star = "" if one.complete else "*"
        rows.append([one.name + star, _labels(one), str(len(one.seeds)), *cells, drop])
    lines = [markdown_table(["method", "labels", "seeds", *START_LABELS.values(), "drop"], rows)]
    for start, label in START_LABELS.items():
        lengths = sorted({length for one in methods for length in one.by_length.get(start, ())})
        if lengths:
            found = {one.name: one.by_length.get(start, {}) for one in methods}
            rows = [
                [name, *(str(bootstrap_interval([by[n]])) if n in by else "" for n in lengths)]
                for name, by in found.items()
            ]
            lines += ["", f"By chain length, {label}:", "", markdown_table(["method", *map(str, lengths)], rows)]
    lines += ["", *(f"- {text}" for text in comparisons(methods))]
    return "\n".join(lines).rstrip() + (
        f"\n\nNumbers are the proportion of sub-tasks completed, the mean of the last {LAST_EVALUATIONS} evaluations "
        f"of each run (fewer if there are fewer). In brackets the {CONFIDENCE:.0%} interval of a bootstrap over seeds: "
        "with one seed it is a point, and says nothing. Drop is the share of the return that randomised starts cost. "
        "An asterisk marks runs that have not come to their end.\n"
    )


def comparisons(methods: Sequence[Method]) -> list[str]:
    """The paper's ratios, with the start as recorded (or the only kind there is); those that the runs allow.

    Rewards that were altered have no part in them; they are compared with sparse after them.
    """
    start = _start_of(methods)
    label = START_LABELS[start]

    def best(found: Sequence[Method]) -> Method | None:
        scored = [one for one in found if start in one.returns]
        return max(scored, key=lambda one: one.returns[start].mean(), default=None)

    published = [one for one in methods if not one.altered]
    dense = best([one for one in published if one.is_rg_vlm and not one.joins_sparse])
    joined = best([one for one in published if one.is_rg_vlm and one.joins_sparse])
    sparse = best([one for one in published if one.labeller == "sparse" and not one.cloning])
    other = best([one for one in published if one.is_other_vlm])
    pairs = [
        ("RG-VLM + sparse over RG-VLM", joined, dense, "1.14 times"),
        ("RG-VLM + sparse over the best other VLM labeller", joined, other, "1.12 to 3.15 times"),
        ("RG-VLM + sparse over sparse", joined, sparse, None),
        ("RG-VLM over sparse", dense, sparse, None),
    ]
    for one in methods:
        if one.is_rg_vlm and one.altered:
            pairs.append(
                (f"RG-VLM{' + sparse' if one.joins_sparse else ''}, {one.altered}, over sparse", one, sparse, None)
            )
    found = []
    for text, over, under, theirs in pairs:
        if over is None or under is None or start not in over.returns or not under.returns[start].mean():
            continue
        ratio = ratio_interval(over.returns[start], under.returns[start], paired=False)
        said = f"; published: {theirs}" if theirs else ""
        found.append(f"{text} ({over.name} / {under.name}, {label}): {ratio}{said}")
    return found


def table_csv(methods: Sequence[Method]) -> str:
    """One line for each method, start and chain length (`all` for all), for programs."""
    rows = []
    for one in methods:
        for start, values in one.returns.items():
            for length, scores in [("all", values), *sorted(one.by_length[start].items())]:
                interval = bootstrap_interval([scores])
                rows.append(
                    {
                        "method": one.name,
                        "labeller": one.labeller,
                        "joins_sparse": one.joins_sparse,
                        "start": start,
                        "chain_length": length,
                        "seeds": len(scores),
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                    }
                )
    return csv_table(rows)


def _method(name: str, runs: Sequence[RunData]) -> Method:
    runs = sorted(runs, key=lambda run: run.experiment.seed)
    settings: OfflineExperiment = runs[0].experiment
    reward = settings.data.reward
    starts = settings.evaluation.starts
    return Method(
        name=name,
        labeller=reward.labeller,
        joins_sparse=reward.sparse != "none"
        or (reward.labeller.startswith(RG_VLM) and reward.labeller.endswith("_sparse")),
        altered=", ".join(
            ([f"form {reward.form}"] if reward.form != "scores" else [])
            + [
                f"{what} {value:g}"
                for what, value, usual in (
                    ("middle", reward.middle, 0.0),
                    ("weight", reward.dense_weight, 1.0),
                    ("shift", reward.shift, 0.0),
                )
                if value != usual
            ]
        ),
        cloning=settings.policy.actor_loss == "cloning",
        returns={start: _scores(runs, chain_metric(start, "proportion")) for start in starts},
        by_length={start: _by_length(runs, start) for start in starts},
        seeds=tuple(run.experiment.seed for run in runs),
        complete=all(run.rows[-1]["env_step"] >= run.experiment.total_updates for run in runs),
        form="" if settings.policy.actor_loss == "cloning" else reward_form(settings),
        wrong_share=_wrong_share(settings),
    )


def _wrong_share(settings: OfflineExperiment) -> float | None:
    try:
        labels = read_info(settings.data.path).labels
    except SettingsError:
        return None
    labeller = labels.get(settings.data.reward.labeller, {}).get("labeller", {})
    return labeller["wrong_share"] if labeller.get("kind") == "truth" else None


def _by_length(runs: Sequence[RunData], start: str) -> dict[int, np.ndarray]:
    pattern = re.compile(re.escape(chain_metric(start, "proportion_of_")) + r"(\d+)$")
    found = {int(match[1]) for run in runs for row in run.rows for name in row if (match := pattern.match(name))}
    return {length: _scores(runs, chain_metric(start, f"proportion_of_{length}")) for length in sorted(found)}


def _scores(runs: Sequence[RunData], metric: str) -> np.ndarray:
    return np.array([last_mean(run.series(metric).values) for run in runs])


def _labels(one: Method) -> str:
    if one.cloning:
        return "none: behaviour cloning"
    joined = " + sparse" if one.joins_sparse and not one.labeller.endswith("_sparse") else ""
    return one.labeller + joined + (f", {one.altered}" if one.altered else "")
