"""Tables and figures of online runs, from their folders."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from orchestrator.errors import SettingsError
from orchestrator.kinds import write_report
from orchestrator.online.figures import (
    accuracy_figure,
    comparison_figure,
    draw_at_end,
    draw_run_figures,
    progress_figure,
    ratings_figure,
    success_figure,
)
from orchestrator.online.report import control_lines, result_line, write_people
from orchestrator.reports.tables import grouped
from orchestrator.storage.writing import write_arrays
from tests.fakes.rated_by_people import answer, say


def test_result_line_by_hand(make_run):
    runs = [make_run(seed=0, successes=(0.0, 0.3, 0.6, 0.9)), make_run(seed=1, successes=(1.0, 1.0, 1.0))]
    line = result_line("demo", runs)
    # Last three of the first: (0.3 + 0.6 + 0.9) / 3 = 0.6; of the second 1; their mean 0.8.
    assert line.success.mean == pytest.approx(0.8)
    assert line.worst_seed == pytest.approx(0.6)
    assert line.success_last_step.mean == pytest.approx(0.4)
    assert line.ratings == (200 + 150) / 2
    assert (line.num_seeds, line.task, line.env_steps, line.complete) == (2, "drawer_close", 3000, True)
    assert not result_line("demo", [make_run(seed=2, successes=(1.0,))]).complete


def test_control_lines_count_each_seed_once(make_run):
    runs = [
        make_run("demo", 0, random=0.1),
        make_run("demo", 1, random=0.5),
        make_run("demo-shuffled", 0, random=0.1),
        make_run("other", 0, random=None, task="door_close"),
    ]
    (line,) = control_lines(runs)
    assert (line.group, line.task, line.num_seeds) == ("random policy", "drawer_close", 2)
    assert line.success.mean == pytest.approx(0.3)
    assert line.success_last_step.mean == pytest.approx(0.15)


def test_report(make_run, tmp_path):
    for seed in range(3):
        make_run("demo", seed, successes=(0.5, 0.9, 1.0))
        make_run("demo-shuffled", seed, successes=(0.1, 0.2, 0.0), random=None)
    paths = write_report([tmp_path / "runs"], tmp_path / "out")
    assert {path.name for path in paths} == {
        "success.png", "ratings.png", "accuracy.png", "results.md", "results.csv", "rating_shares.png",
        "rating_shares.csv",
    }  # fmt: skip
    table = (tmp_path / "out" / "results.md").read_text().splitlines()
    assert table[2] == "| demo | drawer_close | 3 | 0.80 [0.80, 0.80] | 0.80 | 0.40 [0.40, 0.40] | 150 | 3,000 |"
    assert table[3].startswith("| demo-shuffled | drawer_close | 3 | 0.10 [0.10, 0.10] |")
    assert table[4].startswith("| random policy | drawer_close | 3 | 0.20 [0.20, 0.20] |")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "results.csv").read_text())))
    assert [row["experiment"] for row in rows] == ["demo", "demo-shuffled", "random policy"]
    assert float(rows[0]["success_low"]) == pytest.approx(0.8)
    assert Image.open(tmp_path / "out" / "success.png").size[0] > 800


def test_done_stands_beside_both_successes_where_every_run_tells_it(make_run, tmp_path):
    make_run("told", 0, done=(0.2, 0.8, 0.8))
    make_run("told", 1, done=(0.4, 1.0, 1.0))
    make_run("half", 0, done=(0.2, 0.8, 0.8))
    make_run("half", 1)
    # Went on with a version that tells it: of its last three evaluations only two do.
    make_run("late", 0, done=(None, 0.8, 0.8))
    write_report([tmp_path / "runs"], tmp_path / "out")
    header, _, half, late, told, control = (tmp_path / "out" / "results.md").read_text().splitlines()[:6]
    columns = [name.strip() for name in header.split("|")]
    assert columns[6:9] == ["success at the last step", "done at any step", "done at the last step"]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")] for line in (half, late, told)}
    # Means of 0.6 and 0.8; at the last step, the tests' runs have a tenth less.
    assert cells["told"][7].startswith("0.70 [") and cells["told"][8].startswith("0.60 [")
    assert cells["half"][7:9] == cells["late"][7:9] == ["", ""] and "| random policy |" in control
    assert "some tasks take back while the thing is done" in (tmp_path / "out" / "results.md").read_text()
    rows = {row["experiment"]: row for row in csv.DictReader((tmp_path / "out" / "results.csv").open())}
    assert float(rows["told"]["done"]) == pytest.approx(0.7) and rows["half"]["done"] == ""


def test_no_column_of_done_where_no_run_tells_it(make_run, tmp_path):
    make_run("demo", 0)
    write_report([tmp_path / "runs"], tmp_path / "out")
    assert "done" not in (tmp_path / "out" / "results.md").read_text()
    assert "done" not in (tmp_path / "out" / "results.csv").read_text()


def test_report_marks_unfinished_runs_and_leaves_out_unevaluated_ones(make_run, tmp_path):
    make_run("demo", 0, successes=(0.5,))
    make_run("demo", 1, successes=())
    write_report([tmp_path / "runs"], tmp_path / "out")
    assert "| demo* | drawer_close | 1 | 0.50" in (tmp_path / "out" / "results.md").read_text()


def test_report_of_runs_without_evaluation(make_run, tmp_path):
    run = make_run(successes=(), random=None)
    with pytest.raises(SettingsError, match="none of these runs has been evaluated yet"):
        write_report([run.folder], tmp_path / "out")


def test_a_fault_in_drawing_is_a_note_and_the_run_is_done(make_run):
    run, notes = make_run(), []
    # A file stands where the figures' folder belongs.
    (run.folder / "figures").write_text("mine")
    assert draw_at_end(run.folder, run.experiment, run.folder, notes.append) == []
    (told,) = notes
    assert "is done and saved" in told and "FileExistsError" in told and told.endswith(f"likert report {run.folder}")
    (run.folder / "figures").unlink()
    assert len(draw_at_end(run.folder, run.experiment, run.folder, notes.append)) == 3 and len(notes) == 1


def test_figures_of_a_run_that_has_just_begun(make_run):
    run = make_run(successes=(), random=None)
    assert draw_run_figures(run) == []


def drawn(figure):
    """Lines of a figure's legend."""
    (axes, *_) = figure.axes
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_success_figure_shows_curves_and_controls(make_run):
    figure = success_figure(make_run())
    assert drawn(figure) == ["success at any step", "success at the last step", "random policy"]
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == [0.0, 0.5, 1.0]
    assert axes.lines[1].get_ydata().tolist() == [0.0, 0.25, 0.5]


