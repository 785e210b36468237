"""What people see of a rating store: counts, lists and exports."""

import dataclasses
import json

import pyarrow.parquet as pq
import pytest

from algorithms.ratings import RaterIdentity
from orchestrator.errors import SettingsError
from orchestrator.ratings import schema as rating_schema
from orchestrator.ratings.columns import image_hash
from orchestrator.ratings.export import export_images, export_ratings
from orchestrator.ratings.store import RatingStore
from orchestrator.ratings.store_command import show_store
from tests.fakes.small_store import IDENTITY, SAMPLING, add, failure, png, question, rating


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
