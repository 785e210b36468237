"""What is checked before anything starts, whatever it is."""

from pathlib import Path

import pytest

from actors.rating.settings import RaterSettings
from orchestrator.errors import SettingsError
from orchestrator.settings import preflight


def test_folders_are_made(tmp_path):
    preflight.check_writable("runs_folder", tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"runs_folder = .*file/runs': must be a folder that can be written to"):
        preflight.check_writable("runs_folder", tmp_path / "file" / "runs")


@pytest.mark.parametrize("name", ["s3:/bucket/report", "https://host/x", "file\0", 300 * "x"])
def test_what_is_no_place_on_a_disk_here(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for check in (preflight.check_writable, preflight.check_file_writable):
        with pytest.raises(SettingsError, match="--out = "):
            check("--out", Path(name) / "below")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "there").write_text("in the way")
    preflight.check_file_writable("--export", tmp_path / "there")
    preflight.check_file_writable("--export", tmp_path / "new" / "all.csv")
    with pytest.raises(SettingsError, match=r"folder of --export = .*there': must be a folder"):
        preflight.check_file_writable("--export", tmp_path / "there" / "all.csv")
    with pytest.raises(SettingsError, match=r"--export = .*new': must be a file"):
        preflight.check_file_writable("--export", tmp_path / "new")
    assert (tmp_path / "there").read_text() == "in the way" and list((tmp_path / "new").iterdir()) == []


def test_an_unknown_model():
    with pytest.raises(SettingsError, match=r"rater\.model 'no-such-folder'"):
        preflight.check_model(RaterSettings(model="no-such-folder"))


def test_no_opengl(monkeypatch):
    def fail():
        raise RuntimeError("no OpenGL backend works; apt-get install libosmesa6")

    monkeypatch.setattr(preflight, "chosen_backend", fail)
    with pytest.raises(SettingsError, match="apt-get install libosmesa6"):
        preflight.check_opengl()
