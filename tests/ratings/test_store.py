"""The rating store: one row per key, one picture per hash, several writers, damaged parts."""

import dataclasses
import io
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from orchestrator.errors import SettingsError
from orchestrator.ratings import schema as rating_schema
from orchestrator.ratings.columns import image_hash
from orchestrator.ratings.export import export_images, export_ratings
from orchestrator.ratings.question import Question
from orchestrator.ratings.score_store import SCORE_FAILURES, SCORES
from orchestrator.ratings.store import RatingStore
from orchestrator.ratings.store_command import show_store
from orchestrator.storage import parquet_parts
from orchestrator.storage.parquet_parts import StoreVersionError

IDENTITY = RaterIdentity("sha256:abc", "r1")
SAMPLING = Sampling(temperature=0.5, seed=3)
SCALE = RatingScale.likert(3, ("open", "partly", "closed"))


def png(shade, size=(6, 4)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade % 256, shade // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def question(number, frames=None, env_step=100, success=False):
    frames = frames or (png(number),)
    request = RatingRequest(tuple(frames), TaskText("close the drawer", "the drawer"), SCALE, "two_turn")
    return Question(request, tuple(frames), env_step, success)


def rating(number, level=1, analysis="The drawer is [half] open."):
    return Rating(f"key{number}", level, (0.1, 0.7, 0.2), analysis, 30, 8, 0.25)


def failure(number, cause="timeout"):
    return RatingFailure(f"key{number}", cause, "no answer in 120 s", 3)


def add(store, numbers, run="run-a", **changes):
    store.append([(question(n, **changes), rating(n)) for n in numbers], IDENTITY, SAMPLING, run)


def parts(folder, table):
    return sorted((folder / table).glob("*.parquet"))


def test_a_rating_comes_back_equal_from_another_process_s_view(tmp_path):
    add(RatingStore(tmp_path), [1, 2])
    found = RatingStore(tmp_path).lookup(["key2", "unknown"])
    assert found == {"key2": rating(2)}


def test_load_gives_whole_rows_in_the_order_of_the_keys(tmp_path):
    store = RatingStore(tmp_path)
    joined = png(500, size=(9, 4))
    task = TaskText("open", "it", "a small hand")
    request = RatingRequest((joined,), task, RatingScale.likert(2), "answer_only", "2 pictures")
    store.append(
        [
            (question(1, env_step=7, success=True), rating(1)),
            (
                Question(request, (png(1), png(2)), 9, False),
                dataclasses.replace(rating(2), rating=0, probabilities=(0.9, 0.1)),
            ),
        ],
        IDENTITY,
        SAMPLING,
        "run-a",
    )
    second, first = store.load(["key2", "key1"])
    assert second.request == request
    assert second.frames == (png(1), png(2))
    assert first.request == question(1).request
    assert (first.env_step, first.success, first.run) == (7, True, "run-a")
    assert (first.identity, first.sampling) == (IDENTITY, SAMPLING)
    assert first.asked_at.tzinfo is not None
    assert store.frames(["key2", "key1", "key2"]) == [(png(1), png(2)), (png(1),), (png(1), png(2))]


def test_load_leaves_out_what_is_lost_and_says_so(tmp_path, caplog):
    store = RatingStore(tmp_path)
    add(store, [1])
    assert [row.rating.key for row in store.load(["key1", "key2"])] == ["key1"]
    assert "1 of 2 ratings or their pictures are not in the store" in caplog.text


def test_equal_keys_are_one_row_and_the_first_counts(tmp_path):
    store = RatingStore(tmp_path)
    store.append([(question(1), rating(1, level=2)), (question(1), rating(1, level=0))], IDENTITY, SAMPLING, "a")
    store.append([(question(1), rating(1, level=1))], IDENTITY, SAMPLING, "b")
    assert store.lookup(["key1"])["key1"].rating == 2
    assert [row["run"] for row in store.rows()] == ["a"]
    assert len(parts(tmp_path, "ratings")) == 1


def test_two_stores_that_did_not_see_each_other_still_agree_on_the_first(tmp_path, monkeypatch):
    first, second = RatingStore(tmp_path), RatingStore(tmp_path)
    add(first, [1], run="a")
    # The second does not look before it writes, as when both write at the same moment.
    monkeypatch.setattr(parquet_parts.PartsTable, "refresh", lambda self: None)
    second.append([(question(1), rating(1, level=0))], IDENTITY, SAMPLING, "b")
    monkeypatch.undo()
    assert len(parts(tmp_path, "ratings")) == 2
    for store in (first, second, RatingStore(tmp_path)):
        assert store.lookup(["key1"])["key1"].rating == 1
        assert store.counts().ratings == 1


def test_a_picture_is_stored_once(tmp_path):
    store = RatingStore(tmp_path)
    add(store, [1, 2], frames=(png(5), png(6)))
    add(RatingStore(tmp_path), [3], frames=(png(6), png(5)))
    assert store.counts().images == 2
    assert sum(pq.read_metadata(part).num_rows for part in parts(tmp_path, "images")) == 2
    name = image_hash(png(5))
    assert store.images([name, "f" * 64]) == {name: png(5)}
    row = pq.read_table(parts(tmp_path, "images")[0]).to_pylist()[0]
    assert (row["width"], row["height"]) == (6, 4)


def test_nothing_to_write_writes_nothing(tmp_path):
    store = RatingStore(tmp_path / "store")
    store.append([], IDENTITY, SAMPLING, "run")
    store.append_failures([], IDENTITY, SAMPLING, "run")
    assert not (tmp_path / "store").exists()
    assert store.lookup(["key1"]) == {}
    assert store.load([]) == [] and store.frames([]) == []


def test_a_failure_never_becomes_a_rating(tmp_path):
    store = RatingStore(tmp_path)
    with pytest.raises(TypeError, match="RatingFailure is never stored as a rating"):
        store.append([(question(1), failure(1))], IDENTITY, SAMPLING, "run")
    with pytest.raises(TypeError, match="takes failures only"):
        store.append_failures([(question(1), rating(1))], IDENTITY, SAMPLING, "run")
    store.append_failures([(question(1), failure(1)), (question(1), failure(1))], IDENTITY, SAMPLING, "run")
    assert store.lookup(["key1"]) == {} and store.counts().ratings == 0
    assert store.counts().failures == {("close the drawer", "timeout"): 2}
    assert "rating" not in rating_schema.FAILURES.names
    assert not (tmp_path / "ratings").exists() and not (tmp_path / "images").exists()


def test_a_rating_without_probabilities_is_kept_as_it_is(tmp_path):
    store = RatingStore(tmp_path)
    store.append([(question(1), dataclasses.replace(rating(1), probabilities=()))], IDENTITY, SAMPLING, "run")
    found = RatingStore(tmp_path).lookup(["key1"])["key1"]
    assert found.probabilities == () and found.rating == rating(1).rating


@pytest.mark.parametrize("bad", [{"rating": 3}, {"rating": -1}, {"probabilities": (0.5, 0.5)}])
def test_a_level_outside_the_scale_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="does not fit a scale of 3 levels"):
        RatingStore(tmp_path).append([(question(1), dataclasses.replace(rating(1), **bad))], IDENTITY, SAMPLING, "run")


