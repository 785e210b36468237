"""The fault matrix: what a sweep stands on is killed or damaged in mid-work, and the sweep comes to its end, whole.

Whole: every trial has finished and did each session and evaluation once; the store holds each rating once, with
its level, and every rating that was learned from; no process is left; MLflow knows each trial once.
"""

import csv
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import psutil
import pytest

from orchestrator.kinds import read_run
from orchestrator.ratings.store import RatingStore
from orchestrator.runs import tracking
from orchestrator.sweeps.trial_folder import read_record
from tests.fakes.tiny_qwen import build_tiny_qwen
from tests.fakes.toy_sweep import write_toy_sweep
from tests.online.test_run_for_real import ENVIRONMENT, REPOSITORY, alive, wait_until
from tests.sweeps.test_for_real import LOSSES, TRIALS, runs_at_mlflow, toy_sweep

pytestmark = pytest.mark.slow

TWO_WORKERS = ("rollout.num_workers=2", "rollout.num_cpus=0.25")
SEEING_FRAMES = ("reward_model.input=frame", "reward_model.network=small", "reward_model.image_px=28",
                 "reward_model.max_epochs=2")  # fmt: skip
REAL_ENGINE = ("rater.max_model_len=1024", "rater.deadline_s=400", "rater.stall_timeout_s=10", "rater.max_in_flight=8",
               "feedback.per_session=200", "feedback.budget=2000")  # fmt: skip
NUM_SESSIONS, PER_SESSION = 5, 40
MARK = "LIKERT_SWEEP_UNDER_TEST"
ACTORS = {"ImplicitFunc", "SharedFront", "MortalWorker", "MortalLearner"}
"""What every sweep runs, as the titles of processes name it: trials, the rating server, rollouts, reward models."""
RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Titles of what a node runs for itself. Idle workers are some of it: a node keeps them for whatever comes next."""


class Sweep:
    """A toy sweep of two losses and one seed, whose processes bear a mark.

    The mark is a variable of the environment, which processes inherit, so that it tells also those whose parent has
    ended before anybody looked.
    """

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder, self.runs, self.ratings = folder, folder / "runs/toy", folder / "ratings"
        self.deaths = folder / "runs/deaths"
        self._overrides = overrides
        # Ray and vLLM write titles over what /proc shows of an environment, unless they are told not to.
        self.mark = {MARK: uuid.uuid4().hex, "SPT_NOENV": "1"}
        self.environment = ENVIRONMENT | self.mark
        self._seen: set[str] = set()
        folder.mkdir(exist_ok=True)
        search = {"reward_model.loss": {"grid": list(LOSSES)}, "seed": {"grid": [0]}}
        write_toy_sweep(folder, search, {"concurrency": 2})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Its driver."""
        with (self.folder / "driver.log").open("a") as log:
            command = toy_sweep(self.folder, *self._overrides, *arguments)
            return subprocess.Popen(command, env=self.environment, cwd=REPOSITORY, stderr=log, text=True)

    def end(self, driver: subprocess.Popen[str], timeout_s: float = 600) -> int:
        """The driver's exit code."""
        try:
            wait_until(lambda: self.has_all_actors() or driver.poll() is not None, timeout_s, "the sweep's actors")
            return driver.wait(timeout_s)
        finally:
            driver.kill()

    def processes(self) -> list[psutil.Process]:
        """Those that are alive, wherever in the tree of processes."""
        everything = psutil.process_iter(["environ", "cmdline"])
        return [process for process in everything if (process.info["environ"] or {}).get(MARK) == self.mark[MARK]]

    def has_all_actors(self) -> bool:
        """Whether each of ACTORS has been seen among its processes by now."""
        titles = [title(process) for process in self.processes()]
        self._seen |= {name for name in ACTORS for one in titles if one.startswith(f"ray::{name}")}
        return self._seen >= ACTORS

    @property
    def said(self) -> str:
        return (self.folder / "driver.log").read_text()

    def num_stored(self) -> int:
        return len(RatingStore(self.ratings))

    def has_checkpoints(self, env_steps: int) -> bool:
        """Whether every trial has come so far."""
        return all((self.runs / name / f"checkpoints/env-steps-{env_steps:010d}").exists() for name in TRIALS)

    def dig(self, *graves: str) -> None:
        """Actors die once where a grave says so."""
        for grave in graves:
            path = self.deaths / grave
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def graves_left(self) -> list[Path]:
        return [path for path in self.deaths.rglob("*") if path.is_file()]

    def kill_at_step_800(self) -> None:
        """Runs it until both trials have saved step 800, kills its driver, and waits for the end of all processes."""
        holds = [self.folder / "runs/holds" / name for name in TRIALS]
        for hold in holds:
            hold.parent.mkdir(parents=True, exist_ok=True)
            hold.touch()
        driver = self.start()
        try:
            wait_until(lambda: self.has_checkpoints(800) or driver.poll() is not None, 600, "both to wait at 800")
            assert self.has_checkpoints(800), self.said
            assert self.has_all_actors()
        finally:
            driver.kill()
            driver.wait()
        wait_until(lambda: not self.processes(), 90, "the killed sweep's processes to end")
        for hold in holds:
            hold.unlink()

    def check_whole(self, per_session: int = PER_SESSION, lost: int = 0) -> None:
        """See the head of this file; `lost` labels were in a part of the store that was damaged."""
        assert [read_record(self.runs / name).outcome for name in TRIALS] == ["finished"] * 2
        rows = list(RatingStore(self.ratings).rows(["key", "rating"]))
        levels = {row["key"]: row["rating"] for row in rows}
        assert len(levels) == len(rows) and set(levels.values()) <= {0, 1, 2}
        assert not list(RatingStore(self.ratings).failures())
        num_learnt = 0
        for name in TRIALS:
            run = read_run(self.runs / name)
            sessions = [per_session * (number + 1) for number in range(NUM_SESSIONS)]
            assert run.series("rating/asked").values.tolist() == sessions
            assert run.series("eval/success").env_steps.tolist() == [400, 800, 1200]
            assert len(run.rows) == len({(row["env_step"], *row) for row in run.rows})
            learnt = learnt_from(self.runs / name)
            assert [(key, levels.get(key)) for key, _ in learnt] == learnt
            num_learnt += len(learnt)
        # Lost labels that another trial asks again come back with their keys.
        most = len(TRIALS) * NUM_SESSIONS * per_session
        assert most - lost <= num_learnt <= most
        # Else it would say nothing that none is left.
        assert self._seen >= ACTORS
        wait_until(lambda: not self.processes(), 60, "the sweep's processes to end")
        parents, trials = runs_at_mlflow(self.folder / "runs")
        assert [(run.info.run_name, run.info.status) for run in parents] == [("toy", "FINISHED")]
        assert sorted((run.info.run_name, run.info.status) for run in trials) == [
            (name, "FINISHED") for name in sorted(TRIALS)
        ]
        assert {run.data.tags[tracking.PARENT] for run in trials} == {parents[0].info.run_id}

    def results(self) -> dict[str, list]:
        """What a sweep that lost nothing has in common with one that nothing happened to."""
        metrics = ("eval/success", "eval/success_last", "reward/loss")
        return {
            name: [learnt_from(self.runs / name), *(read_run(self.runs / name).series(one).values.tolist()
                                                   for one in metrics)]
            for name in TRIALS
        }  # fmt: skip


