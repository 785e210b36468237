"""Recordings with something wrong in them, drawn around a small one that is well: told or imported as they are, never
a traceback, a half-written set, or a label, an action or a picture that the recording has not."""

import functools
import itertools
import json
import shutil

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from algorithms.images import decode_png, encode_png
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings import importing
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import LikertError, SettingsError
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND
from tests.fakes.small_recording import CAMERA, PICTURE, png, small_recording

TABLES = ("tasks", "episodes", "data")
FILES = ("meta/info.json", "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet",
         "data/chunk-000/file-000.parquet")  # fmt: skip
VIDEO = f"videos/{CAMERA}/chunk-000/file-000.mp4"
VIDEO_PX, BRIGHTNESS = 32, 30
# fmt: off
NUMBERS = [-1, 0, 1, 2, 3, 7, 0.5, 1.0, float("nan"), float("inf"), -float("inf"), 1e300, 2**31, 2**53, 2**63 - 1,
           -(2**63)]
JUNK = [None, True, False, *NUMBERS, "", "0", "1.0", "x", "../x", "/", "a\0b", "{", "{chunk_index:099999999d}", b"",
        b"\x89PNG", [], [0], [0.1, 0.2], [0.1, None], [[0.1], [0.2]], ["x", "y"], {}, {"a": 1}, {"y": 1, "x": 0}]
KINDS = [pa.float64(), pa.float16(), pa.int8(), pa.uint64(), pa.string(), pa.bool_(), pa.null(), pa.binary(),
         pa.list_(pa.float64()), pa.list_(pa.float64(), 1), pa.dictionary(pa.int32(), pa.string()),
         pa.timestamp("s"), pa.decimal128(20, 2)]
PICTURES = [png(5), png(5, px=3), png(9, mode="L"), png(1_000, mode="I;16"), png(3, mode="RGBA"), png(2)[:40], b"",
            b"GIF89a", None]
PATHS = ["images/0.png", "images\\1.png", "../secret.png", "/etc/hostname", "images", "link.png", "", "none.png",
         "a\0b", "x" * 300, "..", "C:\\x.png", None]
# fmt: on


@functools.cache
def video(folder):
    """Seven frames, each brighter than the one before."""
    path = folder / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = VIDEO_PX, VIDEO_PX, "yuv420p", 3
        for index in range(7):
            picture = np.full((VIDEO_PX, VIDEO_PX, 3), BRIGHTNESS * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def as_video(recording):
    """The same recording with its pictures in a video."""
    recording.info["features"][CAMERA]["dtype"] = "video"
    recording.data = recording.data.drop_columns([CAMERA])
    for name, values in {"chunk_index": [0, 0], "file_index": [0, 0], "from_timestamp": [0.0, 0.3],
                         "to_timestamp": [0.3, 0.7]}.items():  # fmt: skip
        recording.set("episodes", f"videos/{CAMERA}/{name}", values)
    return recording


# --------------------------------------------------------------------------------------------- what goes wrong


def change_info(data, recording):
    """A value anywhere in `meta/info.json` is another one, or gone."""
    block = recording.info
    while True:
        key = data.draw(st.sampled_from(sorted(block)))
        if not isinstance(block[key], dict) or not block[key] or data.draw(st.integers(0, 3)) == 0:
            break
        block = block[key]
    if data.draw(st.booleans()):
        del block[key]
    else:
        value = data.draw(st.sampled_from(JUNK))
        block[key] = value.decode("latin1") if isinstance(value, bytes) else value


def change_cell(data, recording):
    """One value of one column is another one."""
    table = data.draw(st.sampled_from(TABLES))
    found = getattr(recording, table)
    assume(found.num_rows and found.num_columns)
    place = data.draw(st.integers(0, found.num_columns - 1))
    values = found.column(place).to_pylist()
    values[data.draw(st.integers(0, len(values) - 1))] = data.draw(st.sampled_from(JUNK))
    put(recording, table, place, values, found.column(place).type)


def change_column(data, recording):
    """A column is gone, there twice, of another name, of another type, or full of one value."""
    table = data.draw(st.sampled_from(TABLES))
    found = getattr(recording, table)
    assume(found.num_rows and found.num_columns)
    place = data.draw(st.integers(0, found.num_columns - 1))
    name = found.column_names[place]
    how = data.draw(st.sampled_from(["gone", "twice", "renamed", "type", "value", "swapped"]))
    if how == "gone":
        setattr(recording, table, found.remove_column(place))
    elif how == "twice":
        setattr(recording, table, found.append_column(name, found.column(place)))
    elif how == "renamed":
        names = list(found.column_names)
        names[place] = data.draw(st.sampled_from(["", "x", "task", *found.column_names]))
        setattr(recording, table, found.rename_columns(names))
    elif how == "swapped":
        other = data.draw(st.integers(0, found.num_columns - 1))
        setattr(recording, table, found.set_column(place, name, found.column(other)))
    elif how == "type":
        put(recording, table, place, found.column(place).to_pylist(), data.draw(st.sampled_from(KINDS)))
    else:
        put(recording, table, place, [data.draw(st.sampled_from(JUNK))] * found.num_rows, None)


def put(recording, table, place, values, kind):
    """A column with these values, of this type if they allow it, else of theirs."""
    for wanted in (kind, None):
        try:
            column = pa.array(values, wanted)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            continue
        found = getattr(recording, table)
        setattr(recording, table, found.set_column(place, found.column_names[place], column))
        return
    assume(False)


def change_rows(data, recording):
    """Rows are in another order, missing, or there twice."""
    table = data.draw(st.sampled_from(TABLES))
    found = getattr(recording, table)
    order = data.draw(st.lists(st.integers(0, max(found.num_rows - 1, 0)), max_size=found.num_rows + 1))
    assume(found.num_rows)
    if data.draw(st.booleans()):
        order = list(dict.fromkeys([*order, *range(found.num_rows)]))
    setattr(recording, table, found.take(pa.array(order, pa.int64())))


def change_picture(data, recording):
    """Pictures are broken, of another kind, or named by a path."""
    assume(CAMERA in recording.data.column_names and recording.data.num_rows)
    cells = recording.data[CAMERA].to_pylist()
    assume(isinstance(cells[0], dict) and "bytes" in cells[0])
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(cells) - 1))
        content = data.draw(st.sampled_from([*PICTURES, "flip"]))
        if content == "flip":
            content = flipped(data, cells[row]["bytes"] or b"x")
        cells[row] = {"bytes": content, "path": data.draw(st.sampled_from(PATHS))}
    put(recording, "data", recording.data.column_names.index(CAMERA), cells, PICTURE)