def test_pictures_other_than_png_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a PNG file"):
        add(RatingStore(tmp_path), [1], frames=(b"\xff\xd8\xff\xe0 jpeg",))


def test_every_sampling_setting_has_a_column():
    for table in (rating_schema.RATINGS, rating_schema.FAILURES, SCORES, SCORE_FAILURES):
        assert {field.name for field in dataclasses.fields(Sampling)} <= set(table.names)


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


def test_only_the_row_groups_that_are_needed_are_read(tmp_path, monkeypatch):
    store = RatingStore(tmp_path)
    number = parquet_parts.ROWS_PER_GROUP + 5
    add(store, range(number))
    (part,) = parts(tmp_path, "ratings")
    assert pq.read_metadata(part).num_row_groups == 2
    read = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, group, **kw: (read.append(group), real(self, group, **kw))[1]
    )
    assert store.lookup([f"key{number - 1}"])[f"key{number - 1}"] == rating(number - 1)
    assert read == [1]


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


def test_counts_by_task_level_model_run_and_cause(tmp_path):
    store = RatingStore(tmp_path)
    store.append([(question(n), rating(n, level=n % 2)) for n in range(3)], IDENTITY, SAMPLING, "run-a")
    store.append([(question(9), rating(9, level=2))], RaterIdentity("Qwen/Qwen2-VL-7B", "main"), SAMPLING, "run-b")
    store.append_failures([(question(4), failure(4, "unparsable"))], IDENTITY, SAMPLING, "run-a")
    counts = store.counts()
    assert counts.levels == {("close the drawer", ("Bad", "Average", "Good")): [2, 1, 1]}
    assert counts.models == {("sha256:abc", "r1"): 3, ("Qwen/Qwen2-VL-7B", "main"): 1}
    assert counts.runs == {"run-a": 3, "run-b": 1}
    assert counts.failures == {("close the drawer", "unparsable"): 1}
    assert (counts.ratings, counts.images) == (4, 4)


