"""Sweeps as users start them: processes, Ray Tune, MLflow; out of budget, failing, resumed, run again."""

import csv
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.kinds import read_run
from orchestrator.ratings.store import RatingStore
from orchestrator.runs import tracking
from orchestrator.sweeps.trial_folder import read_record
from tests.fakes.toy_sweep import write_toy_sweep
from tests.online.test_run_for_real import ENVIRONMENT, LIKERT, REPOSITORY, wait_until

LOSSES = ("mae", "cross_entropy")
TRIALS = [f"loss-{loss}-seed0" for loss in LOSSES]


def toy_sweep(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.fakes.toy_sweep", str(folder), *arguments]


def run_toy_sweep(
    folder: Path, *arguments: str, timeout_s: float = 900, environment: Mapping[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[str]:
    command = toy_sweep(folder, *arguments)
    return subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout_s)


def runs_at_mlflow(runs_folder: Path, uri: str | None = None) -> tuple[list, list]:
    """The sweeps' runs, and those of their trials; of the file beside the runs, or a server."""
    client = tracking._client(uri or f"sqlite:///{runs_folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("likert").experiment_id])
    children = [run for run in found if tracking.PARENT in run.data.tags]
    return [run for run in found if run not in children], children


@pytest.fixture
def folder(tmp_path):
    """Holds a toy sweep of two losses and one seed."""
    search = {"reward_model.loss": {"grid": list(LOSSES)}, "seed": {"grid": [0]}}
    write_toy_sweep(tmp_path, search, {"concurrency": 2})
    return tmp_path


@pytest.mark.slow
def test_a_used_up_budget_and_failing_trials_leave_a_sweep_that_goes_on(folder):
    stopped = run_toy_sweep(folder, "sweep.budget.ratings=50", "sweep.concurrency=1")
    assert stopped.returncode == 0, stopped.stderr
    assert "sweep.budget.ratings = 50 is used up" in stopped.stderr
    parents, trials = runs_at_mlflow(folder / "runs")
    assert {run.info.status for run in parents + trials} == {"KILLED"}
    # A trial that cannot go on fails, again and again, and the other one comes to its end.
    runs = folder / "runs" / "toy"
    checkpoints = runs / TRIALS[0] / "checkpoints"
    for path in checkpoints.glob("env-steps-*"):
        (path / "loop.json").write_text("torn")
    failed = run_toy_sweep(folder, "--resume", "sweep.max_failures=1")
    assert failed.returncode != 0
    assert f"1 of 2 trials failed:\n  {TRIALS[0]}: " in failed.stderr and "can be restored" in failed.stderr
    assert [read_record(runs / name).outcome for name in TRIALS] == ["unfinished", "finished"]
    parents, trials = runs_at_mlflow(folder / "runs")
    assert {run.info.run_name: run.info.status for run in parents + trials} == {
        "toy": "FAILED", TRIALS[0]: "KILLED", TRIALS[1]: "FINISHED",
    }  # fmt: skip
    for path in checkpoints.glob("env-steps-*"):
        (path / "loop.json").unlink()
        path.rename(path.with_name(f"away-{path.name}"))
    mended = run_toy_sweep(folder, "--resume")
    assert mended.returncode == 0, mended.stderr
    parents, trials = runs_at_mlflow(folder / "runs")
    assert {run.info.status for run in parents + trials} == {"FINISHED"} and len(trials) == 2


@pytest.mark.slow
def test_a_server_of_mlflow_has_each_trial_once_also_after_a_resume(folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
               "--artifacts-destination", str(tmp_path / "artefacts")]  # fmt: skip
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: is_up(uri), 180, "the server of MLflow")
        environment = ENVIRONMENT | {"MLFLOW_TRACKING_URI": uri}
        stopped = run_toy_sweep(folder, "sweep.budget.ratings=50", "sweep.concurrency=1", environment=environment)
        assert stopped.returncode == 0, stopped.stderr
        parents, trials = runs_at_mlflow(folder / "runs", uri)
        assert {run.info.status for run in parents + trials} == {"KILLED"}
        resumed = run_toy_sweep(folder, "--resume", environment=environment)
        assert resumed.returncode == 0, resumed.stderr
        parents, trials = runs_at_mlflow(folder / "runs", uri)
        assert [run.info.run_name for run in parents] == ["toy"]
        assert sorted(run.info.run_name for run in trials) == sorted(TRIALS)
        assert {run.info.status for run in parents + trials} == {"FINISHED"}
        assert all(run.data.metrics["eval/success"] >= 0 and run.data.params for run in trials)
        client = tracking._client(uri)
        assert all(client.list_artifacts(run.info.run_id) for run in trials)
        assert not (folder / "runs" / "mlflow.db").exists()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def is_up(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "concurrency"), [("asha", 1), ("asha", 3), ("pbt", 3)])
def test_schedulers_compare_trials_by_success(tmp_path, scheduler, concurrency):
    # Drawn are a step size that learns, and twice one that cannot. The steps beside the first one learn as well.
    search = {"policy.actor_learning_rate": {"choice": [1e-9, 2e-3, 3e-3, 4e-3]}, "seed": {"grid": [0]}}
    write_toy_sweep(tmp_path, search, {"concurrency": concurrency, "num_samples": 3, "seed": 75})
    overrides = ["sweep.asha.grace_env_steps=400", "sweep.asha.reduction_factor=2", "sweep.pbt.interval_env_steps=400",
                 "sweep.pbt.resample_probability=0.0", "sweep.pbt.quantile=0.5"]  # fmt: skip
    done = run_toy_sweep(tmp_path, f"sweep.scheduler={scheduler}", *overrides)
    assert done.returncode == 0, done.stderr
    records = [read_record(path.parent) for path in (tmp_path / "runs" / "toy").glob("*/trial.json")]
    assert len(records) == 3 and all(record.is_done for record in records)
    if scheduler == "asha":
        # It compares with what came before. One after the other, the trial that learns comes first; side by side, it
        # depends on which is quicker.
        assert concurrency > 1 or "stopped" in {record.outcome for record in records}
    else:
        taken_over = [record.values["policy.actor_learning_rate"] for record in records if record.values]
        assert taken_over and set(taken_over) <= {2e-3, 3e-3, 4e-3}
    _, trials = runs_at_mlflow(tmp_path / "runs")
    assert len(trials) == 3 and not {run.info.status for run in trials} & {"RUNNING", "FAILED"}


@pytest.mark.slow
def test_the_tiny_sweep_finishes_and_a_second_one_asks_the_model_nothing(tmp_path):
    def sweep(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [*LIKERT, "sweep", str(REPOSITORY / "tune_configs/sweeps/tiny.yaml"),
                   *(f"{name}_folder={tmp_path / name}" for name in ("runs", "ratings")), *overrides]  # fmt: skip
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1400)

    first = sweep()
    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr
    keys = {row["key"] for row in RatingStore(tmp_path / "ratings").rows(["key"])}
    rows = list(csv.DictReader((tmp_path / "runs/tiny/summary.csv").open()))
    assert [(row["reward_model.loss"], row["seeds"], row["finished"]) for row in rows] == [
        ("mae", "2", "2"), ("cross_entropy", "2", "2"),
    ]  # fmt: skip
    assert (tmp_path / "runs/tiny/summary.png").stat().st_size > 5_000
    folders = sorted((tmp_path / "runs/tiny").glob("loss-*"))
    asked = [read_run(folder).series("rating/asked").values[-1] for folder in folders]
    assert asked == [160.0] * 4
    # The two losses act alike until the first reward model: what they see then is rated once for both.
    assert len(keys) <= 4 * 160 - 2 * 40

    again = sweep("name=again")
    assert again.returncode == 0, again.stderr
    assert {row["key"] for row in RatingStore(tmp_path / "ratings").rows(["key"])} == keys
    for folder in sorted((tmp_path / "runs/again").glob("loss-*")):
        run = read_run(folder)
        assert run.series("rating/from_store").values[-1] == run.series("rating/asked").values[-1] == 160
        assert run.series("eval/success").values.tolist() == (
            read_run(tmp_path / "runs/tiny" / folder.name).series("eval/success").values.tolist()
        )
    parents, trials = runs_at_mlflow(tmp_path / "runs")
    assert sorted(run.info.run_name for run in parents) == ["again", "tiny"]
    assert len(trials) == 8 and {run.info.status for run in parents + trials} == {"FINISHED"}
