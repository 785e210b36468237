"""Actors are killed in the middle of their work, disks fill up, parts of the store are cut: the toy run comes through.

Where every death can be mended exactly, the run must equal one that nothing happened to, to the last bit.
"""

import errno
import logging
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import ray
import torch

from orchestrator.cluster import replacing
from orchestrator.errors import ActorsLost, DiskFailing
from orchestrator.online.actors import reward_learner_arguments
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.store import RatingStore
from orchestrator.storage import parquet_parts
from tests.fakes.mortal import MortalServer, MortalWorker
from tests.fakes.mortal_learner import MortalLearner
from tests.fakes.toy_reach import ToyWorker
from tests.fakes.toy_run import ToyRun, toy_experiment


class MortalRun(ToyRun):
    """A toy run of mortal actors; `graves` names the deaths to die."""

    def __init__(self, experiment, *graves):
        self.graves = experiment.runs_folder.parent / "graves"
        self.graves.mkdir(parents=True, exist_ok=True)
        for grave in graves:
            (self.graves / grave).touch()
        super().__init__(experiment, self.graves, MortalServer)

    def _start_worker(self, index):
        settings = self.experiment
        actor = ray.remote(MortalWorker).options(**self.worker_options)
        self.workers.append(actor.remote(self.graves, settings.task, settings.rollout, settings.seed, index))
        return self.workers[-1]

    def _start_learner(self):
        settings = self.experiment
        arguments = reward_learner_arguments(settings, self.world)
        self.learners.append(ray.remote(MortalLearner).remote(self.graves, *arguments))
        return self.learners[-1]

    worker_options: dict = {}  # noqa: RUF012 - replaced as a whole

    @property
    def graves_left(self):
        return sorted(grave.name for grave in self.graves.iterdir())


@pytest.fixture(scope="module")
def local_ray():
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def short_experiment(folder: Path, **changes) -> OnlineExperiment:
    settings = toy_experiment(folder).model_dump()
    settings["rollout"]["num_workers"] = 2
    settings["reward_model"]["max_epochs"] = 5
    return OnlineExperiment.model_validate(settings | {"total_env_steps": 480} | changes)


def seeing_frames(folder: Path) -> OnlineExperiment:
    experiment = short_experiment(folder)
    frames = {"input": "frame", "network": "small", "image_px": 28, "max_epochs": 2, "frame_cache_gb": 1.0}
    return OnlineExperiment.model_validate(
        experiment.model_dump() | {"reward_model": experiment.reward_model.model_dump() | frames}
    )


@pytest.fixture(scope="module")
def undisturbed(local_ray, tmp_path_factory):
    return MortalRun(short_experiment(tmp_path_factory.mktemp("undisturbed"))).run().fingerprint()


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr("actors.rating.replica_link.PAUSES_S", (0.1,) * 4)


def one(name, *deaths):
    return pytest.param(deaths, id=name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param(
            ["evaluate-0", "collect-0", "collect-1", "render-1", "train", "score", "server"], id="one after another"
        ),
        one("one worker", "collect-0"),
        one("all workers", "collect-0", "collect-1"),
        one("render and evaluate", "render-1", "evaluate-0"),
        one("reward learner", "train", "score"),
        one("rating actor", "server"),
    ],
)
def test_a_run_whose_actors_are_killed_equals_one_undisturbed(tmp_path, undisturbed, no_pause, deaths, caplog):
    run = MortalRun(short_experiment(tmp_path), *deaths).run()
    assert run.graves_left == []
    assert run.fingerprint() == undisturbed
    assert "died" in caplog.text or "lost" in caplog.text
    rows = list(RatingStore(tmp_path / "ratings").rows())
    assert sorted(row["key"] for row in rows) == sorted(set(run.labels.keys))
    assert not list(RatingStore(tmp_path / "ratings").failures())


@pytest.mark.slow
def test_frames_of_a_reward_learner_that_died_are_drawn_again(local_ray, tmp_path):
    whole = MortalRun(seeing_frames(tmp_path / "whole")).run()
    run = MortalRun(seeing_frames(tmp_path / "killed"), "score", "train").run()
    assert run.graves_left == [] and len(run.learners) == 3
    assert run.fingerprint() == whole.fingerprint()


