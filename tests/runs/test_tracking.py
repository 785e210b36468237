"""Metrics in the run's file and at MLflow; resuming; a server that fails."""

import json
import logging
import math
import shutil
import threading

import pytest

from orchestrator.errors import SettingsError
from orchestrator.kinds import load_experiment
from orchestrator.runs import tracking
from orchestrator.runs.tracking import MlflowRun, Tracker, open_tracker
from orchestrator.storage.writing import read_json_lines


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An SQLite file with MLflow's tables: making them takes seconds, copying them none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    tracking._client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def experiment(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "FLUSH_S", 0.01)
    monkeypatch.setattr(tracking, "RETRY_S", 0.01)
    runs = tmp_path / "my runs"
    runs.mkdir()
    shutil.copy(empty_database, runs / "mlflow.db")
    (tmp_path / "e.yaml").write_text("name: test\ntask: drawer_close\nreward_model: {image_px: 56}\n")
    return lambda *overrides: load_experiment(tmp_path / "e.yaml", [f"runs_folder={runs}", *overrides])


def client_of(experiment):
    return tracking._client(tracking._local_uri(experiment.runs_folder))


def runs_of(experiment):
    client = client_of(experiment)
    found = client.get_experiment_by_name(experiment.tracking.experiment)
    return client.search_runs([found.experiment_id]) if found else []


def history(experiment, metric):
    client, (run,) = client_of(experiment), runs_of(experiment)
    return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, metric)]


def lines(experiment):
    rows = read_json_lines(experiment.run_folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def test_metrics_go_to_the_file_and_to_mlflow(experiment):
    one = experiment()
    with open_tracker(one) as tracker:
        tracker.log({"eval/success": 0.25, "time/step_ms": 3}, 1000)
        tracker.log({"eval/success": 0.5}, 2000)
    assert lines(one) == [
        {"env_step": 1000, "eval/success": 0.25, "time/step_ms": 3.0},
        {"env_step": 2000, "eval/success": 0.5},
    ]
    assert history(one, "eval/success") == [(1000, 0.25), (2000, 0.5)]
    (run,) = runs_of(one)
    assert run.info.status == "FINISHED" and run.info.run_name == "test-seed0"
    assert run.data.params["policy.batch_size"] == "512"
    assert run.data.params["task.env_id"] == "drawer-close-v3"


def test_files_lie_inside_the_runs_folder(experiment, tmp_path):
    one = experiment()
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"png")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a.png").write_bytes(b"a")
    with open_tracker(one) as tracker:
        tracker.figure(picture)
        tracker.artefact(tmp_path / "frames")
        tracker.artefact(tmp_path / "absent.png")
    stored = {
        path.relative_to(one.runs_folder / "mlflow_artefacts").parts[2:]
        for path in (one.runs_folder / "mlflow_artefacts").rglob("*")
        if path.is_file()
    }
    assert stored == {("figures", "picture.png"), ("frames", "a.png"), ("settings.yaml",)}


def test_a_resumed_run_is_the_same_run_without_doubled_points(experiment):
    one = experiment()
    tracker = open_tracker(one)
    for step in (1000, 2000, 3000):
        tracker.log({"eval/success": step / 10_000}, step)
    tracker.finish("KILLED")
    assert runs_of(one)[0].info.status == "KILLED"
    # The checkpoint was written at 2,000: the file forgets what came after, and the run writes it anew.
    tracker = open_tracker(one, resume_env_step=2000)
    assert [row["env_step"] for row in lines(one)] == [1000, 2000]
    assert runs_of(one)[0].info.status == "RUNNING"
    for step in (3000, 4000):
        tracker.log({"eval/success": step / 10_000}, step)
    tracker.finish("FINISHED")
    assert [row["env_step"] for row in lines(one)] == [1000, 2000, 3000, 4000]
    assert history(one, "eval/success") == [(1000, 0.1), (2000, 0.2), (3000, 0.3), (4000, 0.4)]
    assert [run.info.status for run in runs_of(one)] == ["FINISHED"]


