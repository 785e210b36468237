"""Trajectory data sets: what is written is read back; what is wrong is told row by row; labels are columns."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from algorithms.images import encode_png
from algorithms.trajectories import Trajectory
from orchestrator.data.check import PartError
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.metadata import METADATA_FILE
from orchestrator.data.schema import ActionSpace, DatasetInfo, Origin
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError

INFO = DatasetInfo(
    name="toy",
    source="test",
    actions=ActionSpace(kind="discrete", names=("left", "right")),
    frame_px=(6, 8),
    symbolic_shape=(2, 2),
    audits={"contribution": "int", "done": "bool"},
)


def episode(number: int, length: int = 3, seed: int = 0) -> Trajectory:
    rng = np.random.default_rng((seed, number))
    last = np.arange(length) == length - 1
    actions = rng.integers(2, size=length)
    return Trajectory(
        episode_id=f"e{number:03d}",
        instruction=f"reach place {number}",
        actions=actions,
        action_names=tuple(INFO.actions.names[action] for action in actions),
        sparse_rewards=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(length, dtype=bool),
        frames=tuple(encode_png(rng.integers(256, size=(6, 8, 3), dtype=np.uint8)) for _ in range(length + 1)),
        symbolic=rng.integers(256, size=(length + 1, 2, 2), dtype=np.uint8),
        audits={"contribution": rng.integers(-1, 2, size=length), "done": last},
    )


def write(folder, episodes, info=INFO, part_bytes=4_000) -> TrajectoryDataset:
    with DatasetWriter(folder, info, part_bytes) as writer:
        for one in episodes:
            writer.write(one)
    return TrajectoryDataset(folder)


def same(one: Trajectory, other: Trajectory) -> bool:
    arrays = [(getattr(one, name), getattr(other, name)) for name in
              ("actions", "sparse_rewards", "terminated", "truncated", "symbolic")]  # fmt: skip
    plain = [(getattr(one, name), getattr(other, name)) for name in
             ("episode_id", "instruction", "action_names", "frames")]  # fmt: skip
    audits = [(one.audits[name], other.audits[name]) for name in one.audits]
    return all(a == b for a, b in plain) and all(np.array_equal(a, b) for a, b in [*arrays, *audits])


def rewrite(folder, part, change):
    """Change a part's rows, as a program of someone else might."""
    rows = pq.read_table(folder / part).to_pylist()
    schema = pq.read_schema(folder / part)
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / part)


def test_what_is_written_is_read_back(tmp_path):
    episodes = [episode(number, length=1 + number % 5) for number in range(30)]
    dataset = write(tmp_path / "set", episodes)
    assert len(dataset.parts) > 2
    assert all(same(one, other) for one, other in zip(episodes, dataset.episodes(), strict=True))
    assert dataset.info.num_episodes == 30
    assert dataset.info.num_transitions == sum(map(len, episodes)) and dataset.info.complete


def test_the_last_observation_has_a_row_of_its_own(tmp_path):
    write(tmp_path / "set", [episode(0, length=2)])
    rows = pq.read_table(tmp_path / "set" / "part-00000.parquet").to_pylist()
    assert [row["t"] for row in rows] == [0, 1, 2]
    assert all(row["frame"].startswith(b"\x89PNG") for row in rows)
    assert [row["sparse_reward"] for row in rows] == [0.0, 1.0, None]
    assert rows[-1]["action"] is None and rows[-1]["terminated"] is None and rows[-1]["instruction"]


def test_an_episode_may_cross_groups_of_rows(tmp_path):
    long = episode(0, length=300)
    dataset = write(tmp_path / "set", [long, episode(1)], part_bytes=10**9)
    assert pq.ParquetFile(tmp_path / "set" / dataset.parts[0]).num_row_groups > 2
    assert [len(one) for one in dataset.episodes()] == [300, 3]
    assert same(next(dataset.episodes()), long)


def test_columns_can_be_left_unread(tmp_path):
    one = next(write(tmp_path / "set", [episode(0)]).episodes(frames=False))
    assert one.frames == () and one.symbolic is not None
    one = next(TrajectoryDataset(tmp_path / "set").episodes(symbolic=False))
    assert len(one.frames) == 4 and one.symbolic is None


def test_continuous_actions(tmp_path):
    info = INFO.model_copy(update={"actions": ActionSpace(kind="continuous", names=("x", "y"))})
    one = replace(episode(0), actions=np.array([[0.5, -1], [0, 0.25], [1, 1]], dtype=np.float32))
    (read,) = write(tmp_path / "set", [one], info).episodes()
    assert read.actions.dtype == np.float32 and np.array_equal(read.actions, one.actions)


