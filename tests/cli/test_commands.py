"""The command: what it prints, and what it exits with."""

import os
import signal
import sys
import time
import types

import pytest
from typer.testing import CliRunner

from actors.rating import models
from actors.rating.serving import listening
from orchestrator import kinds
from orchestrator.cli.main import app
from orchestrator.errors import RatingsFailing, SettingsError
from orchestrator.online import preflight as online_preflight
from orchestrator.settings import preflight
from orchestrator.storage.writing import FolderLock


@pytest.fixture
def likert():
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def file(tmp_path, monkeypatch):
    """An experiment file, on a machine that has all it needs."""
    path = tmp_path / "e.yaml"
    path.write_text(
        "name: test\ntask: drawer_close\nreward_model: {image_px: 56}\n"
        f"runs_folder: {tmp_path / 'runs'}\nratings_folder: {tmp_path / 'ratings'}\n"
    )
    monkeypatch.setattr(online_preflight, "check_model", lambda _: None)
    monkeypatch.setattr(online_preflight, "check_opengl", lambda: None)
    return path


@pytest.fixture
def launched(monkeypatch):
    """Stands in for the loop: notes the experiments that were launched, and does what `act` says."""
    fake = types.SimpleNamespace(experiments=[], act=lambda experiment: None)

    def run_experiment(experiment):
        fake.experiments.append(experiment)
        fake.act(experiment)

    monkeypatch.setattr(kinds, "run_experiment", run_experiment)
    return fake


def test_help_lists_the_commands(likert):
    shown = likert("--help")
    assert shown.exit_code == 0
    for command in ("run", "ratings", "report", "serve", "pocket"):
        assert f"  {command} " in shown.output


def test_run_launches_the_experiment_with_its_overrides(likert, file, launched):
    done = likert("run", file, "seed=3", "policy.hidden=[64]")
    assert done.exit_code == 0, done.output
    (experiment,) = launched.experiments
    assert (experiment.seed, experiment.policy.hidden) == (3, (64,))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("feedback.num_rating=3", "did you mean 'num_ratings'"),
        ("policy.batch_size=x", "policy.batch_size = 'x': must be a whole number"),
        ("feedback.num_ratings=6", "must be one of 2, 3, 4, 5"),
        ("task=juggle", "there is no such packaged task"),
        ("task.camera=moon", "must be one of 'topview'"),
        ("feedback.budget=1", "budget 1 is below one session of 50"),
    ],
)
def test_bad_settings_exit_with_2_before_anything_starts(likert, file, launched, tmp_path, override, message):
    done = likert("run", file, override)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("likert: ") and "Traceback" not in done.output
    assert launched.experiments == []
    assert not (tmp_path / "runs").exists()


