"""`likert label` as a user gives it: bad settings, the estimate, and (slow) Ray, vLLM and kills."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.rating.backend import Reply
from algorithms.images import encode_png, png_size
from algorithms.label_settings import WindowSettings
from algorithms.ratings import RaterIdentity
from algorithms.trajectories import Trajectory
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.labelling.command import estimate_lines, facts_of
from orchestrator.labelling.estimate import cost_of, estimate, rate_of
from orchestrator.labelling.seen_windows import NUM_DRAWN, see_windows
from orchestrator.labelling.settings import LabelSettings, PriceSettings
from orchestrator.labelling.window_stream import window_rows
from orchestrator.ratings.answer_counts import AnswerCounts
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.settings.preflight import check_context
from tests.fakes.toy_labels import RATER, answer, label, toy_set

REPOSITORY = Path(__file__).parents[2]
FAKE = RaterIdentity("function", "fake")


@pytest.fixture
def file(tmp_path):
    toy_set(tmp_path / "set", [8, 11, 3])
    path = tmp_path / "label.yaml"
    path.write_text(f"kind: labelling\ndata: {tmp_path / 'set'}\nratings_folder: {tmp_path / 'store'}\n")
    return path


def likert(*arguments):
    return CliRunner().invoke(app, ["label", *map(str, arguments)])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mode=three_turn", "must be one of 'two_turn', 'single_turn', 'logits'"),
        ("window.num_action=8", "did you mean 'num_actions'"),
        ("rewards={}", "rewards is empty"),
        ("rewards={Bad Name: {}}", "must be text of the form"),
        ("rewards={sparse: {}}", "'sparse' names the reward that every data set has"),
        ("rewards.rg_vlm.dense_weight=0", "must be above 0"),
        ("rewards.rg_vlm.sparce=sum", "rewards.rg_vlm.sparce: there is no such setting; did you mean 'sparse'"),
        ("data=no/such/set", "is no trajectory data set"),
        ("rater.model=/no/such/model", "rater.model '/no/such/model'"),
        ("kind=online", "must be 'labelling'"),
    ],
)
def test_bad_settings_exit_with_2_before_anything_starts(file, override, message):
    done = likert(file, override)
    assert done.exit_code == 2 and message in done.stderr, done.output
    assert not (file.parent / "store").exists()


def settings_of(file, **more):
    return LabelSettings(data=file.parent / "set", ratings_folder=file.parent / "store", rater=RATER, **more)


def estimated(settings, identity=FAKE):
    dataset = TrajectoryDataset(settings.data)
    seen = see_windows(dataset, dataset.parts, settings.window, settings.mode)
    return estimate(settings, dataset, seen, len(dataset.parts), identity, ScoreStore(settings.ratings_folder))


def test_before_anything_was_asked_windows_are_drawn_and_counted(file):
    found = estimated(settings_of(file, window=WindowSettings(frame_px=56)))
    assert (found.num_windows, found.num_actions, found.num_measured, found.num_drawn) == (4, 22, 0, 4)
    assert found.is_exact and found.windows_per_s is None and found.duration_s is None
    # Four analyses as long as they may be, then as many scores of two figures as there are actions.
    assert 4 * 256 + 2 * 22 <= found.completion_tokens <= 4 * 256 + 4 * 22 + 4 * 4
    single = estimated(settings_of(file, mode="single_turn"))
    assert found.prompt_tokens > 2 * single.prompt_tokens
    logits = estimated(settings_of(file, mode="logits"))
    assert logits.completion_tokens == 22 and logits.prompt_tokens > single.prompt_tokens


def test_all_that_is_drawn_of_a_large_set_stands_for_it(tmp_path):
    dataset = toy_set(tmp_path, [8] * 100)
    seen = see_windows(dataset, dataset.parts, WindowSettings(), "single_turn")
    assert (seen.counts, len(seen.drawn)) == ({8: 100}, NUM_DRAWN)
    assert len({request.instruction for request in seen.drawn}) == NUM_DRAWN
    assert see_windows(dataset, dataset.parts, WindowSettings(), "single_turn") == seen
    # They are the questions that the windows become, but for the pixels.
    real = {
        (row["text"], *row["actions"]): row
        for part in dataset.parts
        for row in window_rows(tmp_path, part, WindowSettings())
        if row["kind"] == "window"
    }
    for request in (*seen.drawn, *seen.longest):
        row = real[request.instruction, *request.actions]
        assert request.frame_note == row["frame_note"] and png_size(request.images[0]) == png_size(row["picture"])


def robot(folder, length=16):
    """A recording of a robot with 34 joints: each action is told as all their names and values."""
    names = tuple(f"left_gripper_joint_{joint}" for joint in range(34))
    info = DatasetInfo(
        name="robot", source="test", actions=ActionSpace(kind="continuous", names=names), frame_px=(8, 8)
    )
    told = ", ".join(f"{name} -0.25" for name in names)
    last = np.arange(length) == length - 1
    with DatasetWriter(folder, info) as writer:
        writer.write(
            Trajectory(
                episode_id="robot",
                instruction="fold the towel",
                actions=np.full((length, 34), -0.25, dtype=np.float32),
                action_names=(told,) * length,
                sparse_rewards=last.astype(np.float32),
                terminated=last,
                truncated=np.zeros(length, dtype=bool),
                frames=(encode_png(np.zeros((8, 8, 3), dtype=np.uint8)),) * (length + 1),
            )
        )


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_cannot_fit_is_refused_before_anything_is_loaded(file, monkeypatch, dry_run):
    robot(file.parent / "robot")
    monkeypatch.setattr("orchestrator.labelling.command.run_labelling", pytest.fail)
    overrides = [f"data={file.parent / 'robot'}", "rater.max_model_len=2048", *["--dry-run"][: 1 if dry_run else 0]]
    refused = likert(file, *overrides)
    assert refused.exit_code == 2, refused.output
    assert "rater.max_model_len = 2048: of 2 windows that were looked at, 2 need more, up to" in refused.stderr
    assert "Raise rater.max_model_len, or lower" in refused.stderr
    if dry_run:
        assert "2 windows with 16 actions" in refused.output and "by the model's tokenizer" in refused.output
        assert likert(file, *overrides, "rater.max_model_len=32768").exit_code == 0


def test_one_window_that_does_not_fit_keeps_no_other_from_being_labelled(file, caplog):
    dataset = toy_set(file.parent / "many", [8] * 20)
    seen = see_windows(dataset, dataset.parts, WindowSettings(), "logits")
    long = dataclasses.replace(seen.drawn[0], instruction=2_000 * "reach ")
    check_context(RATER, [*seen.drawn, long], "windows", "", tolerated=0.2)
    assert "1 need more" in caplog.text and "will get no answer" in caplog.text
    with pytest.raises(SettingsError, match="1 need more"):
        check_context(RATER, [*seen.drawn, long], "windows", "")
    # What is there already has a limit of its own.
    check_context(RATER.model_copy(update={"server": "shared"}), [long], "windows", "")
    check_context(RATER.model_copy(update={"endpoint": "http://there/v1"}), [long], "windows", "")


def test_afterwards_it_is_the_mean_of_what_was_answered(file):
    toy_set(file.parent / "many", [8] * 40)

    def counted(prompt, images, choices):
        return Reply(answer(prompt, images, choices), None, 100, 7)

    label(file.parent / "many", file.parent / "store", counted)
    found = estimated(settings_of(file))
    assert found.num_measured == 40 and (found.prompt_tokens, found.completion_tokens) == (4 * 200, 4 * 14)
    # Another rater has not answered yet.
    assert estimated(settings_of(file), RaterIdentity("other", "fake")).num_measured == 0


def test_the_rate_leaves_pauses_out():
    def at(*seconds):
        return [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second) for second in seconds for _ in range(10)]

    assert rate_of(at(0, 10, 20)) == pytest.approx(1.0)
    assert rate_of(at(0, 10, 4000, 4010)) == pytest.approx(1.0)
    assert rate_of(at(0, 10)) is None and rate_of([]) is None


def test_what_is_labelled_is_not_counted_and_a_dry_run_asks_nothing(file, monkeypatch):
    monkeypatch.setattr("orchestrator.labelling.command.expected_identity", lambda rater: FAKE)
    overrides = ["rater.max_in_flight=8", "rater.max_attempts=1", "price.per_million_prompt_tokens=1e6"]
    before = likert(file, "--dry-run", *overrides)
    assert before.exit_code == 0 and "0 of 2 parts are labelled" in before.output and "4 windows" in before.output
    assert "time: unknown" in before.output and "cost: " in before.output
    assert not (file.parent / "store").exists()
    label(file.parent / "set", file.parent / "store", rewards={"rg_vlm": {}})
    after = likert(file, "--dry-run", *overrides)
    assert "2 of 2 parts are labelled; the others have 0 windows" in after.output


def test_costs_are_those_of_tokens_and_hours():
    price = PriceSettings(per_million_prompt_tokens=2.0, per_million_completion_tokens=10.0, per_hour=3.0)
    assert cost_of(price, 500_000, 100_000, 1800.0) == pytest.approx(1.0 + 1.0 + 1.5)
    counts = AnswerCounts(windows=5, from_store=2, failed=1, prompt_tokens=500_000, completion_tokens=100_000)
    assert facts_of(counts, price, 1800.0) == (
        "2 from the store, 1 failed, 500,000 tokens read, 100,000 written, cost 3.50"
    )
    assert "cost" not in facts_of(counts, PriceSettings(), 1800.0)


def test_an_estimate_in_words(file):
    lines = "\n".join(
        estimate_lines(settings_of(file, price=PriceSettings(per_hour=1.0)), estimated(settings_of(file)))
    )
    assert (
        "4 windows with 22 actions" in lines
        and "at most; counted in all of 4 windows, by the model's tokenizer" in lines
        and "cost: 0.00" in lines
    )


def test_progress_leaves_what_was_free_out_of_the_time_left(monkeypatch, capsys):
    now = iter([0.0, 100.0, 100.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr("orchestrator.screen.work_progress.time.monotonic", lambda: next(now))
    progress = WorkProgress("labels", 100, "windows")
    progress.update(60, "1 failed", free=50)
    # Ten of the sixty cost a hundred seconds, so the forty left cost four hundred.
    assert capsys.readouterr().err == "labels: 60/100 windows, 1 failed, 6:40 left\n"


def tables(folder):
    return [pq.read_table(folder / part) for part in TrajectoryDataset(folder).parts]


@pytest.mark.slow
def test_killed_three_times_with_a_real_engine_the_parts_end_the_same(tmp_path):
    """Ray, Ray Data, vLLM and the pocket rater of windows; SIGKILL in mid-work; the store keeps what was answered."""
    toy_set(tmp_path / "set", [8 + number % 17 for number in range(120)], part_bytes=60_000)
    shutil.copytree(tmp_path / "set", tmp_path / "whole")
    store = tmp_path / "store"

    def command(data, ratings):
        return [
            sys.executable, "-c", "from orchestrator.cli.main import main; main()", "label",
            str(REPOSITORY / "tune_configs/rg_vlm/babyai.yaml"), f"data={data}", f"ratings_folder={ratings}",
            "rater.max_in_flight=8",
        ]  # fmt: skip

    def stored():
        return sum(pq.read_metadata(part).num_rows for part in (store / "scores").glob("part-*.parquet"))

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    reached = 0
    for _ in range(3):
        process = subprocess.Popen(command(tmp_path / "set", store), cwd=REPOSITORY, env=environment)
        deadline = time.monotonic() + 400
        while process.poll() is None and stored() < reached + 24:
            assert time.monotonic() < deadline, "no answers came"
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert stored() > reached
        reached = stored()
    finished = subprocess.run(command(tmp_path / "set", store), cwd=REPOSITORY, env=environment, timeout=600)
    assert finished.returncode == 0
    rows = list(ScoreStore(store).rows(["key"]))
    assert len({row["key"] for row in rows}) == len(rows)
    # The same answers, taken by a labelling that nobody interrupts.
    uninterrupted = subprocess.run(command(tmp_path / "whole", store), cwd=REPOSITORY, env=environment, timeout=600)
    assert uninterrupted.returncode == 0 and stored() == len(rows)
    for one, other in zip(tables(tmp_path / "set"), tables(tmp_path / "whole"), strict=True):
        assert one.equals(other)
