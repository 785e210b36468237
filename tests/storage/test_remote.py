"""Remote folders: files whole or absent, the rating store on them, and addresses in settings."""

import io
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import SettingsError
from orchestrator.kinds import load_experiment
from orchestrator.ratings.store import RatingStore
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage import locations as storage
from orchestrator.storage import writing as run_files
from orchestrator.storage.locations import RemotePath, StorageFailing, working_copy
from orchestrator.storage.parquet_parts import PartsTable
from tests.fakes.small_store import add, png

SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])


def table(folder):
    return PartsTable(folder, "things", SCHEMA, "key", 1)


def test_files_are_written_read_listed_and_deleted(remote_folder):
    run_files.write_text(remote_folder / "a.txt", "ä")
    run_files.write_json(remote_folder / "below" / "b.json", {"one": 1})
    run_files.write_arrays(remote_folder / "c.npz", {"x": np.arange(3)})
    assert (remote_folder / "a.txt").read_text() == "ä"
    assert (remote_folder / "a.txt").file_size() == 2
    assert run_files.read_arrays(remote_folder / "c.npz")["x"].tolist() == [0, 1, 2]
    assert [path.name for path in remote_folder.iterdir()] == ["a.txt", "below", "c.npz"]
    assert [path.name for path in remote_folder.glob("*.txt")] == ["a.txt"]
    assert remote_folder.files() == ["a.txt", "below/b.json", "c.npz"]
    assert remote_folder.is_dir() and (remote_folder / "below").is_dir() and not (remote_folder / "a.txt").is_dir()
    (remote_folder / "a.txt").unlink()
    (remote_folder / "a.txt").unlink(missing_ok=True)
    for missing in ((remote_folder / "a.txt").read_bytes, (remote_folder / "a.txt").unlink):
        with pytest.raises(FileNotFoundError):
            missing()
    assert not (remote_folder / "a.txt").exists()
    remote_folder.remove_tree()
    remote_folder.remove_tree()
    assert list(remote_folder.iterdir()) == []
    assert run_files.read_json_lines(remote_folder / "absent.jsonl") == []


def test_large_files_travel_in_pieces(remote_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK_BYTES", 1000)
    (tmp_path / "large").write_bytes(bytes(range(256)) * 50)
    (remote_folder / "large").upload(tmp_path / "large")
    (remote_folder / "large").download(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "large").read_bytes()


def test_a_file_that_is_being_written_is_not_seen(memory_folder):
    """Where files grow in sight, they do so under another name; the old one stays until the new one is whole."""
    path = memory_folder / "part.parquet"
    path.write_bytes(b"old")

    def fill(file):
        file.write(b"ne")
        assert [other.name for other in memory_folder.glob("part*")] == ["part.parquet"]
        assert path.read_bytes() == b"old"
        file.write(b"w")

    path._write(fill)
    assert path.read_bytes() == b"new"

    def killed(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        path._write(killed)
    assert path.read_bytes() == b"new" and [other.name for other in memory_folder.glob("part*")] == ["part.parquet"]


def test_a_store_is_shared_by_writers_and_compacted(remote_folder):
    first, second = RatingStore(remote_folder), RatingStore(remote_folder)
    add(first, [1, 2], frames=(png(1),))
    add(second, [2, 3], frames=(png(2),))
    assert set(first.lookup(["key1", "key2", "key3", "key4"])) == {"key1", "key2", "key3"}
    assert first.compact()["ratings"] == (2, 1)
    late = RatingStore(remote_folder)
    for store in (first, second, late):
        assert set(store.lookup(["key1", "key2", "key3"])) == {"key1", "key2", "key3"}
    assert late.frames(["key1", "key3"]) == [(png(1),), (png(2),)]
    assert late.counts().ratings == 3


def test_a_cut_part_is_left_out_and_the_others_count(remote_folder, caplog):
    one, two = table(remote_folder), table(remote_folder)
    one.append([{"key": "a", "value": 1}])
    two.append([{"key": "b", "value": 2}])
    first = next(remote_folder.glob("part-*"))
    first.write_bytes(first.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert table(remote_folder).read(["a", "b"]) == {"b": {"key": "b", "value": 2}}
    assert [record.message for record in caplog.records if "left out" in record.message]


def test_of_equal_keys_the_earliest_part_counts(remote_folder):
    for value in range(20):
        table(remote_folder).append([{"key": "same", "value": value}, {"key": str(value), "value": value}])
    reader = table(remote_folder)
    rows = reader.read(["same", "7"])
    assert (rows["same"]["value"], rows["7"]["value"], len(reader)) == (0, 7, 21)


def test_storage_that_does_not_answer_is_no_damage(memory_folder, monkeypatch, caplog):
    one = table(memory_folder)
    one.append([{"key": "a", "value": 1}])
    tries = []

    def refuse(self, path, **_):
        tries.append(path)
        raise OSError("connection reset")

    reader = table(memory_folder)
    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", lambda _: None)
        whole, patched = storage.open_file_system(""), []

        class Broken:
            type_name = "mock"

            def __getattr__(self, name):
                return getattr(whole[0], name)

            open_input_stream = refuse

        patch.setattr(storage, "open_file_system", lambda root: patched.append(root) or (Broken(), ""))
        with pytest.raises(StorageFailing, match=r"cannot be reached \(connection reset\).*same command"):
            reader.read(["a"])
    assert len(tries) == storage.ATTEMPTS and not caplog.records
    assert reader.read(["a"])["a"]["value"] == 1


def test_addresses(tmp_path, monkeypatch):
    path = RemotePath.parse("s3://bucket//runs/?endpoint_override=localhost:9000")
    assert str(path / "a" / "b.txt") == "s3://bucket/runs/a/b.txt?endpoint_override=localhost:9000"
    assert ((path / "a").name, (path / "a").parent, (path / "b.txt").suffix) == ("a", path, ".txt")
    assert storage.parse_location("file:///data/a%20b").as_posix() == "/data/a b"
    assert working_copy(tmp_path) == tmp_path
    monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: "/scratch")
    one, other = working_copy(path / "x-seed0"), working_copy(RemotePath.parse("gs://bucket/runs/x-seed0"))
    assert one.parts[:2] == ("/", "scratch") and one.name == other.name == "x-seed0" and one != other


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://host/runs", r"runs_folder.*ftp:// is not understood; there are s3, gs"),
        ("s3://key:secret@bucket/runs", r"must not hold a password"),
        ("s3:///runs", r"names no bucket"),
    ],
)
def test_addresses_that_are_refused(tmp_path, address, message):
    (tmp_path / "a.yaml").write_text("name: test\ntask: drawer_close\n")
    with pytest.raises(SettingsError, match=message):
        load_experiment(tmp_path / "a.yaml", [f"runs_folder={address}"])


def test_settings_with_addresses_are_written_and_read_back(tmp_path):
    (tmp_path / "a.yaml").write_text("name: test\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\n")
    overrides = ["runs_folder=s3://bucket/runs", "ratings_folder=gs://other/ratings"]
    experiment = load_experiment(tmp_path / "a.yaml", overrides)
    assert str(experiment.run_folder) == "s3://bucket/runs/test-seed0"
    (tmp_path / "b.yaml").write_text(settings_as_yaml(experiment))
    assert load_experiment(tmp_path / "b.yaml") == experiment


def test_a_part_is_a_plain_parquet_file(memory_folder):
    table(memory_folder).append([{"key": "a", "value": 1}])
    content = next(memory_folder.glob("part-*")).read_bytes()
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [{"key": "a", "value": 1}]
