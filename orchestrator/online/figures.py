"""Figures of one online run and of several, drawn from run folders alone."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.errors import LikertError
from orchestrator.online.pictures.rated_frames import chosen_frames, frames_table, rated_frames_figure
from orchestrator.online.pictures.rating_shares import words_of
from orchestrator.reports.figures import (
    COLOURS,
    dress,
    legend_outside,
    level_shades,
    one_axes,
    save_figure,
    share_axis,
    steps_axis,
)
from orchestrator.reports.intervals import CONFIDENCE, bootstrap_interval
from orchestrator.runs.layout import (
    ACCURACIES,
    EVAL_DONE,
    EVAL_DONE_LAST_STEP,
    EVAL_RETURN,
    EVAL_SUCCESS,
    EVAL_SUCCESS_LAST_STEP,
    FIGURES_FOLDER,
    RATING_LEVEL,
)
from orchestrator.runs.reading import RunData, Series
from orchestrator.settings.experiment import Experiment
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import write_text

CONTROL_STYLES = {"random": ("random policy", ":"), "untrained": ("untrained policy", "--")}
DONE_LABEL = "done at the last step"
EVALUATION_STYLES = {
    EVAL_SUCCESS: ("success at any step", "-o", COLOURS[0]),
    EVAL_SUCCESS_LAST_STEP: ("success at the last step", "-s", COLOURS[1]),
    EVAL_DONE: ("done at any step", "-.^", COLOURS[2]),
    EVAL_DONE_LAST_STEP: (DONE_LABEL, "-.v", COLOURS[3]),
}
"""What a run's figure shows of its evaluations: label, style and colour. Done is told of some tasks only."""
RETURN_STYLE = {EVAL_RETURN: ("return of the environment's own rewards", "-o", COLOURS[0])}
COUNTS = {"any": "at any step", "end": "at the end", "held": "held to the end"}
"""When a success counts, by what a task says."""
SOURCES = {
    "ratings": "",
    "preferences": ", by preferences",
    "scores": ", levels as rewards",
    "similarity": ", similarity as reward",
    "sparse": ", success as reward (privileged)",
    "environment": ", the world's own reward (privileged)",
}
"""What a figure's title says of where the reward came from."""
CONTROLLED = {"none": "", "shuffled": ", shuffled ratings", "true_stage": ", true stages (privileged)"}
"""The same of a control, where a reward model learns."""
MOST_WITH_DONE = 3
"""Experiments of one panel whose episodes' last step has a line of its own."""
NUM_BINS = 10
STEPS = "environment steps"


def draw_run_figures(run: RunData) -> list[Path]:
    """Draw every figure that the run has data for into its folder, and return their paths, with those of tables."""
    figures = {
        "success.png" if run.experiment.task.knows_success else "return.png": success_figure(run),
        "ratings.png": ratings_figure(run),
        "reward_and_progress.png": progress_figure(run),
        "accuracy.png": accuracy_figure(run),
    }
    frames, words = chosen_frames(run), words_of(run)
    if frames:
        figures["rated_frames.png"] = rated_frames_figure(frames, words, _title(run))
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths.append(run.folder / FIGURES_FOLDER / name)
            save_figure(figure, paths[-1])
    if frames:
        paths.append(run.folder / FIGURES_FOLDER / "rated_frames.csv")
        write_text(paths[-1], frames_table(frames, words))
    return paths


def draw_at_end(
    folder: Path, experiment: Experiment, address: Path | RemotePath, note: Callable[[str], None]
) -> list[Path]:
    """`draw_run_figures` of the run in `folder`, known to others by `address`, once all else of it is saved.

    A fault in drawing does not make a failed run of a finished one: it is noted, with how to draw again.
    """
    try:
        return draw_run_figures(RunData.of(folder, experiment))
    except LikertError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the run itself is done.
        what = f"{type(error).__name__}: {error}"
        note(
            f"the run is done and saved, but its figures could not be drawn ({what}). To draw them: "
            f"likert report {address}"
        )
        return []


