"""Shares of levels over time, and examples of frames by rating, from run folders."""

import csv
import io
import json

import numpy as np
import pytest

from algorithms.images import encode_png
from algorithms.ratings import Rating, RatingFailure, TaskText
from algorithms.scales import RatingScale
from orchestrator.online.figures import draw_run_figures
from orchestrator.online.pictures.rated_frames import chosen_frames, rated_frames_figure
from orchestrator.online.pictures.rating_shares import (
    panels_of,
    shares_figure,
    stretches_of,
    words_of,
    write_rating_shares,
)
from orchestrator.ratings.question import Question, rating_request
from orchestrator.ratings.service import SessionAnswers
from orchestrator.runs.folder import FRAMES_PER_LEVEL, RunFolder
from orchestrator.storage.writing import append_json_line


def log(run, step, *counts):
    """Ratings of each level in a session at `step`."""
    row = {"env_step": step, "time": 3.0, **{f"rating/level_{level + 1}": n for level, n in enumerate(counts)}}
    append_json_line(run.folder / "metrics.jsonl", row)
    return type(run).of(run.folder, run.experiment)


def test_a_run_with_more_ratings_does_not_weigh_more(make_run):
    every = "feedback.interval_env_steps=1000"
    first = log(make_run("one", 0, (), None, "drawer_close", 3000, every), 1000, 8, 2, 0)
    second = log(make_run("one", 1, (), None, "drawer_close", 3000, every), 1400, 0, 0, 30)
    second = log(second, 2100, 1, 1, 2)
    early, late = stretches_of([first, second])
    assert (early.start, early.end, early.num_runs, early.ratings) == (1000, 2000, 2, 20.0)
    np.testing.assert_allclose(early.shares, [0.4, 0.1, 0.5])
    assert (late.start, late.num_runs) == (2000, 1)
    np.testing.assert_allclose(late.shares, [0.25, 0.25, 0.5])


def test_many_sessions_are_taken_together(make_run):
    run = make_run("one", 0, (), None, "drawer_close", 200_000, "feedback.interval_env_steps=1000")
    for step in range(1000, 200_000, 1000):
        append_json_line(
            run.folder / "metrics.jsonl", {"env_step": step, "time": 1.0, "rating/level_1": 1, "rating/level_2": 3}
        )
    stretches = stretches_of([type(run).of(run.folder, run.experiment)])
    # 200 sessions in at most 40 bars: five together, of which the first lacks one.
    assert len(stretches) == 40 and {one.end - one.start for one in stretches} == {5000}
    assert [one.ratings for one in stretches[:2]] == [16.0, 20.0]
    np.testing.assert_allclose(stretches[7].shares, [0.25, 0.75, 0.0])


def test_runs_of_other_tasks_and_scales_have_panels_of_their_own(make_run, tmp_path):
    runs = [make_run("a", 0), make_run("a", 1, (0.5,), 0.2, "door_close")]
    five = log(make_run("b", 0, (0.1,), 0.2, "drawer_close", 3000, "feedback.num_ratings=5"), 1000, 1, 1, 1, 1, 6)
    nobody = make_run("c", 0, (), None)
    panels = [panel for group in ([*runs], [five], [nobody]) for panel in panels_of(group[0].group, group)]
    assert [(one.task, one.group, len(one.words)) for one in panels] == [
        ("drawer_close", "a", 3), ("door_close", "a", 3), ("drawer_close", "b", 5),
    ]  # fmt: skip
    figure = shares_figure(panels)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Good", "Average", "Bad", "", "Very Good", "Good", "Average", "Bad", "Very Bad"]
    bars = figure.axes[2].containers
    assert len(bars) == 5 and bars[4][0].get_height() == pytest.approx(0.6)
    paths = write_rating_shares({"a": runs, "b": [five], "c": [nobody]}, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "rating_shares.csv").open()))
    assert paths == [tmp_path / "out" / "rating_shares.png", tmp_path / "out" / "rating_shares.csv"]
    assert write_rating_shares({"c": [nobody]}, tmp_path / "none") == [] and not (tmp_path / "none").exists()
    of_five = [row for row in rows if row["experiment"] == "b"]
    assert [float(row["share"]) for row in of_five] == [0.1, 0.1, 0.1, 0.1, 0.6]
    assert [row["word"] for row in of_five] == ["Very Bad", "Bad", "Average", "Good", "Very Good"]


def picture(shade):
    return encode_png(np.full((8, 8, 3), shade, dtype=np.uint8))


def question(*shades, instruction="close the drawer", layout="separate"):
    request = rating_request(
        [picture(shade) for shade in shades], TaskText(instruction, "the drawer"), RatingScale.likert(3), "two_turn",
        layout,
    )  # fmt: skip
    return Question(request, request.images, 0, None)


