"""Runs whose folder is remote: each machine works on a copy, and checkpoints go home whole or not at all."""

import logging
import shutil

import pytest
import ray

from orchestrator.errors import SettingsError
from orchestrator.kinds import read_run
from orchestrator.runs import home as run_home
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.home import RunHome
from orchestrator.storage import locations as storage
from orchestrator.storage.locations import StorageFailing
from orchestrator.storage.writing import write_json, write_text
from tests.fakes.toy_run import ToyRun, toy_experiment


@pytest.fixture
def on_machine(tmp_path, monkeypatch):
    """`on_machine("a")`: what follows happens on a machine with a disk of its own."""

    def move(name):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(tmp_path / name))

    move("a")
    return move


def begin(folder, keep=2):
    home = RunHome(folder / "run-seed0")
    return home, Checkpoints(home.folder / "checkpoints", keep, home)


def save(checkpoints, env_steps, text):
    def write(folder):
        (folder / "policy").mkdir()
        write_text(folder / "policy" / "weights", text * 1000)
        write_text(folder / "loop.json", text)

    return checkpoints.save(env_steps, write)


def held(checkpoints):
    return [(path.name, (path / "loop.json").read_text()) for path in checkpoints.newest_first()]


def test_a_folder_of_this_machine_is_left_as_it_is(tmp_path):
    home = RunHome(tmp_path / "run")
    assert home.folder == tmp_path / "run" and home.address(home.folder / "a") == tmp_path / "run" / "a"
    save(Checkpoints(home.folder / "checkpoints", 2, home), 100, "one")
    home.publish()
    home.finish()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints"]


def test_another_machine_goes_on_from_the_newest_checkpoint(remote_folder, on_machine):
    home, checkpoints = begin(remote_folder)
    write_text(home.folder / "metrics.jsonl", "{}")
    write_text(home.folder / "figures" / "a.png", "picture")
    for step, text in ((100, "one"), (200, "two"), (300, "three")):
        save(checkpoints, step, text)
    on_machine("b")
    other, there = begin(remote_folder)
    assert other.folder != home.folder
    assert held(there) == [("env-steps-0000000300", "three"), ("env-steps-0000000200", "two")]
    assert (there.newest_first()[0] / "policy" / "weights").read_text() == "three" * 1000
    assert (other.folder / "metrics.jsonl").read_text() == "{}"
    assert (other.folder / "figures" / "a.png").read_text() == "picture"
    assert str(other.address(other.folder / "figures" / "a.png")).endswith("/run-seed0/figures/a.png")
    # Those beyond `keep` are gone at home too.
    assert not any("0000000100" in name for name in (remote_folder / "run-seed0").files())
    # The first machine's copy has become old: back there, it is brought up to date.
    save(there, 400, "four")
    on_machine("a")
    assert held(begin(remote_folder)[1])[0] == ("env-steps-0000000400", "four")


@pytest.mark.parametrize("damage", ["flipped", "cut", "file gone", "manifest gone", "manifest cut"])
def test_a_damaged_newest_checkpoint_falls_back(memory_folder, on_machine, damage, caplog):
    _, checkpoints = begin(memory_folder)
    save(checkpoints, 100, "one")
    save(checkpoints, 200, "two")
    newest = memory_folder / "run-seed0" / "checkpoints" / "env-steps-0000000200"
    weights, manifest = newest / "policy" / "weights", newest.parent / f"{newest.name}.manifest.json"
    if damage == "flipped":
        weights.write_bytes(b"T" + weights.read_bytes()[1:])
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "file gone":
        weights.unlink()
    elif damage == "manifest gone":
        manifest.unlink()
    else:
        manifest.write_bytes(manifest.read_bytes()[:30])
    on_machine("b")
    with caplog.at_level(logging.WARNING):
        _, there = begin(memory_folder)
    assert held(there) == [("env-steps-0000000100", "one")]
    assert bool(caplog.records) == (damage != "manifest gone")
    # What is damaged pushes nothing out, and is swept away by the next one.
    save(there, 300, "three")
    on_machine("c")
    assert held(begin(memory_folder)[1]) == [("env-steps-0000000300", "three"), ("env-steps-0000000100", "one")]
    assert not any("0000000200" in name for name in (memory_folder / "run-seed0").files())


def test_when_all_checkpoints_are_damaged_nothing_is_started_anew(memory_folder, on_machine):
    _, checkpoints = begin(memory_folder)
    save(checkpoints, 100, "one")
    (memory_folder / "run-seed0" / "checkpoints" / "env-steps-0000000100" / "loop.json").unlink()
    with pytest.raises(SettingsError, match=r"none of the checkpoints in hdfs://.* is whole"):
        begin(memory_folder)


