"""The rating store: one row per key, one picture per hash."""

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from algorithms.ratings import RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from orchestrator.ratings import schema as rating_schema
from orchestrator.ratings.columns import image_hash
from orchestrator.ratings.question import Question
from orchestrator.ratings.score_store import SCORE_FAILURES, SCORES
from orchestrator.ratings.store import RatingStore
from orchestrator.storage import parquet_parts
from tests.fakes.small_store import IDENTITY, SAMPLING, add, failure, parts, png, question, rating


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