def test_equal_episodes_make_equal_bytes(tmp_path):
    for name in ("one", "other"):
        write(tmp_path / name, [episode(number) for number in range(9)])
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": ()}, "frames has 0, but 3 actions want 4"),
        ({"symbolic": np.zeros((4, 3, 3), dtype=np.uint8)}, "symbolic has"),
        ({"audits": {}}, "audit contribution has 0"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message), DatasetWriter(tmp_path / "set", INFO) as writer:
        writer.write(replace(episode(0), **change))


def begin(folder, episodes, **changes):
    """A set whose writer was stopped after these episodes."""
    writer = DatasetWriter(folder, INFO.model_copy(update=changes), part_bytes=1)
    for one in episodes:
        writer.write(one)


def ids(folder):
    return [one.episode_id for one in TrajectoryDataset(folder).episodes()]


A, B = Origin(name="a", digest="sha256:a", rule=1), Origin(name="b", digest="sha256:b", rule=1)


@pytest.mark.parametrize("origin", [None, A])
def test_a_set_that_was_not_finished_is_not_read_and_goes_on(tmp_path, origin):
    begin(tmp_path / "set", [episode(0)], origin=origin)
    with pytest.raises(SettingsError, match="not complete"):
        TrajectoryDataset(tmp_path / "set")
    # The source has been moved since; an episode is known by its name, wherever it comes in the order.
    moved = origin and origin.model_copy(update={"name": "elsewhere"})
    with DatasetWriter(tmp_path / "set", INFO.model_copy(update={"origin": moved})) as follower:
        assert follower.held == {"e000"}
        for one in (episode(1), episode(0)):
            follower.write(one)
    assert ids(tmp_path / "set") == ["e000", "e001"]
    with pytest.raises(SettingsError, match="complete data set already"):
        DatasetWriter(tmp_path / "set", INFO)


@pytest.mark.parametrize(
    ("begun", "wanted", "message"),
    [
        ({"origin": A}, {"origin": B}, "from another source, 'a', or from 'b' before that was changed"),
        ({"origin": A}, {"origin": A.model_copy(update={"rule": 2})}, "by other rules"),
        ({"origin": A}, {}, "from 'a'"),
        ({"settings": {"seed": 0}}, {"settings": {"seed": 1}}, "seed was 0, now 1"),
        ({"origin": A, "settings": {"seed": 0}}, {"origin": A, "settings": {"seed": 1}}, "seed was 0, now 1"),
        ({"source": "one"}, {"source": "two"}, "otherwise: source"),
        ({}, {"origin": A, "frame_px": (1, 1)}, "otherwise: frame_px"),
    ],
)
def test_a_beginning_of_another_set_is_neither_mixed_in_nor_deleted(tmp_path, begun, wanted, message):
    begin(tmp_path / "set", [episode(0)], **begun)
    before = (tmp_path / "set/part-00000.parquet").read_bytes()
    with pytest.raises(SettingsError, match=message):
        DatasetWriter(tmp_path / "set", INFO.model_copy(update=wanted))
    assert (tmp_path / "set/part-00000.parquet").read_bytes() == before
    # Where no episode was written yet, nothing is lost.
    begin(tmp_path / "other", [], **begun)
    with DatasetWriter(tmp_path / "other", INFO.model_copy(update=wanted)):
        pass


def test_a_set_that_does_not_know_its_origin_goes_on_if_its_episodes_are_those_of_the_source(tmp_path, caplog):
    begin(tmp_path / "set", [episode(0), episode(1)])
    with DatasetWriter(tmp_path / "set", INFO.model_copy(update={"origin": A, "settings": {"new": 1}})) as writer:
        assert "each of its 2 episodes is made again and compared" in caplog.text and not writer.held
        for number in range(3):
            writer.write(episode(number))
    assert ids(tmp_path / "set") == ["e000", "e001", "e002"]
    assert TrajectoryDataset(tmp_path / "set").info.origin == A
    assert TrajectoryDataset(tmp_path / "set").info.settings == {"new": 1}


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ([replace(episode(0), instruction="another")], "its episode e000 is not what the source gives now"),
        ([replace(episode(0), frames=episode(5).frames)], "its episode e000 is not what"),
        ([episode(0), episode(2)], "its episode e001 is not what"),
        ([episode(0)], "holds episode e001, which the source has not"),
    ],
)
def test_otherwise_it_is_refused_in_words_and_kept(tmp_path, now, message):
    begin(tmp_path / "set", [episode(0), episode(1)])
    with (
        pytest.raises(SettingsError, match=message),
        DatasetWriter(tmp_path / "set", INFO.model_copy(update={"origin": A})) as writer,
    ):
        for one in now:
            writer.write(one)
    assert json.loads((tmp_path / "set" / METADATA_FILE).read_text())["num_episodes"] == 2