def success_figure(run: RunData) -> Figure | None:
    """Success and, where it is known, done at any step and at the last step, with the controls as lines; where success
    is unknown, the return."""
    task = run.experiment.task
    score = EVAL_SUCCESS if task.knows_success else EVAL_RETURN
    if not len(run.series(score)):
        return None
    num_episodes = run.experiment.evaluation.num_episodes
    what = "success" if task.knows_success else "return"
    figure, axes = _over_steps(f"{_title(run)}: {what} in {num_episodes} evaluation episodes")
    styles = EVALUATION_STYLES if task.knows_success else RETURN_STYLE
    for metric, (label, style, colour) in styles.items():
        if metric == EVAL_SUCCESS:
            label = f"success {COUNTS[task.success_counts]}"
        if len(series := run.series(metric)):
            axes.plot(series.env_steps, series.values, style, color=colour, markersize=4, label=label)
    _control_lines(axes, run.controls(score))
    _score_axes(axes, score)
    return figure


def ratings_figure(run: RunData) -> Figure | None:
    """Ratings of each level, or preferences, in each feedback session, stacked."""
    words = run.experiment.scale.words
    num_ratings = len(words)
    levels = [run.series(RATING_LEVEL.format(number=number + 1)) for number in range(num_ratings)]
    steps = np.unique(np.concatenate([level.env_steps for level in levels]))
    if not len(steps):
        return None
    counts = np.stack([_at(level, steps) for level in levels])
    figure, axes = _over_steps(
        f"{_title(run)}: ratings in each {'feedback session' if run.experiment.learns_reward else 'round'}"
    )
    width = 0.8 * (np.min(np.diff(steps)) if len(steps) > 1 else steps[0] or 1)
    shades = level_shades(num_ratings)
    bottom = np.zeros(len(steps))
    for count, word, colour in zip(counts, words, shades, strict=True):
        axes.bar(steps, count, width, bottom, color=colour, label=word)
        bottom += count
    axes.set_ylabel("ratings")
    legend_outside(axes, reverse=True)
    return figure


def progress_figure(run: RunData) -> Figure | None:
    """Learned reward against true progress: the scored frames, and the mean in tenths of progress."""
    data = run.progress()
    if not data or not len(data["learned_reward"]):
        return None
    progress, reward = data["true_progress"], data["learned_reward"]
    name = "learned reward" if run.experiment.learns_reward else "reward"
    figure, axes = one_axes(f"{_title(run)}: {name} against true progress")
    points = axes.scatter(
        progress, reward, s=8, c=data["env_step"] / 1000, cmap="viridis", alpha=0.5, linewidths=0, rasterized=True
    )
    figure.colorbar(points, ax=axes, label="frame seen at (thousand env steps)")
    centres, means = _binned(progress, reward)
    axes.plot(centres, means, "-o", color=COLOURS[1], markersize=4, label="mean in a tenth of progress")
    axes.set_xlabel("true progress (0 at the start, 1 when the task is done)")
    axes.set_ylabel(name)
    correlation = _correlation(progress, reward)
    if correlation is not None:
        axes.plot([], [], " ", label=f"correlation {correlation:.2f}, {len(reward):,} frames")
    axes.legend(frameon=False, loc="best")
    return figure


def accuracy_figure(run: RunData) -> Figure | None:
    """How far the reward model agrees with the ratings, and these with the simulator, over environment steps."""
    known = [(label, run.series(metric)) for metric, label in ACCURACIES.items()]
    drawn = [(label, series) for label, series in known if len(series)]
    if not drawn:
        return None
    figure, axes = _over_steps(f"{_title(run)}: accuracy of ratings and reward model")
    for (label, series), colour in zip(drawn, COLOURS, strict=False):
        axes.plot(series.env_steps, series.values, "-o", color=colour, markersize=4, label=label)
    share_axis(axes, "accuracy")
    axes.legend(frameon=False, loc="lower right")
    return figure


def comparison_figure(groups: dict[str, list[RunData]]) -> Figure:
    """Mean success of each group over environment steps with its interval over seeds; a panel for each task. Where
    success is unknown, the mean return."""
    all_tasks = [run.experiment.task for runs in groups.values() for run in runs]
    scores = {task.name: EVAL_SUCCESS if task.knows_success else EVAL_RETURN for task in all_tasks}
    counts = {task.name: COUNTS[task.success_counts] for task in all_tasks}
    tasks = list(scores)
    figure = Figure(figsize=(8.0, 4.2 * len(tasks)), dpi=120, layout="constrained")
    for task, axes in zip(tasks, figure.subplots(len(tasks), squeeze=False)[:, 0], strict=True):
        what = f"success {counts[task]}" if scores[task] == EVAL_SUCCESS else "return"
        dress(axes, f"{task}: {what}; bands are {CONFIDENCE:.0%} intervals over seeds")
        steps_axis(axes, STEPS)
        of_task = {
            name: chosen
            for name, runs in groups.items()
            if (chosen := [run for run in runs if run.experiment.task.name == task])
        }
        _compare(axes, of_task, scores[task])
    return figure


