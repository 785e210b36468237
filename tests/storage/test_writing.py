"""Files that are whole or absent."""

import os
import threading

import numpy as np
import pytest

from orchestrator.errors import SettingsError
from orchestrator.storage import writing as run_files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "new" / "a.txt"
    run_files.write_text(path, "a longer first text")
    run_files.write_text(path, "second")
    assert path.read_text() == "second"
    assert names(path.parent) == ["a.txt"]


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    run_files.write_text(path, "old")

    def fail(file):
        file.write(b"half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_files.write_atomic(path, fail)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_file_has_its_name_only_once_it_is_on_disk(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(names(tmp_path)), real(fd)))
    run_files.write_text(tmp_path / "a.txt", "text")
    assert len(synced) == 2
    assert synced[0][0].startswith(".a.txt.") and synced[0][0].endswith(".tmp")
    assert synced[1] == ["a.txt"]


def test_arrays_come_back_and_objects_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    run_files.write_arrays(path, {"x": np.arange(3, dtype=np.int16), "empty": np.zeros((0, 2))})
    arrays = run_files.read_arrays(path)
    assert arrays["x"].tolist() == [0, 1, 2] and arrays["x"].dtype == np.int16
    assert arrays["empty"].shape == (0, 2)
    with pytest.raises(TypeError, match="pickle"):
        run_files.write_arrays(path, {"x": np.array([{}])})


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_files.write_json(tmp_path / "a.json", {"x": float("nan")})


def test_json_lines_leave_out_a_torn_last_line(tmp_path):
    path = tmp_path / "a.jsonl"
    assert run_files.read_json_lines(path) == []
    run_files.append_json_line(path, {"a": 1})
    run_files.append_json_line(path, {"a": 2})
    path.write_bytes(path.read_bytes() + b'{"a": 3')
    assert run_files.read_json_lines(path) == [{"a": 1}, {"a": 2}]


def test_json_lines_name_a_bad_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        run_files.read_json_lines(path)


def test_stale_temporaries_go_and_fresh_ones_stay(tmp_path):
    for name in (".old.tmp", ".new.tmp", "kept.tmp", "kept.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp" / "inside").write_text("x")
    for name in (".old.tmp", ".folder.tmp", "kept.tmp", "kept.txt"):
        os.utime(tmp_path / name, (0, 0))
    assert run_files.remove_stale_temporaries(tmp_path) == 2
    assert names(tmp_path) == [".new.tmp", "kept.tmp", "kept.txt"]
    assert run_files.remove_stale_temporaries(tmp_path / "absent") == 0


def test_folder_lock_keeps_others_out_until_released(tmp_path):
    with run_files.FolderLock(tmp_path / "run"):
        with pytest.raises(SettingsError, match=f"in use by another process .process {os.getpid()} on"):
            run_files.FolderLock(tmp_path / "run")
    run_files.FolderLock(tmp_path / "run").release()


def test_waiting_lock_lets_one_at_a_time_past(tmp_path):
    inside = []
    entered = threading.Event()

    def second():
        with run_files.waiting_lock(tmp_path / ".lock"):
            inside.append("second")
            entered.set()

    with run_files.waiting_lock(tmp_path / ".lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
        inside.append("first")
    thread.join()
    assert inside == ["first", "second"]