def learnt_from(run_folder: Path) -> list[tuple[str, int]]:
    """Keys and levels of a run's labels, from its last checkpoint. Where the dot stands still keys are equal."""
    checkpoint = max((run_folder / "checkpoints").glob("env-steps-*"))
    sessions = json.loads((checkpoint / "loop.json").read_text())["sessions"]
    return list(zip(sessions["keys"], sessions["ratings"], strict=True))


def title(process: psutil.Process) -> str:
    """What `psutil.process_iter` found a process to be called: `ray::NAME.METHOD` for Ray's actors."""
    return " ".join(process.info["cmdline"] or ())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), *TWO_WORKERS)
    assert sweep.end(sweep.start()) == 0, sweep.said
    sweep.check_whole()
    return sweep.results()


@pytest.mark.parametrize(
    "graves",
    [
        pytest.param([f"{TRIALS[0]}/collect-0"], id="one rollout worker"),
        pytest.param([f"{name}/collect-{index}" for name in TRIALS for index in (0, 1)], id="all rollout workers"),
        pytest.param([f"{TRIALS[0]}/train", f"{TRIALS[1]}/score"], id="reward learner"),
        pytest.param(["server"], id="rating actor"),
    ],
)
def test_actors_die_and_the_sweep_equals_one_undisturbed(tmp_path, undisturbed, graves):
    sweep = Sweep(tmp_path, *TWO_WORKERS)
    sweep.dig(*graves)
    assert sweep.end(sweep.start()) == 0, sweep.said
    assert sweep.graves_left() == []
    sweep.check_whole()
    assert sweep.results() == undisturbed


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["engine killed", "engine hung"])
def test_the_engine_dies_or_hangs_in_mid_work(tmp_path, fault):
    model = build_tiny_qwen(tmp_path / "model")
    sweep = Sweep(tmp_path / "sweep", f"rater.model={model}", *REAL_ENGINE)
    driver = sweep.start()
    try:
        wait_until(lambda: 0 < sweep.num_stored() or driver.poll() is not None, 600, "the first answers")
        (engine,) = [process.pid for process in sweep.processes() if "EngineCore" in title(process)]
        os.kill(engine, fault)
        # Both trials act alike until the first reward model: their first sessions ask the same 200 questions.
        assert sweep.num_stored() < 200
        wait_until(lambda: not alive({engine}), 120, "the engine to be ended")
        assert sweep.end(driver) == 0, sweep.said
    finally:
        driver.kill()
    sweep.check_whole(per_session=200)