def change_tasks(data, recording):
    """The task changes within an episode."""
    assume(recording.data.num_rows)
    drawn = st.sampled_from([0, 1, 0, 1, 0, 1, 2, -1, None])
    tasks = [data.draw(drawn) for _ in range(recording.data.num_rows)]
    recording.set("data", "task_index", tasks, pa.int64())
    if data.draw(st.booleans()) and recording.episodes.num_rows == 2:
        recording.set("episodes", "tasks", [["fold the cloth", "open the box"], ["open the box", "fold the cloth"]])


def flipped(data, content):
    place = data.draw(st.integers(0, len(content) - 1))
    return content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]


def damage_file(data, folder, files):
    """A file is torn, has a wrong byte, is empty, is gone, or is a folder."""
    path = folder / data.draw(st.sampled_from(files))
    content = path.read_bytes()
    how = data.draw(st.sampled_from(["torn", "flipped", "empty", "gone", "folder"]))
    path.unlink()
    if how == "torn":
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    elif how == "flipped":
        path.write_bytes(flipped(data, content))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "folder":
        path.mkdir()


CHANGES = [change_info, change_cell, change_cell, change_column, change_rows, change_picture, change_tasks]


# --------------------------------------------------------------------------------------------- what must hold


def drawn_recording(data, folder):
    """A recording on disk, and whether its files are what its tables say."""
    recording = small_recording()
    is_video = data.draw(st.integers(0, 4)) == 0
    if is_video:
        as_video(recording)
    for _ in range(data.draw(st.integers(0, 3))):
        data.draw(st.sampled_from(CHANGES))(data, recording)
    source = folder / "robot"
    try:
        recording.write(source)
    except (pa.ArrowException, ValueError, TypeError):
        assume(False)
    (source / "images").mkdir()
    for number in range(2):
        (source / f"images/{number}.png").write_bytes(png(100 + number))
    (source / "link.png").symlink_to(folder / "secret.png")
    files = [*FILES, VIDEO] if is_video else list(FILES)
    if is_video:
        (source / VIDEO).parent.mkdir(parents=True)
        (source / VIDEO).write_bytes(video(folder.parent))
    is_damaged = data.draw(st.integers(0, 4)) == 0
    if is_damaged:
        damage_file(data, source, files)
    return source, is_video and is_damaged


