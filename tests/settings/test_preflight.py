"""What is checked before anything starts, whatever it is."""

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


def test_an_unknown_model():
    with pytest.raises(SettingsError, match=r"rater\.model 'no-such-folder'"):
        preflight.check_model(RaterSettings(model="no-such-folder"))


def test_no_opengl(monkeypatch):
    def fail():
        raise RuntimeError("no OpenGL backend works; apt-get install libosmesa6")

    monkeypatch.setattr(preflight, "chosen_backend", fail)
    with pytest.raises(SettingsError, match="apt-get install libosmesa6"):
        preflight.check_opengl()
