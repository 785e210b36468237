"""The rating store's files: damaged ones, merged ones, and those of several writers."""

import multiprocessing
import os
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.ratings.columns import image_hash
from orchestrator.ratings.store import RatingStore
from orchestrator.storage import parquet_parts
from orchestrator.storage.parquet_parts import StoreVersionError
from tests.fakes.small_store import IDENTITY, SAMPLING, add, parts, png, question, rating


def test_a_damaged_part_is_named_once_and_its_rows_are_asked_again(tmp_path, caplog):
    store = RatingStore(tmp_path)
    add(store, [1])
    add(store, [2])
    first = parts(tmp_path, "ratings")[0]
    first.write_bytes(first.read_bytes()[:-20])
    for view in (lambda: RatingStore(tmp_path), lambda: store):
        caplog.clear()
        reader = view()
        assert set(reader.lookup(["key1", "key2"])) == {"key2"}
        assert set(reader.lookup(["key1", "key2"])) == {"key2"}
        assert caplog.text.count(first.name) == 1
    add(store, [1])
    assert store.lookup(["key1"])["key1"] == rating(1)


def test_a_flipped_byte_is_noticed_by_its_checksum(tmp_path, caplog):
    store = RatingStore(tmp_path)
    store.append([(question(1), rating(1, analysis="the drawer is open " * 40))], IDENTITY, SAMPLING, "run")
    (part,) = parts(tmp_path, "images")
    content = bytearray(part.read_bytes())
    content[content.index(b"IHDR") + 20] ^= 1
    part.write_bytes(bytes(content))
    assert store.images([image_hash(png(1))]) == {}
    assert part.name in caplog.text
    with pytest.raises(LookupError, match="1 of 1 rated segments have lost their frames"):
        store.frames(["key1"])


def test_a_damaged_copy_does_not_hide_the_good_row(tmp_path, monkeypatch):
    first, second = RatingStore(tmp_path), RatingStore(tmp_path)
    add(first, [1])
    monkeypatch.setattr(parquet_parts.PartsTable, "refresh", lambda self: None)
    add(second, [1])
    monkeypatch.undo()
    store = RatingStore(tmp_path)
    part = parts(tmp_path, "ratings")[0]
    part.write_bytes(part.read_bytes()[:100])
    assert store.lookup(["key1"]) == {"key1": rating(1)}


def test_other_files_in_the_folder_are_no_parts(tmp_path, caplog):
    store = RatingStore(tmp_path)
    add(store, [1])
    foreign = tmp_path / "ratings" / "part-0-foreign.parquet"
    pq.write_table(pa.table({"key": ["key9"]}), foreign)
    (tmp_path / "ratings" / ".part-1.parquet.x.tmp").write_bytes(b"half")
    (tmp_path / "ratings" / "README").write_text("hello")
    assert set(RatingStore(tmp_path).lookup(["key1", "key9"])) == {"key1"}
    assert "part-0-foreign.parquet" in caplog.text and "no part of a rating store" in caplog.text
    assert foreign.exists()


def test_a_newer_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.ratings.store.SCHEMA_VERSION", 99)
    add(RatingStore(tmp_path), [1])
    monkeypatch.undo()
    with pytest.raises(StoreVersionError, match=r"schema version 99; this likert-rl reads up to 1\. Update likert-rl"):
        RatingStore(tmp_path)


def test_compaction_keeps_every_row_and_which_comes_first(tmp_path):
    store = RatingStore(tmp_path)
    for number in range(6):
        add(store, [number])
    before = {key: store.lookup([key])[key] for key in (f"key{n}" for n in range(6))}
    other = RatingStore(tmp_path)
    assert store.compact() == {"images": (6, 1), "ratings": (6, 1), "failures": (0, 0)}
    assert len(parts(tmp_path, "ratings")) == 1
    # A later copy of a key, under a later name, does not displace the merged row.
    late = RatingStore(tmp_path / "elsewhere")
    late.append([(question(3), rating(3, level=0))], IDENTITY, SAMPLING, "late")
    (part,) = parts(tmp_path / "elsewhere", "ratings")
    part.rename(tmp_path / "ratings" / part.name)
    for reader in (store, other, RatingStore(tmp_path)):
        assert reader.lookup(before) == before
        assert reader.frames(["key5", "key0"]) == [(png(5),), (png(0),)]


def test_compaction_leaves_damaged_parts_alone(tmp_path, caplog):
    store = RatingStore(tmp_path)
    for number in range(3):
        add(store, [number])
    damaged = parts(tmp_path, "ratings")[1]
    damaged.write_bytes(b"PAR1 rubbish PAR1")
    assert store.compact()["ratings"] == (3, 1)
    assert damaged.exists()
    assert set(RatingStore(tmp_path).lookup(["key0", "key1", "key2"])) == {"key0", "key2"}


def test_reads_stay_right_while_another_process_merges(tmp_path):
    reader = RatingStore(tmp_path)
    for number in range(4):
        add(reader, [number])
    # The reader knows the four parts; they vanish before it reads.
    RatingStore(tmp_path).compact()
    assert reader.lookup(["key0", "key3"]) == {"key0": rating(0), "key3": rating(3)}


def write_many(folder, first, number):
    store = RatingStore(folder)
    for start in range(first, first + number, 4):
        add(store, range(start, start + 4), run=f"run-{first}")


def test_several_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, first, 40)) for first in (0, 20, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    keys = [f"key{n}" for n in (*range(60), *range(1000, 1040))]
    store = RatingStore(tmp_path)
    assert len(store.lookup(keys)) == 100
    assert store.counts().ratings == 100
    assert len(store.load(keys)) == 100


def test_a_writer_killed_at_any_moment_leaves_whole_parts(tmp_path, caplog):
    context = multiprocessing.get_context("spawn")
    for first in (0, 10_000, 20_000):
        writer = context.Process(target=write_many, args=(tmp_path, first, 4_000))
        writer.start()
        while len(parts(tmp_path, "ratings")) < 2 + first / 10_000:
            time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    store = RatingStore(tmp_path)
    keys = [row["key"] for row in store.rows(["key"])]
    assert len(keys) >= 8
    # Pictures are written first, so that every rating can be shown.
    assert len(store.load(keys)) == len(keys)
    assert not caplog.records