def test_a_kill_while_a_checkpoint_goes_home_leaves_the_one_before(remote_folder, on_machine, monkeypatch):
    _, checkpoints = begin(remote_folder)
    save(checkpoints, 100, "one")

    def killed(path, value):
        raise KeyboardInterrupt

    for _ in range(2):  # The second time the name is there already, without a manifest.
        with monkeypatch.context() as patch:
            patch.setattr(run_home, "write_json", killed)
            with pytest.raises(KeyboardInterrupt):
                save(checkpoints, 200, "two")
    on_machine("b")
    assert held(begin(remote_folder)[1]) == [("env-steps-0000000100", "one")]


def test_a_checkpoint_that_cannot_be_restored_is_forgotten_at_home(memory_folder, on_machine):
    _, checkpoints = begin(memory_folder)
    save(checkpoints, 100, "one")
    checkpoints.set_aside(save(checkpoints, 200, "two"))
    on_machine("b")
    assert held(begin(memory_folder)[1]) == [("env-steps-0000000100", "one")]


def test_the_later_of_two_processes_wins(memory_folder, on_machine):
    _, first = begin(memory_folder)
    save(first, 100, "one")
    on_machine("b")
    _, second = begin(memory_folder)
    save(second, 200, "two")
    on_machine("a")
    with pytest.raises(SettingsError, match=r"was taken over by process \d+ on .*, so this process stops"):
        save(first, 150, "late")
    on_machine("c")
    assert held(begin(memory_folder)[1])[0] == ("env-steps-0000000200", "two")


def test_what_others_wrote_at_home_is_not_overwritten(memory_folder, on_machine):
    run = memory_folder / "run-seed0"
    write_json(run / "mlflow_run.json", {"token": "old"})
    home, checkpoints = begin(memory_folder)
    assert (home.folder / "mlflow_run.json").exists()
    write_json(run / "mlflow_run.json", {"token": "new"})
    save(checkpoints, 100, "one")
    home.finish()
    assert "new" in (run / "mlflow_run.json").read_text()
    assert not list(home.folder.glob("[!.]*")), "the copy is deleted at the end"


def test_population_based_training_takes_a_remote_checkpoint_over(memory_folder, tmp_path, on_machine):
    _, checkpoints = begin(memory_folder)
    save(checkpoints, 100, "one")
    save(checkpoints, 300, "three")
    other_home = RunHome(memory_folder / "other-seed0")
    other = Checkpoints(other_home.folder / "checkpoints", 2, other_home)
    save(other, 200, "two")
    checkpoints.take_over(memory_folder / "other-seed0" / "checkpoints")
    assert held(checkpoints)[0] == ("env-steps-0000000200", "two")
    on_machine("b")
    assert held(begin(memory_folder)[1])[0] == ("env-steps-0000000200", "two")
    local = Checkpoints(tmp_path / "local", 2)
    assert local.take_over(memory_folder / "none-seed0" / "checkpoints") is None


def test_storage_that_is_full_or_away_says_so(memory_folder, on_machine, monkeypatch):
    _, checkpoints = begin(memory_folder)
    monkeypatch.setattr("time.sleep", lambda _: None)

    def refuse(self, fill):
        raise OSError("quota exceeded")

    monkeypatch.setattr(storage.RemotePath, "_write", refuse)
    with pytest.raises(StorageFailing, match=r"quota exceeded.*goes on from its last checkpoint"):
        save(checkpoints, 100, "one")


@pytest.mark.slow
def test_a_run_on_s3_stops_and_goes_on_elsewhere_as_if_never_stopped(s3_folder, tmp_path, on_machine):
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        plain = toy_experiment(tmp_path)
        folders = {"runs_folder": s3_folder / "runs", "ratings_folder": s3_folder / "ratings"}
        remote = plain.model_copy(update=folders)
        ToyRun(remote.model_copy(update={"total_env_steps": 800})).run()
        shutil.rmtree(tmp_path / "a")
        on_machine("b")
        resumed = ToyRun(remote).run(resume=True)
        resumed.home.finish()
        assert resumed.fingerprint() == ToyRun(plain).run().fingerprint()
        found, expected = read_run(remote.run_folder), read_run(plain.run_folder)
        assert found.series("eval/success").values.tolist() == expected.series("eval/success").values.tolist()
    finally:
        ray.shutdown()