def check_episode(source, one, every, action_key, trusts_pictures):
    """An episode has the instruction, the actions and the pictures of its rows, read here in the simplest way."""
    info = json.loads((source / "meta/info.json").read_text())
    name, _, piece = one.episode_id.removeprefix("episode-").partition("/")

    def read(file):
        opened = pq.ParquetFile(source / file)
        # An import does not look at what it has no use for, so damage there costs nothing.
        needless = {"index", "action"} - {action_key}
        return opened.read([name for name in opened.schema_arrow.names if name not in needless]).to_pylist()

    (row,) = [row for row in read(FILES[2]) if row["episode_index"] == int(name)][:1]
    path = info.get("data_path") or FILES[3]
    assert "{" not in path  # Templates with fields are not drawn.
    rows = sorted((row for row in read(path) if row["episode_index"] == int(name)), key=lambda row: row["frame_index"])
    assert len(rows) == row["length"]
    pieces, start = [], 0
    for task, group in itertools.groupby(rows, key=lambda row: single(row.get("task_index"))):
        pieces.append((task, start, start + len(list(group))))
        start = pieces[-1][2]
    assert (len(pieces) > 1) == bool(piece)
    task, first, stop = pieces[int(piece or 0)]
    last = min(stop, len(rows) - 1)
    kept = list(range(last, first - 1, -every))[::-1]
    np.testing.assert_array_equal(
        one.actions, np.array([rows[frame - 1][action_key] for frame in kept[1:]], np.float32).reshape(len(one), -1)
    )
    texts = {
        value: words
        for other in (read(FILES[1]) if (source / FILES[1]).exists() else [])
        for value, words in [(other["task_index"], next((v for v in other.values() if isinstance(v, str)), None))]
    }
    wanted = (
        texts[task]
        if task is not None and texts
        else row["tasks"]
        if isinstance(row["tasks"], str)
        else row["tasks"][0]
    )
    assert one.instruction == " ".join(wanted.split())
    if "next.success" in rows[0]:
        succeeded = any(single(other["next.success"]) for other in rows[first:stop])
        assert one.sparse_rewards.sum() == one.terminated[-1] == (not one.truncated[-1]) == succeeded
    if info["features"][CAMERA]["dtype"] == "image":
        wanted = [rows[frame][CAMERA] for frame in kept]
        assert list(one.frames) == [picture(source, cell) for cell in wanted]
    elif trusts_pictures:
        times = [row[f"videos/{CAMERA}/from_timestamp"] + single(rows[frame]["timestamp"]) for frame in kept]
        found = [decode_png(frame).mean() for frame in one.frames]
        np.testing.assert_allclose(found, [BRIGHTNESS * round(10 * time_s) for time_s in times], atol=8)


def picture(source, cell):
    content = cell["bytes"]
    if content is None:
        content = (source / cell["path"].replace("\\", "/")).read_bytes()
    return encode_png(decode_png(content))


def single(value):
    return value[0] if isinstance(value, list) else value


def check_import(data, folder, monkeypatch):
    """Draw a recording, import it, and look at what came of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "secret.png").write_bytes(png(200))
    source, has_broken_video = drawn_recording(data, folder)
    settings = LeRobotSettings(
        every=data.draw(st.integers(1, 2)), action_key=data.draw(st.sampled_from(["action"] * 9 + ["index"]))
    )
    try:
        import_lerobot(source, folder / "set", settings)
    except LikertError:
        if (folder / "set").exists():
            with pytest.raises(SettingsError):
                TrajectoryDataset(folder / "set")
        return 0
    dataset = TrajectoryDataset(folder / "set")
    wrong = [str(one) for one in dataset.problems() if not one.is_note]
    # Numbers that were changed may say nothing any more, but never keep a set from being read.
    assert [text for text in wrong if not text.startswith("all parts: ")] == []
    episodes = list(dataset.episodes())
    for one in episodes:
        check_episode(source, one, settings.every, settings.action_key, not has_broken_video)
    if data.draw(st.integers(0, 7)) == 0:
        check_going_on(source, folder / "stopped", settings, episodes, monkeypatch)
    return len(episodes)


def check_going_on(source, folder, settings, episodes, monkeypatch):
    """An import that is stopped after its first episode is not read, and goes on to the same set."""

    class Stopped(DatasetWriter):
        def write(self, trajectory):
            if self.info.num_episodes:
                raise KeyboardInterrupt
            super().write(trajectory)

        def close(self):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(importing, "DatasetWriter", functools.partial(Stopped, part_bytes=1))
        with pytest.raises(KeyboardInterrupt):
            import_lerobot(source, folder, settings)
    with pytest.raises(SettingsError, match="not complete"):
        TrajectoryDataset(folder)
    import_lerobot(source, folder, settings)
    after = list(TrajectoryDataset(folder).episodes())
    assert [(one.episode_id, one.frames) for one in after] == [(one.episode_id, one.frames) for one in episodes]


@pytest.fixture
def quick_disk(monkeypatch):
    """Nothing is flushed to the disk: it is about the contents here."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def test_a_hundred_recordings_with_something_wrong(tmp_path, monkeypatch, quick_disk):
    numbers = []

    @A_HUNDRED
    @given(st.data())
    def each(data):
        numbers.append(check_import(data, tmp_path / "one", monkeypatch))

    each()
    # Neither all is refused nor all imported, or nothing would be tried.
    assert 10 < sum(number > 0 for number in numbers) < len(numbers) - 10


@pytest.mark.slow
def test_ten_thousand_recordings_with_something_wrong(tmp_path, monkeypatch, quick_disk):
    @TEN_THOUSAND
    @given(st.data())
    def each(data):
        check_import(data, tmp_path / "one", monkeypatch)

    each()