def test_a_beginning_that_is_damaged_is_refused(tmp_path):
    begin(tmp_path / "set", [episode(0), episode(1)])
    (tmp_path / "set/part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(SettingsError, match=r"part-00001\.parquet, of a set that was not finished: .* cannot be read"):
        DatasetWriter(tmp_path / "set", INFO)
    begin(tmp_path / "less", [episode(0), episode(1)])
    (tmp_path / "less/part-00000.parquet").write_bytes((tmp_path / "less/part-00001.parquet").read_bytes())
    with pytest.raises(SettingsError, match="e001 twice"):
        DatasetWriter(tmp_path / "less", INFO)
    (tmp_path / "less" / METADATA_FILE).unlink()
    with pytest.raises(SettingsError, match="has parts of a data set, but no metadata"):
        DatasetWriter(tmp_path / "less", INFO)


def test_an_id_is_written_once(tmp_path):
    with pytest.raises(ValueError, match="written already"), DatasetWriter(tmp_path / "set", INFO) as writer:
        writer.write(episode(0))
        writer.write(episode(0))


def test_no_data_set_and_newer_ones_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"no metadata\.json"):
        TrajectoryDataset(tmp_path)
    write(tmp_path / "set", [episode(0)])
    metadata = json.loads((tmp_path / "set" / METADATA_FILE).read_text())
    (tmp_path / "set" / METADATA_FILE).write_text(json.dumps(metadata | {"schema_version": 99}))
    with pytest.raises(SettingsError, match="schema version 99"):
        TrajectoryDataset(tmp_path / "set")


def damage(folder):
    """Five kinds of damage, each in an episode or a part of its own; the rest is well."""

    def change(rows):
        by_episode = {}
        for row in rows:
            by_episode.setdefault(row["episode_id"], []).append(row)
        by_episode["e001"][1]["frame"] = by_episode["e001"][1]["frame"][:60]
        for row in by_episode["e002"]:
            row["instruction"] = None
        by_episode["e003"][0]["action"] = 9
        by_episode["e004"][1]["t"] = 5

    part = TrajectoryDataset(folder).parts[0]
    rewrite(folder, part, change)
    last = folder / TrajectoryDataset(folder).parts[-1]
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])


def test_everything_that_is_wrong_is_told_with_its_row(tmp_path):
    episodes = [episode(0), *[episode(number) for number in range(1, 5)], episode(5, length=1), episode(6)]
    write(tmp_path / "set", episodes, part_bytes=10**9)
    with DatasetWriter(tmp_path / "other", INFO) as writer:
        writer.write(episode(9))
    (tmp_path / "other" / "part-00000.parquet").rename(tmp_path / "set" / "part-00001.parquet")
    damage(tmp_path / "set")
    told = [str(problem) for problem in TrajectoryDataset(tmp_path / "set").problems()]
    for row, (name, text) in {
        5: ("e001", "no readable PNG"),
        8: ("e002", "instruction is missing"),
        12: ("e003", "action 9 is unknown: there are 0 to 1"),
        17: ("e004", "t is 5, but must be 1"),
        20: ("e005", "note: the episode has one action only"),
    }.items():
        place = f"part-00000.parquet, row {row}, episode {name}: "
        assert any(line.startswith(place) and text in line for line in told), told
    assert any(line.startswith("part-00001.parquet: the file cannot be read") for line in told)
    assert told[-1].startswith("all parts: note: all 5 episodes count as successes")
    assert len(told) == 7


def test_what_is_well_is_read_from_a_damaged_set(tmp_path):
    write(tmp_path / "set", [episode(number) for number in range(7)], part_bytes=10**9)
    with DatasetWriter(tmp_path / "other", INFO) as writer:
        writer.write(episode(9))
    (tmp_path / "other" / "part-00000.parquet").rename(tmp_path / "set" / "part-00001.parquet")
    damage(tmp_path / "set")
    told = []
    read = [one.episode_id for one in TrajectoryDataset(tmp_path / "set").episodes(on_problem=told.append)]
    # Values that are wrong in themselves, such as a broken picture, do not keep the rest from being read.
    assert read == ["e000", "e001", "e003", "e005", "e006"]
    assert len(told) == 3