class Folder(RunFolder):
    """The part of a run's folder that keeps frames."""

    def __init__(self, path):
        self.path = path


def keep(run, step, *asked):
    """Pairs of a question and its answer, (level, probabilities, analysis) or None for a failure."""
    outcomes = [
        RatingFailure("key", "timeout", "", 1)
        if told is None
        else Rating("key", told[0], told[1], told[2], 1, 1, 0.0)
        for _, told in asked
    ]  # fmt: skip
    Folder(run.folder).keep_rated_frames([one for one, _ in asked], SessionAnswers(outcomes, 0, 0.0), step)


def test_frames_are_kept_with_what_was_said_of_them(make_run):
    run = make_run()
    keep(
        run, 1000,
        (question(10), (0, (0.7, 0.2, 0.1), "It is open.")),
        (question(20, 30, instruction="open it"), (2, (), "")),
        (question(40), None),
    )  # fmt: skip
    keep(run, 2000, *[(question(50), (0, (0.9, 0.1, 0.0), "Still open."))] * (FRAMES_PER_LEVEL + 3))
    bad, *later, good = chosen_frames(run)
    assert (bad.level, bad.env_step, bad.probabilities, bad.analysis) == (0, 1000, (0.7, 0.2, 0.1), "It is open.")
    assert bad.image().shape == (8, 8, 3) and bad.image().max() == 10
    # Both pictures of a segment, side by side under their numbers.
    assert good.instruction == "open it" and good.probabilities == () and good.analysis == ""
    assert len(good.pictures) == 2 and good.image().shape[1] > 16
    assert [one.env_step for one in later] == [2000] * FRAMES_PER_LEVEL


def test_the_grid_has_a_row_for_each_level_and_columns_spread_over_the_run(make_run):
    run = make_run()
    assert chosen_frames(run) == []
    for step in range(1000, 9000, 1000):
        keep(run, step, (question(step // 100), (0, (0.7, 0.2, 0.1), "It costs $5, or $6, and is open.")))
    keep(run, 3000, (question(90, instruction="open it"), (2, (0.0, 0.1, 0.9), "word " * 60)))
    figure = rated_frames_figure(chosen_frames(run), words_of(run), "drawer_close, seed 0")
    good, average, bad = (figure.axes[start : start + 5] for start in (0, 5, 10))
    assert [row[0].get_ylabel() for row in (good, average, bad)] == ["Good", "Average", "Bad"]
    titles = [axes.get_title() for axes in bad]
    assert titles[0] == "Bad (0.70), step 1,000" and titles[-1] == "Bad (0.70), step 8,000" and len(set(titles)) == 5
    assert [len(axes.images) for axes in good] == [1, 0, 0, 0, 0] and not any(axes.images for axes in average)
    assert average[0].texts[0].get_text() == "no frame\nwas rated so"
    # Instructions differ, so that each stands with its frame; a long analysis is cut.
    first, *rest = good[0].get_xlabel().split("\n")
    assert first == "open it" and len(rest) == 3 and rest[-1].endswith("…")
    assert bad[0].get_xlabel().startswith("close the drawer\nIt costs \\$5")
    paths = {path.name: path for path in draw_run_figures(run)}
    assert paths["rated_frames.png"].stat().st_size > 10_000
    rows = list(csv.DictReader(io.StringIO(paths["rated_frames.csv"].read_text())))
    assert len(rows) == 5 + 1 and rows[0]["probability"] == "0.7" and rows[0]["analysis"].startswith("It costs $5")


def test_frames_of_older_runs_have_no_numbers_and_are_shown(make_run):
    run = make_run()
    keep(run, 1000, (question(10), (1, (0.1, 0.8, 0.1), "Half open.")))
    for path in (run.folder / "frames").glob("*.json"):
        path.unlink()
    (one,) = chosen_frames(run)
    assert (one.probabilities, one.instruction, one.analysis) == ((), "", "Half open.")
    (row,) = rated_frames_figure([one], words_of(run), "t").axes[1:2]
    assert row.get_title() == "Average, step 1,000"


def test_names_in_a_frames_file_do_not_lead_out_of_the_folder(make_run):
    run = make_run()
    keep(run, 1000, (question(10), (1, (), "")))
    (told,) = (run.folder / "frames").glob("*.json")
    told.write_text(json.dumps(json.loads(told.read_text()) | {"pictures": ["../settings.yaml", told.stem + ".png"]}))
    (one,) = chosen_frames(run)
    assert one.pictures == (told.stem + ".png",)