def test_a_run_killed_before_its_first_checkpoint_starts_its_file_anew(experiment):
    one = experiment()
    tracker = open_tracker(one)
    tracker.log({"eval/random_success": 0.1}, 0)
    tracker.log({"rollout/success": 0.1}, 100)
    tracker.finish("KILLED")
    with open_tracker(one) as tracker:
        tracker.log({"eval/random_success": 0.1}, 0)
    assert lines(one) == [{"env_step": 0, "eval/random_success": 0.1}]
    assert history(one, "eval/random_success") == [(0, 0.1)]


def test_a_kill_between_making_the_run_and_noting_its_id_makes_no_second_run(experiment, monkeypatch):
    one = experiment()
    real = tracking.write_json

    def killed(path, value):
        if "run_id" in value:
            raise KeyboardInterrupt
        real(path, value)

    monkeypatch.setattr(tracking, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        open_tracker(one)
    monkeypatch.setattr(tracking, "write_json", real)
    with open_tracker(one) as tracker:
        tracker.log({"a": 1}, 1)
    assert [run.info.status for run in runs_of(one)] == ["FINISHED"]


def test_rows_that_mlflow_missed_are_sent_at_the_next_start(experiment):
    one = experiment("tracking.enabled=false")
    with open_tracker(one) as tracker:
        tracker.log({"eval/success": 0.1}, 1000)
        tracker.log({"eval/success": 0.2}, 2000)
    assert runs_of(one) == []
    with open_tracker(experiment(), resume_env_step=2000) as tracker:
        tracker.log({"eval/success": 0.3}, 3000)
    assert history(one, "eval/success") == [(1000, 0.1), (2000, 0.2), (3000, 0.3)]


def test_changed_settings_of_a_resumed_run_become_tags(experiment):
    open_tracker(experiment()).finish("KILLED")
    open_tracker(experiment("total_env_steps=2_000_000"), resume_env_step=1).finish("FINISHED")
    (run,) = runs_of(experiment())
    assert run.data.params["total_env_steps"] == "1000000"
    assert run.data.tags["resumed_with.total_env_steps"] == "2000000"


@pytest.mark.parametrize(
    ("raised", "status"), [(None, "FINISHED"), (KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")]
)
def test_no_run_is_left_running(experiment, raised, status):
    one = experiment()
    try:
        with open_tracker(one) as tracker:
            tracker.log({"a": 1}, 1)
            if raised:
                raise raised
    except (KeyboardInterrupt, RuntimeError):
        pass
    assert [run.info.status for run in runs_of(one)] == [status]
    assert history(one, "a") == [(1, 1.0)]


def test_numbers_that_are_not_finite_stay_in_the_file(experiment):
    one = experiment()
    with open_tracker(one) as tracker:
        tracker.log({"reward/loss": float("nan"), "reward/accuracy": 0.5}, 10)
    assert "reward/loss" not in runs_of(one)[0].data.metrics
    assert runs_of(one)[0].data.metrics["reward/accuracy"] == 0.5
    assert math.isnan(lines(one)[0]["reward/loss"])


class FlakyClient:
    """Notes what is logged; fails as long as it is told to."""

    def __init__(self):
        self.failing = False
        self.metrics = []
        self.batches = 0
        self.ended = None

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        if self.failing:
            raise ConnectionError("server is down")
        self.batches += 1
        self.metrics += [(one.key, one.step) for one in metrics]

    def set_terminated(self, run_id, status):
        if self.failing:
            raise ConnectionError("server is down")
        self.ended = status


def row(step, **metrics):
    return {"env_step": step, "time": 1.0, **metrics}


def test_a_failing_server_is_warned_of_once_and_caught_up_with(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tracking, "FLUSH_S", 3600)
    client = FlakyClient()
    run = MlflowRun(client, "id", -1)
    client.failing = True
    for step in (1, 2):
        run.log(row(step, a=0.5))
        assert run._flush() is False
    client.failing = False
    run.log(row(3, a=0.5))
    run.finish("FINISHED")
    assert client.metrics == [("a", 1), ("a", 2), ("a", 3)]
    assert client.ended == "FINISHED"
    assert caplog.text.count("MLflow failed (server is down); the run goes on") == 1


def test_a_server_that_stays_down_does_not_fail_the_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tracking, "FLUSH_S", 3600)
    client = FlakyClient()
    client.failing = True
    tracker = Tracker(tmp_path, MlflowRun(client, "id", -1))
    tracker.log({"a": 1.0}, 5)
    tracker.finish("FINISHED")
    tracker.finish("FINISHED")
    assert caplog.text.count("MLflow failed") == 1
    assert read_json_lines(tmp_path / "metrics.jsonl")[0]["a"] == 1.0


def test_a_server_that_hangs_does_not_hold_up_the_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tracking, "FLUSH_S", 3600)
    monkeypatch.setattr(tracking, "FINISH_S", 0.05)
    released = threading.Event()
    client = FlakyClient()
    client.log_batch = lambda *_, **__: released.wait()
    run = MlflowRun(client, "id", -1)
    run.log(row(1, a=1.0))
    run.finish("FINISHED")
    released.set()
    assert client.ended is None
    assert "MLflow failed (it does not answer)" in caplog.text


def test_rows_are_sent_in_few_requests(monkeypatch):
    monkeypatch.setattr(tracking, "FLUSH_S", 3600)
    client = FlakyClient()
    run = MlflowRun(client, "id", -1)
    for step in range(1000):
        run.log(row(step, a=1.0))
    run.finish("FINISHED")
    # Three numbers a row, 900 a request: 300 rows at a time.
    assert client.batches == 4
    assert client.metrics == [("a", step) for step in range(1000)]


def test_a_server_that_is_down_at_the_start_stops_the_run(experiment, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(SettingsError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be used") as caught:
        open_tracker(experiment())
    assert "tracking.enabled=false" in str(caught.value) and "secret" not in str(caught.value)


def test_a_deleted_experiment_is_named(experiment):
    one = experiment("tracking.experiment=gone")
    client = client_of(one)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(SettingsError, match="experiment 'gone' was deleted there; restore it, or give"):
        open_tracker(one)


def test_two_runs_share_the_database_and_the_experiment(experiment):
    first, second = experiment("seed=1"), experiment("seed=2")
    with open_tracker(first) as one, open_tracker(second) as other:
        one.log({"a": 1.0}, 1)
        other.log({"a": 2.0}, 1)
    assert sorted((run.info.run_name, run.data.metrics["a"]) for run in runs_of(first)) == [
        ("test-seed1", 1.0),
        ("test-seed2", 2.0),
    ]


def test_without_mlflow_only_the_file_is_written(experiment, monkeypatch):
    one = experiment("tracking.enabled=false")
    monkeypatch.setattr(tracking, "_client", None)
    with open_tracker(one) as tracker:
        tracker.log({"a": 1}, 1)
        tracker.figure(one.run_folder / "x.png")
    assert lines(one) == [{"env_step": 1, "a": 1.0}]
    assert not (one.run_folder / "mlflow_run.json").exists()


def test_the_id_is_kept_and_the_password_is_not(experiment):
    one = experiment()
    open_tracker(one).finish("FINISHED")
    kept = json.loads((one.run_folder / "mlflow_run.json").read_text())
    assert kept["run_id"] == runs_of(one)[0].info.run_id
    assert tracking.public("https://user:pw@host:5000/path") == "https://host:5000/path"
    assert tracking.public("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_mlflow_and_alembic_are_quiet(experiment):
    open_tracker(experiment()).finish("FINISHED")
    assert not logging.getLogger("mlflow").isEnabledFor(logging.INFO)
    assert not logging.getLogger("alembic").isEnabledFor(logging.INFO)