def test_figures_show_done_where_it_is_told(make_run):
    run = make_run(done=(0.2, 0.8, 0.9))
    figure = success_figure(run)
    assert drawn(figure)[:4] == [
        "success at any step", "success at the last step", "done at any step", "done at the last step",
    ]  # fmt: skip
    assert figure.axes[0].lines[2].get_ydata().tolist() == [0.2, 0.8, 0.9]
    several = comparison_figure(grouped([run, make_run(seed=1, done=(0.4, 0.6, 0.7))]))
    assert "demo: done at the last step" in drawn(several)
    assert several.axes[0].lines[1].get_ydata() == pytest.approx([0.2, 0.6, 0.7])


def test_of_many_experiments_only_the_table_tells_what_is_done_at_the_end(make_run):
    runs = [make_run(name, done=(0.2, 0.8, 0.9)) for name in "abcd"]
    assert not any("done at" in label for label in drawn(comparison_figure(grouped(runs))))
    assert sum("done at" in label for label in drawn(comparison_figure(grouped(runs[:3])))) == 3


def test_a_comparison_says_which_runs_are_privileged(make_run):
    run = make_run("told")
    reward = run.experiment.reward.model_copy(update={"source": "sparse"})
    told = replace(run, experiment=run.experiment.model_copy(update={"reward": reward}))
    labels = drawn(comparison_figure(grouped([told, make_run("asked")])))
    assert {"told (1 seed, privileged)", "asked (1 seed)"} <= set(labels)


def test_ratings_figure_stacks_the_levels(make_run):
    figure = ratings_figure(make_run())
    assert drawn(figure) == ["Good", "Average", "Bad"]
    (axes,) = figure.axes
    worst, middle, best = axes.containers
    assert [bar.get_height() for bar in best] == [5, 6, 7]
    assert [bar.get_y() for bar in best] == [45, 44, 43]
    assert [bar.get_height() for bar in worst] == [30, 29, 28] and len(middle) == 3