def test_labels_become_columns_and_change_nothing_else(tmp_path):
    dataset = write(tmp_path / "set", [episode(number) for number in range(3)], part_bytes=10**9)
    before = pq.read_table(tmp_path / "set" / dataset.parts[0])
    rewards = np.arange(before.num_rows, dtype=np.float32)
    rewards[[3, 4]] = np.nan
    dataset.write_labels(dataset.parts[0], "rg_vlm", rewards, rewards * 10, {"made_by": "test"})
    dataset.write_labels(dataset.parts[0], "random", np.zeros_like(rewards))
    after = pq.read_table(tmp_path / "set" / dataset.parts[0])
    assert after.select(before.column_names).equals(before)
    assert after["reward_rg_vlm"].to_pylist()[2:6] == [2.0, None, None, 5.0]
    first, second, _ = dataset.episodes()
    assert first.rewards["rg_vlm"].tolist() == [0.0, 1.0, 2.0]
    assert np.isnan(second.rewards["rg_vlm"][0]) and second.scores["rg_vlm"][1:].tolist() == [50.0, 60.0]
    assert "random" in first.rewards and "random" not in first.scores
    assert dataset.label_stamp(dataset.parts[0], "rg_vlm") == {"made_by": "test"}
    assert dataset.label_stamp(dataset.parts[0], "other") is None
    dataset.write_labels(dataset.parts[0], "rg_vlm", rewards + 1)
    assert next(dataset.episodes()).rewards["rg_vlm"].tolist() == [1.0, 2.0, 3.0]


def test_labels_of_a_part_that_cannot_be_read_and_names_that_are_no_columns(tmp_path):
    dataset = write(tmp_path / "set", [episode(0)])
    with pytest.raises(ValueError, match="small letters"):
        dataset.write_labels(dataset.parts[0], "RG VLM", np.zeros(4, dtype=np.float32))
    (tmp_path / "set" / dataset.parts[0]).write_bytes(b"PAR1")
    with pytest.raises(PartError):
        dataset.write_labels(dataset.parts[0], "rg_vlm", np.zeros(4, dtype=np.float32))


def test_how_labels_were_made_stands_in_the_metadata(tmp_path):
    dataset = write(tmp_path / "set", [episode(0)])
    dataset.record_labels("rg_vlm", {"model": "pocket"})
    dataset.record_labels("random", {})
    assert TrajectoryDataset(tmp_path / "set").info.labels == {"rg_vlm": {"model": "pocket"}, "random": {}}


JOINTS = INFO.model_copy(
    update={"actions": ActionSpace(kind="continuous", names=("x", "y", "grip")), "symbolic_shape": None, "audits": {}}
)


def joints(number, actions, **changes):
    one = replace(episode(number, length=len(actions)), symbolic=None, audits={})
    return replace(one, actions=np.array(actions, dtype=np.float32), **changes)


def test_actions_that_are_not_finite_or_not_whole_are_told(tmp_path):
    dataset = write(
        tmp_path / "set", [joints(0, [[0, np.nan, 0], [7, 0, 1]]), joints(1, [[0, 1, 0], [1, 0, 1]])], JOINTS
    )
    rewrite(dataset.folder, dataset.parts[0], lambda rows: rows[4].update(action=[1.0]))
    told = [str(problem) for problem in dataset.problems()]
    assert any("row 0, episode e000: the action is not finite" in line for line in told)
    assert any("row 4, episode e001: the action has 1 entries, but must have 3" in line for line in told)
    assert (
        "all parts: 1 of 2 actions are not finite; the set can be labelled, but not learned from: leave their"
        in told[-1]
    )
    assert [one.episode_id for one in dataset.episodes()] == ["e000"]


@pytest.mark.parametrize(
    ("sparse", "terminated", "truncated", "text"),
    [
        ([0, 0, 1], 1, 0, None),
        ([0, 0, 0], 0, 1, None),
        ([0, 1, 0], 0, 1, "row 1, episode e000: note: the instruction is completed before the last action"),
        ([0, 0, 0], 1, 0, "row 2, episode e000: note: it terminated, though nothing completed the instruction"),
        ([0, 0, 1], 0, 0, "row 2, episode e000: note: it is neither terminated nor truncated"),
        ([0, 1, 1], 1, 0, "row 2, episode e000: 2 actions completed the instruction"),
        ([0, 0.5, 1], 1, 0, "row 1, episode e000: sparse_reward is 0.5, but must be 1"),
    ],
)
def test_ends_that_contradict_themselves_are_told(tmp_path, sparse, terminated, truncated, text):
    ends = np.arange(3) == 2
    one = replace(
        episode(0),
        sparse_rewards=np.float32(sparse),
        terminated=ends & bool(terminated),
        truncated=ends & bool(truncated),
    )
    told = [str(problem) for problem in write(tmp_path / "set", [one]).problems()]
    assert told == [] if text is None else len(told) == 1 and text in told[0]