def test_a_node_dies_in_mid_work(tmp_path, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    sweep = Sweep(tmp_path, *TWO_WORKERS, "sweep.max_failures=5")
    # For actors, which inherit from nodes that no driver starts.
    for name, value in (sweep.mark | {"TOY_DEATHS": str(sweep.deaths)}).items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    sweep.environment["RAY_ADDRESS"] = cluster.address
    try:
        nodes = [cluster.add_node(num_cpus=8) for _ in range(2)]
        # There is no driver yet, and so no worker.
        clusters_own = {process.pid for process in sweep.processes()}

        def left() -> list[psutil.Process]:
            """What the sweep has put on the nodes."""
            return [
                process
                for process in sweep.processes()
                if process.pid not in clusters_own and not title(process).startswith(RAYS_OWN)
            ]

        driver = sweep.start()
        wait_until(lambda: sweep.has_checkpoints(400) or driver.poll() is not None, 600, "both trials to come to 400")
        # The one that most of the sweep's processes run on.
        busy = max(nodes, key=num_actors)
        nodes.remove(busy)
        assert num_actors(busy) > 0
        on_busy = {raylet_of(busy).pid, *(child.pid for child in raylet_of(busy).children(recursive=True))}
        cluster.remove_node(busy, allow_graceful=False)
        assert sweep.end(driver) == 0, sweep.said
        # The cluster goes on, and so must take nothing of the sweep along.
        wait_until(lambda: not left(), 60, "what the sweep has put on the nodes to end")
        assert [num_actors(node) for node in (cluster.head_node, *nodes)] == [0, 0]
        assert not alive(on_busy)
    finally:
        cluster.shutdown()
    sweep.check_whole()


def raylet_of(node) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def num_actors(node) -> int:
    raylet = raylet_of(node).pid
    titles = [title(one) for one in psutil.process_iter(["ppid", "cmdline"]) if one.info["ppid"] == raylet]
    return sum(one.startswith("ray::") and not one.startswith(RAYS_OWN) for one in titles)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk(tmp_path, undisturbed):
    sweep = Sweep(tmp_path, *TWO_WORKERS)
    sweep.ratings.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", sweep.ratings], check=False).returncode:
        pytest.skip("this machine does not let us mount a file system")
    try:
        assert sweep.end(sweep.start("sweep.max_failures=0")) != 0
        assert "No space left on device" in sweep.said
        _, trials = runs_at_mlflow(sweep.folder / "runs")
        assert not {run.info.status for run in trials} & {"RUNNING", "FINISHED"}
        subprocess.run(["mount", "-o", "remount,size=50m", sweep.ratings], check=True)
        assert sweep.end(sweep.start("--resume")) == 0, sweep.said
        sweep.check_whole()
        assert sweep.results() == undisturbed
    finally:
        subprocess.run(["umount", "-l", sweep.ratings], check=False)


def test_a_part_of_the_store_is_cut(tmp_path):
    sweep = Sweep(tmp_path, *SEEING_FRAMES)
    sweep.kill_at_step_800()
    before = sweep.num_stored()
    part = sorted((sweep.ratings / "ratings").glob("part-*"))[0]
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    assert sweep.num_stored() < before
    kept = {row["key"] for row in RatingStore(sweep.ratings).rows(["key"])}
    lost = sum(key not in kept for name in TRIALS for key, _ in learnt_from(sweep.runs / name))
    assert lost > 0
    assert sweep.end(sweep.start("--resume")) == 0, sweep.said
    sweep.check_whole(lost=lost)


def test_a_trial_and_the_driver_die_and_the_newest_checkpoint_is_damaged(tmp_path):
    sweep = Sweep(tmp_path)
    grave = tmp_path / "runs/graves" / TRIALS[0]
    grave.parent.mkdir(parents=True)
    grave.touch()
    sweep.kill_at_step_800()
    # The first trial died at step 600; Tune started it again, and it went on from there.
    assert not grave.exists()
    assert [read_record(sweep.runs / name).outcome for name in TRIALS] == ["unfinished"] * 2
    (sweep.runs / TRIALS[0] / "checkpoints/env-steps-0000000800/reward_model.pt").write_bytes(b"torn")
    kept = {row["key"] for row in RatingStore(sweep.ratings).rows(["key"])}
    parents, trials = runs_at_mlflow(tmp_path / "runs")
    assert {run.info.status for run in parents + trials} == {"RUNNING"} and len(trials) == 2

    assert sweep.end(sweep.start()) != 0 and "holds a sweep already. Add --resume" in sweep.said
    assert sweep.end(sweep.start("--resume")) == 0, sweep.said
    damaged = [path.parts[-3] for path in sweep.runs.glob("*/checkpoints/damaged-env-steps-0000000800")]
    assert damaged == [TRIALS[0]]
    sweep.check_whole()
    assert kept <= {row["key"] for row in RatingStore(sweep.ratings).rows(["key"])}
    rows = list(csv.DictReader((sweep.runs / "summary.csv").open()))
    assert [(row["reward_model.loss"], row["finished"]) for row in rows] == [(loss, "1") for loss in LOSSES]
    (parent,), _ = runs_at_mlflow(tmp_path / "runs")
    assert parent.data.metrics["cell/loss-mae/success"] == float(rows[0]["success_iqm"])