def test_an_unknown_model_exits_with_2(likert, file, launched, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(preflight, "check_opengl", lambda: None)
    done = likert("run", file, "rater.model=no-such-folder")
    assert done.exit_code == 2 and "rater.model 'no-such-folder'" in done.stderr


def test_an_unwritable_folder_exits_with_2(likert, file, launched, tmp_path):
    (tmp_path / "taken").write_text("a file")
    done = likert("run", file, f"runs_folder={tmp_path / 'taken' / 'runs'}")
    assert done.exit_code == 2 and "must be a folder that can be written to" in done.stderr
    assert launched.experiments == []


def test_a_run_folder_in_whose_place_a_file_is_exits_with_2(likert, file, launched, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "test-seed0").write_text("a file")
    done = likert("run", file)
    assert done.exit_code == 2 and "test-seed0 must be a folder that can be written to" in done.stderr
    assert launched.experiments == [] and (tmp_path / "runs" / "test-seed0").read_text() == "a file"


def test_a_run_that_is_going_on_is_not_started_twice(likert, file, launched, tmp_path):
    with FolderLock(tmp_path / "runs" / "test-seed0"):
        done = likert("run", file)
    assert done.exit_code == 2 and "is in use by another process" in done.stderr
    assert launched.experiments == []


def test_failing_ratings_exit_with_3(likert, file, launched):
    def act(_):
        raise RatingsFailing("12 of 50 questions of this session got no rating")

    launched.act = act
    done = likert("run", file)
    assert done.exit_code == 3
    assert done.stderr == "likert: 12 of 50 questions of this session got no rating\n"


def test_settings_that_only_the_cluster_can_refuse_exit_with_2(likert, file, launched):
    def act(_):
        raise SettingsError("the cluster has 1 GPU, the settings need 4")

    launched.act = act
    assert likert("run", file).exit_code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_in_order_with_130(likert, file, launched, number):
    ended = []

    def act(_):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            ended.append("saved")

    launched.act = act
    before = signal.getsignal(signal.SIGTERM)
    # A shell starts background jobs with Ctrl-C ignored, and the tests may be one.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = likert("run", file)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr
    assert ended == ["saved"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_fault_of_the_program_keeps_its_traceback(likert, file, launched):
    def act(_):
        raise ZeroDivisionError("oops")

    launched.act = act
    done = likert("run", file)
    assert done.exit_code == 1 and isinstance(done.exception, ZeroDivisionError)


def test_missing_arguments_exit_with_2(likert):
    assert likert("run").exit_code == 2
    assert likert("report").exit_code == 2
    assert likert("nonsense").exit_code == 2


def test_ratings_of_a_folder_without_a_store(likert, tmp_path):
    done = likert("ratings", tmp_path)
    assert done.exit_code == 2 and "is not a rating store" in done.stderr


def test_report_of_a_folder_without_runs(likert, tmp_path):
    done = likert("report", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "there is no run in" in done.stderr


def test_what_is_written_goes_where_it_can_or_exits_with_2(likert, tmp_path):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "store" / "ratings").mkdir(parents=True)
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        for command in (
            ("report", tmp_path, "--out", place),
            ("ratings", tmp_path / "store", "--images", place),
            ("ratings", tmp_path / "store", "--export", place / "all.csv"),
            ("data", "babyai", place),
            ("pocket", "train", "--out", place),
        ):
            done = likert(*command)
            assert done.exit_code == 2 and "must be a folder that can be written to" in done.stderr, done.output
    assert (tmp_path / "file").read_text() == "a file"


def test_serve_passes_settings_and_address_on(likert, monkeypatch):
    served = []

    def serve(settings, host, port, tell):
        served.append((settings.model, host, port))
        tell("it listens")

    monkeypatch.setattr(listening, "serve", serve)
    done = likert("serve", "model=my/model", "--port", "9000")
    assert done.exit_code == 0 and "it listens" in done.stderr
    assert served == [("my/model", "127.0.0.1", 9000)]
    assert likert("serve", "modle=my/model").exit_code == 2
    assert likert("serve", "--port", "70000").exit_code == 2


def test_serve_reports_what_the_server_refuses(likert, monkeypatch):
    done = likert("serve", "num_replicas=2")
    assert done.exit_code == 2 and "holds one engine" in done.stderr
    monkeypatch.delenv("LIKERT_SERVE_KEY", raising=False)
    done = likert("serve", "--host", "0.0.0.0")
    assert done.exit_code == 2
    assert done.stderr.startswith("likert: --host 0.0.0.0 can be reached from other machines, so a key is needed")


def test_serve_ends_with_ctrl_c(likert, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(listening, "serve", interrupted)
    done = likert("serve")
    assert (done.exit_code, done.stderr) == (130, "rating server: stopped\n")


def test_pocket_train_passes_its_options_on(likert, monkeypatch, tmp_path):
    trained = []
    module = types.SimpleNamespace(train=lambda folder, seed, tasks: trained.append((folder, seed, tasks)))
    monkeypatch.setitem(sys.modules, "orchestrator.pocket.frames", module)
    monkeypatch.setattr(preflight, "check_opengl", lambda: None)
    options = ["--out", tmp_path, "--seed", "3", "--task", "soccer", "--task", "door_close"]
    done = likert("pocket", "train", *options)
    assert done.exit_code == 0, done.output
    assert trained == [(tmp_path, 3, ("soccer", "door_close"))]
    done = likert("pocket", "train", "--task", "juggle")
    assert (
        done.exit_code == 2 and "--task juggle: there is no such packaged task; there are button_press" in done.stderr
    )


def test_pocket_train_knows_the_rater_of_episodes(likert, monkeypatch, tmp_path):
    trained = []
    module = types.SimpleNamespace(train_episodes=lambda folder, seed: trained.append((folder, seed)))
    monkeypatch.setitem(sys.modules, "orchestrator.pocket.episodes", module)
    done = likert("pocket", "train", "--episodes", "--out", tmp_path, "--seed", "3")
    assert done.exit_code == 0 and trained == [(tmp_path, 3)], done.output
    done = likert("pocket", "train", "--episodes", "--task", "soccer")
    assert done.exit_code == 2 and "leave --episodes out" in done.stderr
    done = likert("pocket", "train", "--episodes", "--windows")
    assert done.exit_code == 2 and "--windows and --episodes are two raters" in done.stderr


def test_pocket_train_knows_the_rater_of_pairs(likert, monkeypatch, tmp_path):
    trained = []
    module = types.SimpleNamespace(train_pairs=lambda folder, seed, tasks: trained.append((folder, seed, tasks)))
    monkeypatch.setitem(sys.modules, "orchestrator.pocket.pairs", module)
    monkeypatch.setattr(preflight, "check_opengl", lambda: None)
    done = likert("pocket", "train", "--pairs", "--out", tmp_path, "--task", "soccer")
    assert done.exit_code == 0 and trained == [(tmp_path, 0, ("soccer",))], done.output
    done = likert("pocket", "train", "--pairs", "--episodes")
    assert done.exit_code == 2 and "--episodes and --pairs are two raters" in done.stderr
    monkeypatch.setitem(models.POCKET_FOLDERS, "pocket", tmp_path / "none")
    done = likert("pocket", "train", "--pairs", "--out", tmp_path)
    assert done.exit_code == 2 and "rebuild it with `likert pocket train`" in done.stderr, done.output
    assert len(trained) == 1