def test_progress_figure_shows_points_means_and_correlation(make_run):
    run = make_run()
    assert progress_figure(run) is None
    write_arrays(
        run.folder / "progress.npz",
        {
            "env_step": np.array([1000, 1000, 2000, 2000]),
            "true_progress": np.array([0.0, 0.02, 0.98, 1.0], dtype=np.float32),
            "learned_reward": np.array([-1.0, -0.5, 0.5, 1.0], dtype=np.float32),
        },
    )
    figure = progress_figure(run)
    axes = figure.axes[0]
    # Two bins of ten hold frames: the first with mean -0.75, the last with 0.75.
    assert axes.lines[0].get_xdata() == pytest.approx([0.05, 0.95])
    assert axes.lines[0].get_ydata() == pytest.approx([-0.75, 0.75])
    # Deviations of progress from 0.5 are -.5 -.48 .48 .5 and of reward -1 -.5 .5 1: 1.48 / sqrt(0.9608 * 2.5).
    assert "correlation 0.95, 4 frames" in drawn(figure)


def test_progress_figure_without_variation_names_no_correlation(make_run):
    run = make_run()
    arrays = {"env_step": np.ones(3), "true_progress": np.linspace(0, 1, 3), "learned_reward": np.zeros(3)}
    write_arrays(run.folder / "progress.npz", arrays)
    assert drawn(progress_figure(run)) == ["mean in a tenth of progress"]
    write_arrays(run.folder / "progress.npz", {name: array[:0] for name, array in arrays.items()})
    assert progress_figure(run) is None


def test_accuracy_figure_shows_what_was_logged(make_run):
    assert drawn(accuracy_figure(make_run())) == ["reward model, of the ratings it learns from"]


def test_comparison_has_a_panel_for_each_task_and_a_band_for_each_group(make_run):
    runs = [
        make_run("a", 0, successes=(0.0, 0.4)),
        make_run("a", 1, successes=(0.2, 0.6, 0.9)),
        make_run("b", 0, task="door_close", random=None),
    ]
    figure = comparison_figure(grouped(runs))
    first, second = figure.axes
    # Only steps that every seed has been evaluated at.
    assert first.lines[0].get_xdata().tolist() == [1000, 2000]
    assert first.lines[0].get_ydata() == pytest.approx([0.1, 0.5])
    assert len(first.collections) == 1
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["a (2 seeds)", "random policy"]
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["b (1 seed)"]


def test_evaluations_that_were_due_together_count_together(make_run):
    runs = [make_run("a", 0, successes=(0.0, 0.4, 0.9)), make_run("a", 1, successes=(0.2, 0.6))]
    for run, offset in zip(runs, (40, 60), strict=True):
        for row in run.rows:
            # Where episodes differ in length, an evaluation waits for the last of them.
            row["env_step"] += offset if row["env_step"] else 0
    every = runs[0].experiment.evaluation.model_copy(update={"interval_env_steps": 1000})
    runs = [replace(run, experiment=run.experiment.model_copy(update={"evaluation": every})) for run in runs]
    (axes,) = comparison_figure(grouped(runs)).axes
    assert axes.lines[0].get_xdata().tolist() == [1050, 2050]
    assert axes.lines[0].get_ydata() == pytest.approx([0.1, 0.5])


def test_agreement_is_told_of_what_these_runs_ask_where_people_have_rated(make_run, tmp_path):
    store = tmp_path / "people_ratings"
    run = make_run("demo", 0, (0.5,), 0.2, "drawer_close", 3000, f"ratings_folder={store}")
    answer(store, [0, 1, 2, 0], run="demo-seed0")
    assert write_people([run], tmp_path / "out") == [], "nobody has rated"
    say(store, "Ada", [0, 1, 1, 0])
    assert [path.name for path in write_people([run], tmp_path / "out")] == [
        "agreement.md", "agreement.csv", "agreement.png",
    ]  # fmt: skip
    assert "| Ada and sha256:abc | 4 | 0.75 [" in (tmp_path / "out" / "agreement.md").read_text()
    # Others' questions on another task, and on another scale of words, are not of this run.
    other = make_run("other", 0, (0.5,), 0.2, "door_close", 3000, f"ratings_folder={store}")
    assert write_people([other], tmp_path / "out") == []
    coarse = make_run(
        "coarse", 0, (0.5,), 0.2, "drawer_close", 3000, f"ratings_folder={store}", "feedback.num_ratings=2"
    )
    assert write_people([coarse], tmp_path / "out") == []