def test_export(tmp_path):
    store = RatingStore(tmp_path / "store")
    add(store, [1, 2])
    assert export_ratings(store, tmp_path / "out.csv") == 2
    header, first, second = (tmp_path / "out.csv").read_text().splitlines()
    assert header.split(",") == rating_schema.RATINGS.names
    assert first.startswith("key1,1,") and json.dumps(["Bad", "Average", "Good"]).replace('"', '""') in first
    assert second.startswith("key2,1,")
    assert export_ratings(store, tmp_path / "out.parquet") == 2
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == list(store.rows())
    assert export_images(store, tmp_path / "pictures") == 2
    assert export_images(store, tmp_path / "pictures") == 0
    name = image_hash(png(1))
    assert (tmp_path / "pictures" / f"{name}.png").read_bytes() == png(1)
    with pytest.raises(SettingsError, match=r"must end in \.csv or \.parquet"):
        export_ratings(store, tmp_path / "out.xlsx")


def test_listing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    store = RatingStore(tmp_path)
    add(store, [1, 2])
    store.append_failures([(question(4), failure(4))], IDENTITY, SAMPLING, "run-a")
    options = {"last": 5, "failures": False, "export": None, "images": None, "compact": False}
    show_store(tmp_path, **options)
    shown = capsys.readouterr().out
    assert "2 ratings, 2 pictures, 1 failed question" in shown
    assert "Bad 0, Average 2, Good 0" in shown
    assert "The drawer is [half] open." in shown
    show_store(tmp_path, **options | {"last": 1})
    assert capsys.readouterr().out.count("The drawer is") == 1
    show_store(tmp_path, **options | {"last": 0})
    assert "Latest" not in capsys.readouterr().out
    show_store(tmp_path, **options | {"failures": True})
    assert "no answer in 120 s" in capsys.readouterr().out
    show_store(tmp_path, **options | {"compact": True})
    assert "ratings: 1 part, now 1" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="is not a rating store"):
        show_store(tmp_path / "absent", **options)


def test_a_rating_without_probabilities_is_listed_and_exported(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    store = RatingStore(tmp_path / "store")
    untold = dataclasses.replace(rating(1), probabilities=())
    store.append([(question(1), untold), (question(2), rating(2))], IDENTITY, SAMPLING, "run")
    show_store(store.folder, last=5, failures=False, export=None, images=None, compact=False)
    shown = [line for line in capsys.readouterr().out.splitlines() if "half" in line]
    assert len(shown) == 2 and sum("Average (0.70)" in line for line in shown) == 1
    assert sum("Average " in line and "0.70" not in line for line in shown) == 1
    assert export_ratings(store, tmp_path / "out.csv") == 2
    assert "key1,1,[]," in (tmp_path / "out.csv").read_text()
    assert export_ratings(store, tmp_path / "out.parquet") == 2
    assert [row["probabilities"] for row in pq.read_table(tmp_path / "out.parquet").to_pylist()] == [
        [],
        [0.1, 0.7, 0.2],
    ]


def test_the_documentation_names_every_column():
    text = (Path(__file__).parents[2] / "docs" / "rating_store.md").read_text()
    for table in (rating_schema.IMAGES, rating_schema.RATINGS, rating_schema.FAILURES):
        for column in table.names:
            assert f"`{column}`" in text, column
    assert f"schema version {rating_schema.SCHEMA_VERSION}" in text


def test_other_programs_read_the_tables(tmp_path):
    store = RatingStore(tmp_path)
    add(store, [1])
    add(store, [2])
    assert pq.read_table(tmp_path / "ratings").column("key").to_pylist() == ["key1", "key2"]