def _compare(axes: Axes, groups: dict[str, list[RunData]], score: str) -> None:
    # Of more, the table alone tells what is done at the end: twice as many lines would be unreadable.
    few = len(groups) <= MOST_WITH_DONE
    for index, (name, runs) in enumerate(groups.items()):
        colour = COLOURS[index % len(COLOURS)]
        steps, scores = _common(runs, score)
        intervals = [bootstrap_interval([column]) for column in scores.T]
        privileged = ", privileged" * any(run.experiment.is_told_truth for run in runs)
        label = f"{name} ({len(runs)} {'seed' if len(runs) == 1 else 'seeds'}{privileged})"
        axes.plot(steps, [one.mean for one in intervals], "-o", color=colour, markersize=4, label=label)
        low, high = [one.low for one in intervals], [one.high for one in intervals]
        axes.fill_between(steps, low, high, color=colour, alpha=0.15 if few else 0.07, linewidth=0)
        if few and all(len(run.series(EVAL_DONE_LAST_STEP)) for run in runs):
            steps, scores = _common(runs, EVAL_DONE_LAST_STEP)
            axes.plot(steps, scores.mean(axis=0), "-.", color=colour, linewidth=1.2, label=f"{name}: {DONE_LABEL}")
    controls = [run.controls(score) for runs in groups.values() for run in runs]
    names = {name for one in controls for name in one}
    _control_lines(axes, {name: float(np.mean([one[name] for one in controls if name in one])) for name in names})
    _score_axes(axes, score)


def _over_steps(title: str) -> tuple[Figure, Axes]:
    figure, axes = one_axes(title)
    steps_axis(axes, STEPS)
    return figure, axes


def _score_axes(axes: Axes, score: str) -> None:
    if score == EVAL_SUCCESS:
        share_axis(axes, "episodes with success")
    else:
        axes.set_ylabel("return of an episode")
    legend_outside(axes)


def _control_lines(axes: Axes, controls: dict[str, float]) -> None:
    for name, (label, style) in CONTROL_STYLES.items():
        if name in controls:
            axes.axhline(controls[name], color="0.4", linestyle=style, linewidth=1.2, label=label)


def _title(run: RunData) -> str:
    experiment = run.experiment
    control = CONTROLLED[experiment.feedback.control] if experiment.learns_reward else ""
    kind = control or SOURCES.get(experiment.reward.source, ", reward by hand (privileged)")
    return f"{experiment.task.name}, seed {experiment.seed}{kind}"


def _at(series: Series, steps: np.ndarray) -> np.ndarray:
    """Values at `steps`, 0 where there is none."""
    values = np.zeros(len(steps))
    values[np.searchsorted(steps, series.env_steps)] = series.values
    return values


def _binned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres and means of the bins over [0, 1] that hold something."""
    bins = np.clip((x * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    held = [index for index in range(NUM_BINS) if np.any(bins == index)]
    centres = np.array([(index + 0.5) / NUM_BINS for index in held])
    return centres, np.array([float(np.mean(y[bins == index])) for index in held])


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's, or None where one side does not vary."""
    if len(x) < 2 or np.std(x) == 0 or np.std(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _common(runs: Sequence[RunData], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [N] at which every run has the metric, and its values [runs, N].

    Where episodes differ in length runs are evaluated some steps apart: then those count together that were due at the
    same point, at the mean of their steps.
    """
    series = [run.series(metric) for run in runs]
    exact = [one.env_steps for one in series]
    due = [one.env_steps // run.experiment.evaluation.interval_env_steps for one, run in zip(series, runs, strict=True)]
    steps, points = max(
        ((functools.reduce(np.intersect1d, one), one) for one in (exact, due)), key=lambda one: len(one[0])
    )
    # Of several at one point the last.
    last = [{point: place for place, point in enumerate(one.tolist())} for one in points]
    places = [[known[step] for step in steps.tolist()] for known in last]
    found = np.stack([one.env_steps[at] for one, at in zip(series, places, strict=True)])
    return found.mean(axis=0), np.stack([one.values[at] for one, at in zip(series, places, strict=True)])