def test_an_actor_that_can_not_be_made_ends_the_run_with_its_reason(local_ray, tmp_path):
    class NeverMade(ToyWorker):
        def __init__(self, *_):
            raise RuntimeError("this node has no OpenGL")

    class Run(ToyRun):
        worker_class = NeverMade

    with pytest.raises(ActorsLost, match="rollout worker 0 cannot be made: RuntimeError: this node has no OpenGL"):
        Run(short_experiment(tmp_path)).run()


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_a_message_and_it_goes_on_afterwards(tmp_path, undisturbed, monkeypatch, caplog):
    write, written = parquet_parts.write_atomic, []

    def full_after_one(path, content):
        written.append(path)
        if path.parent.name == "ratings" and sum(one.parent.name == "ratings" for one in written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(parquet_parts, "write_atomic", full_after_one)
    experiment = short_experiment(tmp_path)
    with pytest.raises(DiskFailing, match=r"No space left on device.*the run goes on"):
        MortalRun(experiment).run()
    monkeypatch.setattr(parquet_parts, "write_atomic", write)
    kept = len(RatingStore(tmp_path / "ratings"))
    assert kept > 0
    again = MortalRun(experiment)
    again.run(resume=bool(again.checkpoints.newest_first()))
    assert again.fingerprint() == undisturbed
    assert again.num_asked == len(RatingStore(tmp_path / "ratings")) - kept


@pytest.mark.slow
def test_a_cut_part_of_the_store_costs_its_ratings_and_not_the_run(local_ray, tmp_path, caplog):
    experiment = seeing_frames(tmp_path)
    MortalRun(experiment.model_copy(update={"total_env_steps": 400})).run()
    part = sorted((tmp_path / "ratings" / "ratings").glob("part-*"))[0]
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    resumed = MortalRun(experiment)
    resumed.run(resume=True)
    assert "have lost their frames in the damaged store" in caplog.text
    # 40 of the first session, less what was lost, and 40 of the second.
    assert 40 <= len(resumed.labels) < 80
    store = RatingStore(tmp_path / "ratings")
    assert set(resumed.labels.keys) <= {row["key"] for row in store.rows()}


@pytest.mark.slow
def test_all_nodes_of_the_workers_go_and_the_run_says_so_and_goes_on_when_one_returns(tmp_path, monkeypatch, caplog):
    from ray.cluster_utils import Cluster

    ray.shutdown()
    monkeypatch.setattr(replacing, "FIRST_SAY_S", 2.0)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        node = cluster.add_node(num_cpus=2, resources={"env": 2})

        class Run(MortalRun):
            worker_options = {"num_cpus": 1, "resources": {"env": 1}}  # noqa: RUF012

        run = Run(seeing_frames(tmp_path))
        caplog.set_level(logging.WARNING)
        going = threading.Thread(target=run.run)
        going.start()
        until(lambda: run.loop.progress.reward_version == 1)
        cluster.remove_node(node, allow_graceful=False)
        until(lambda: "2 of 2 rollout workers are not there after" in caplog.text)
        assert "all of 2 rollout workers died" in caplog.text
        cluster.add_node(num_cpus=2, resources={"env": 2})
        going.join(180)
        assert not going.is_alive()
        assert "rollout workers: back after" in caplog.text
        # They would keep the node's places from the undisturbed run's.
        for worker in run.workers:
            ray.kill(worker)
        whole = seeing_frames(tmp_path / "whole")
        assert run.fingerprint() == Run(whole).run().fingerprint()
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], check=False).returncode:
        pytest.skip("this machine does not let us mount a file system")
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        experiment = short_experiment(disk)
        with pytest.raises(DiskFailing, match="No space left on device"):
            MortalRun(experiment).run()
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        run = MortalRun(experiment)
        run.run(resume=bool(run.checkpoints.newest_first()))
        undisturbed = MortalRun(short_experiment(tmp_path / "undisturbed")).run()
        assert run.fingerprint() == undisturbed.fingerprint()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def until(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
