"""The archive of frames: what it gives back, where it keeps it, and what a kill or damage leaves."""

import logging

import numpy as np
import pytest

from algorithms.frame_codec import encode
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.frame_archive import FrameArchive, FramesDamaged
from orchestrator.runs.home import RunHome
from orchestrator.storage import locations as storage

STEPS = 5
"""Agent steps of a block."""
FRAME = 8 * 8 * 3
LARGE = 10**9


def frame_after(step):
    """What is seen after a step: noise of its own, which no codec makes smaller."""
    return np.random.default_rng(step).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def block_from(first):
    """Of the steps from `first` on; its row 0 is what was seen before them."""
    return encode(np.stack([frame_after(step) for step in (10**6 + first, *range(first, first + STEPS))]))


def expected(indices):
    return np.stack([frame_after(step) for step in indices])


def archive_in(folder, memory=LARGE, disk=LARGE, kept=2):
    return FrameArchive(folder / "step_frames", memory, disk, kept)


def filled(archive, start, stop):
    for first in range(start, stop, STEPS):
        archive.add(first, block_from(first))
    return archive


def checkpoint(archive, folder, name):
    path = folder / name
    path.mkdir()
    archive.save(path)
    return path


def files(folder):
    return sorted(path for path in (folder / "step_frames").glob("*"))


@pytest.mark.parametrize("memory", [LARGE, 4 * STEPS * FRAME, 1], ids=["all in memory", "some", "none"])
def test_frames_come_back_in_any_order_wherever_they_lie(tmp_path, memory):
    archive = filled(archive_in(tmp_path, memory), 0, 100)
    indices = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(archive.frames(indices), expected(indices))
    np.testing.assert_array_equal(archive.frames([42, 42, 7]), expected([42, 42, 7]))
    assert archive.has([0, 99, 100, -1]).tolist() == [True, True, False, False]
    assert archive.memory_bytes <= max(memory, 0)
    assert bool(files(tmp_path)) == (memory < LARGE)


def test_what_is_not_there_is_said(tmp_path):
    archive = archive_in(tmp_path)
    assert archive.has([0]).tolist() == [False]
    with pytest.raises(KeyError, match="frames of 1 steps are not here"):
        filled(archive, 0, 10).frames([3, 10])
    for first, block in ((5, block_from(5)), (10, encode(np.stack([frame_after(0)])))):
        with pytest.raises(ValueError, match="the next step to come is 10"):
            archive.add(first, block)
    with pytest.raises(ValueError, match="is no block"):
        archive.add(10, b"something else")


def test_a_checkpoint_writes_what_is_new_alone(tmp_path):
    archive = filled(archive_in(tmp_path), 0, 50)
    first = checkpoint(archive, tmp_path, "first")
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files(tmp_path)}
    checkpoint(archive, tmp_path, "nothing-new")
    assert files(tmp_path) == list(before)
    checkpoint(filled(archive, 50, 60), tmp_path, "second")
    new = [path for path in files(tmp_path) if path not in before]
    assert [path.name for path in new] == ["from-000000000050.frames"]
    assert new[0].stat().st_size < 10 * FRAME * 2
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert sum(path.stat().st_size for path in first.iterdir()) < 200


def test_killed_after_a_checkpoint_and_resumed(tmp_path):
    archive = filled(archive_in(tmp_path, memory=1), 0, 50)
    saved = checkpoint(archive, tmp_path, "saved")
    filled(archive, 50, 80)
    assert len(files(tmp_path)) == 16
    resumed = archive_in(tmp_path, memory=1)
    resumed.restore(saved)
    assert len(files(tmp_path)) == 10
    assert resumed.has([49, 50]).tolist() == [True, False]
    assert resumed.nbytes == archive.nbytes * 50 // 80
    filled(resumed, 50, 80)
    np.testing.assert_array_equal(resumed.frames(np.arange(80)), expected(range(80)))


def test_a_run_that_begins_anew_finds_nothing_of_the_one_before(tmp_path):
    filled(archive_in(tmp_path, memory=1), 0, 50)
    anew = filled(archive_in(tmp_path), 0, 5)
    assert files(tmp_path) == []
    np.testing.assert_array_equal(anew.frames([4]), expected([4]))


def test_the_oldest_go_when_the_disk_budget_is_full(tmp_path):
    one = len(block_from(0))
    archive = filled(archive_in(tmp_path, memory=1, disk=4 * one + 8), 0, 50)
    assert archive.oldest == 30
    assert archive.nbytes <= 4 * one + 8
    assert archive.has([29, 30]).tolist() == [False, True]
    np.testing.assert_array_equal(archive.frames(np.arange(30, 50)), expected(range(30, 50)))
    # However small it is, the newest block stays.
    assert filled(archive_in(tmp_path / "small", disk=1), 0, 20).oldest == 15


def test_files_stay_as_long_as_a_checkpoint_needs_them(tmp_path):
    archive = filled(archive_in(tmp_path, memory=1, kept=2), 0, 50)
    saved = [checkpoint(archive, tmp_path, "at-50")]
    archive.drop_before(40)
    assert archive.has([39, 40]).tolist() == [False, True]
    assert len(files(tmp_path)) == 10
    for stop in (60, 70):
        filled(archive, stop - 10, stop)
        saved.append(checkpoint(archive, tmp_path, f"at-{stop}"))
        archive.drop_before(stop - 10)
    # The one before the two that are kept may still be the newest if this one is not published.
    older = archive_in(tmp_path)
    older.restore(saved[1])
    np.testing.assert_array_equal(older.frames(np.arange(40, 60)), expected(range(40, 60)))
    filled(older, 60, 70)
    checkpoint(older, tmp_path, "again-at-70")
    checkpoint(older, tmp_path, "at-70-too")
    assert files(tmp_path)[0].name == "from-000000000040.frames"


def test_within_a_block_what_was_dropped_is_gone_after_a_resume_too(tmp_path):
    archive = filled(archive_in(tmp_path), 0, 20)
    archive.drop_before(7)
    saved = checkpoint(archive, tmp_path, "saved")
    resumed = archive_in(tmp_path)
    resumed.restore(saved)
    for one in (archive, resumed):
        assert one.has([4, 6, 7]).tolist() == [False, False, True]
        assert one.oldest == 7
    assert resumed.nbytes == archive.nbytes


def test_damage_anywhere_is_told_and_the_rest_stays(tmp_path, caplog):
    archive = filled(archive_in(tmp_path, memory=10 * STEPS * FRAME), 0, 100)
    saved = checkpoint(archive, tmp_path, "saved")
    damaged = files(tmp_path)[1]
    whole = damaged.read_bytes()
    for place in (0, 5, 14, 40, len(whole) // 2, len(whole) - 1):
        caplog.clear()
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        resumed = archive_in(tmp_path)
        with caplog.at_level(logging.WARNING):
            resumed.restore(saved)
        there = np.flatnonzero(resumed.has(np.arange(100)))
        assert 0 < len(there) < 100
        np.testing.assert_array_equal(resumed.frames(there), expected(there))
        assert str(damaged) in caplog.messages[0]
        assert f"lost the frames of {100 - len(there)} of 100 steps" in caplog.messages[1]
        filled(resumed, 100, 105)


def test_a_file_that_was_cut_off_or_is_gone(tmp_path, caplog):
    saved = checkpoint(filled(archive_in(tmp_path, memory=10 * STEPS * FRAME), 0, 100), tmp_path, "saved")
    first, second, *_ = files(tmp_path)
    first.write_bytes(first.read_bytes()[:-10])
    second.unlink()
    resumed = archive_in(tmp_path)
    with caplog.at_level(logging.WARNING):
        resumed.restore(saved)
    assert 0 < resumed.has(np.arange(100)).sum() < 95
    assert "1 of" in caplog.messages[0] and "lost the frames of" in caplog.messages[1]


def test_damage_while_the_run_goes_on_names_the_file(tmp_path):
    archive = filled(archive_in(tmp_path, memory=1), 0, 20)
    path = files(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FramesDamaged, match=f"{path}.* Give the same command again"):
        archive.frames([12])
    path.unlink()
    with pytest.raises(FramesDamaged, match="No such file"):
        archive.frames([12])
    np.testing.assert_array_equal(archive.frames([9, 15]), expected([9, 15]))


def test_another_run_takes_the_frames_of_a_checkpoint_over(tmp_path):
    better, worse = tmp_path / "better", tmp_path / "worse"
    archive = filled(archive_in(better, memory=1), 0, 20)
    Checkpoints(better / "checkpoints", 2).save(20, archive.save)
    filled(archive, 20, 30)
    own = filled(archive_in(worse, memory=1), 0, 40)
    checkpoints = Checkpoints(worse / "checkpoints", 2)
    checkpoints.save(40, own.save)
    taken = checkpoints.take_over(better / "checkpoints")
    assert [path.name for path in files(worse)] == [path.name for path in files(better)[:4]]
    resumed = archive_in(worse)
    resumed.restore(taken)
    np.testing.assert_array_equal(resumed.frames(np.arange(20)), expected(range(20)))
    assert not resumed.has([20])[0]


def test_at_a_remote_home_are_the_files_that_are_here(memory_folder, tmp_path, monkeypatch):
    def on_machine(name):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(tmp_path / name))
        home = RunHome(memory_folder / "run-seed0")
        return home.folder, Checkpoints(home.folder / "checkpoints", 1, home)

    folder, checkpoints = on_machine("a")
    archive = archive_in(folder, memory=1, kept=1)
    for stop in (10, 20, 30, 40):
        filled(archive, stop - 10, stop)
        archive.drop_before(stop - 10)
        checkpoints.save(stop, archive.save)
    at_home = [name for name in (memory_folder / "run-seed0").files() if name.startswith("step_frames/")]
    assert at_home == [f"step_frames/{path.name}" for path in files(folder)]
    assert at_home[0].endswith("20.frames")
    other, checkpoints = on_machine("b")
    resumed = archive_in(other)
    resumed.restore(checkpoints.newest_first()[0])
    np.testing.assert_array_equal(resumed.frames(np.arange(30, 40)), expected(range(30, 40)))
