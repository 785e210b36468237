"""Recordings as people have them: names in any shape, several tasks, numbers as floats, rows in any order."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from tests.fakes.small_recording import CAMERA, TASKS, imported, pictures, small_recording


def test_a_small_recording_is_what_it_says(tmp_path):
    episodes, num_problems = imported(small_recording(), tmp_path)
    assert num_problems == 0 and list(episodes) == ["episode-000000", "episode-000001"]
    second = episodes["episode-000001"]
    assert second.instruction == TASKS[1] and pictures(second) == [3, 4, 5, 6]
    np.testing.assert_array_equal(second.actions, np.float32([[0.3, -0.3], [0.4, -0.4], [0.5, -0.5]]))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({"delta_x": 0, "gripper": 1}, ("delta_x", "gripper")),
        ({"gripper": 1, "delta_x": 0}, ("delta_x", "gripper")),
        ({"gripper": 1.0, "delta_x": 0.0}, ("delta_x", "gripper")),
        ({"motors": {"gripper": 1, "delta_x": 0}}, ("delta_x", "gripper")),
        ({"1": "gripper", "0": "delta_x"}, ("delta_x", "gripper")),
        ([["x"], ["y"]], ("x", "y")),
        ([["x", "y"]], ("x", "y")),
        ({"motors": ["x", "y"]}, ("x", "y")),
        ({"arm": ["x"], "hand": [["y"]]}, ("x", "y")),
        ({"left": ["grip"], "right": ["grip"]}, ("left grip", "right grip")),
        (["  two\nlines ", "y"], ("two lines", "y")),
    ],
)
def test_names_in_every_shape_that_lerobot_has_had(tmp_path, capsys, names, wanted):
    episodes, num_problems = imported(small_recording(names), tmp_path)
    assert num_problems == 0 and TrajectoryDataset(tmp_path / "set").info.actions.names == wanted
    assert episodes["episode-000000"].action_names[1] == f"{wanted[0]} +0.10, {wanted[1]} -0.10"
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "names",
    [
        None, [], ["actions"], ["x", "y", "z"], ["x", "x"], [["x"], None], [["x"], [0]], {"x": 0, "y": 0},
        {"x": 1, "y": 2},
        {"x": 0, "y": 0.5}, {"x": 0, "y": float("nan")}, {"x": 0, "y": True}, {"x": 0, "y": "1"}, {"x": 0, "y": None},
        ["x", " "], ["x", "\ud800"], {"motors": None}, "x", 3,
    ],
)  # fmt: skip
def test_names_that_do_not_fit_are_not_guessed_and_that_is_said(tmp_path, capsys, names):
    episodes, num_problems = imported(small_recording(names), tmp_path)
    assert num_problems == 0 and episodes["episode-000000"].action_names[1] == "a0 +0.10, a1 -0.10"
    assert "note: " in (told := capsys.readouterr().err) and "do not fit its 2 entries" in told


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int8(), pa.uint64()])
def test_whole_numbers_are_numbers_whatever_their_type(tmp_path, kind):
    recording = small_recording()
    for name in ("episode_index", "length", "data/chunk_index", "data/file_index"):
        recording.set("episodes", name, recording.episodes[name].cast(kind))
    for name in ("episode_index", "frame_index", "task_index"):
        recording.set("data", name, recording.data[name].cast(kind))
    recording.set("tasks", "task_index", recording.tasks["task_index"].cast(kind))
    recording.info["total_episodes"] = 2.0
    episodes, num_problems = imported(recording, tmp_path)
    assert num_problems == 0 and [one.instruction for one in episodes.values()] == list(TASKS)


@pytest.mark.parametrize("name", ["length", "data/chunk_index", "data/file_index", "episode_index"])
@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), -1, None, 1e300])
def test_a_number_that_is_not_whole_costs_its_episode(tmp_path, capsys, name, value):
    values = small_recording().episodes[name].to_pylist()
    recording = small_recording().set("episodes", name, [values[0], value], pa.float64())
    episodes, num_problems = imported(recording, tmp_path)
    # Without its number, an episode is missing besides.
    assert list(episodes) == ["episode-000000"] and num_problems == (2 if name == "episode_index" else 1)
    assert name in capsys.readouterr().err


def test_numbers_as_text_are_refused(tmp_path, capsys):
    recording = small_recording().set("episodes", "length", ["3", "4"])
    with pytest.raises(SettingsError, match="no whole episode"):
        imported(recording, tmp_path)
    assert "length is '3', but must be a whole number" in capsys.readouterr().err
    recording = small_recording()
    recording.info["total_episodes"] = "2"
    with pytest.raises(SettingsError, match="total_episodes is '2', but must be a whole number"):
        imported(recording, tmp_path)


def test_an_episode_is_cut_where_its_task_changes(tmp_path):
    recording = small_recording(task_index=[0, 0, 0, 1, 1, 0, 0])
    # LeRobot writes this list in the order of hashes.
    recording.set("episodes", "tasks", [[TASKS[0]], [TASKS[1], TASKS[0]]])
    recording.data = recording.data.drop_columns(["next.success"])
    episodes, num_problems = imported(recording, tmp_path)
    assert num_problems == 0 and list(episodes) == ["episode-000000", "episode-000001/0", "episode-000001/1"]
    first, second = episodes["episode-000001/0"], episodes["episode-000001/1"]
    assert (first.instruction, second.instruction) == (TASKS[1], TASKS[0])
    # The picture that the first piece led to is the first one of the second.
    assert pictures(first) == [3, 4, 5] and pictures(second) == [5, 6]
    assert first.actions[:, 0].tolist() == np.float32([0.3, 0.4]).tolist() and second.actions[0, 0] == np.float32(0.5)
    assert first.terminated.tolist() == [False, True] and second.sparse_rewards.tolist() == [1]


def test_success_is_that_of_the_piece(tmp_path):
    recording = small_recording(task_index=[0, 0, 0, 1, 1, 0, 0]).set("episodes", "tasks", [[TASKS[0]], list(TASKS)])
    episodes, _ = imported(recording, tmp_path)
    assert [one.sparse_rewards.sum() for one in episodes.values()] == [1, 0, 1]
    first = episodes["episode-000001/0"]
    assert first.truncated.tolist() == [False, True] and not first.terminated.any()


def test_tasks_that_change_often_and_a_piece_too_short(tmp_path, capsys):
    recording = small_recording(task_index=[0, 0, 0, 1, 0, 1, 0]).set("episodes", "tasks", [[TASKS[0]], list(TASKS)])
    episodes, num_problems = imported(recording, tmp_path)
    assert [(one.instruction, len(one)) for one in list(episodes.values())[1:]] == [
        (TASKS[1], 1), (TASKS[0], 1), (TASKS[1], 1),
    ]  # fmt: skip
    assert num_problems == 1 and "episode-000001/3: too few frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task_index", "tasks", "text"),
    [
        ([0, 0, 0, 1, 1, 7, 7], [[TASKS[0]], []], "episode-000001/1: its task_index 7 has no task"),
        ([0, 0, 0, 7, 7, 7, 7], [[TASKS[0]], [TASKS[1]]], "episode-000001: its task_index 7 has no task"),
        ([0, 0, 0, 0, 0, 0, 0], [[TASKS[0]], [TASKS[1]]], "its rows have the task 'fold the cloth', but meta/episodes"),
        ([0, 0, 0, 1, 1, None, 1], [[TASKS[0]], [TASKS[1]]], "task_index is None, but must be a whole number"),
    ],
)
def test_a_task_that_is_unknown_or_contradicted_is_no_instruction(tmp_path, capsys, task_index, tasks, text):
    recording = small_recording(task_index=task_index).set("episodes", "tasks", tasks, pa.list_(pa.string()))
    episodes, num_problems = imported(recording, tmp_path)
    assert num_problems == 1 and text in capsys.readouterr().err
    assert all(one.instruction == TASKS[int(name[13])] for name, one in episodes.items())


def test_an_episode_without_task_index_needs_one_task_alone(tmp_path, capsys):
    recording = small_recording().set("episodes", "tasks", [[TASKS[0]], list(TASKS)])
    recording.data = recording.data.drop_columns(["task_index"])
    episodes, _ = imported(recording, tmp_path)
    assert [one.instruction for one in episodes.values()] == [TASKS[0]]
    assert "is its task cannot be told" in capsys.readouterr().err


def test_frames_are_counted_back_from_the_last(tmp_path):
    episodes, num_problems = imported(small_recording(), tmp_path, every=2)
    assert num_problems == 0
    assert [pictures(one) for one in episodes.values()] == [[0, 2], [4, 6]]
    assert episodes["episode-000001"].actions[:, 0].tolist() == [np.float32(0.5)]


def test_a_failure_is_truncated(tmp_path):
    recording = small_recording().set("data", "next.success", [False, False, True, *[False] * 4])
    episodes, _ = imported(recording, tmp_path)
    well, failed = episodes.values()
    assert well.terminated[-1] and not well.truncated.any() and well.sparse_rewards[-1] == 1
    assert failed.truncated[-1] and not failed.terminated.any() and not failed.sparse_rewards.any()


@pytest.mark.parametrize("values", [[[True]] * 7, [1.0] * 7, [1] * 7])
def test_success_as_a_list_or_a_number(tmp_path, values):
    episodes, _ = imported(small_recording().set("data", "next.success", values), tmp_path)
    assert all(one.sparse_rewards[-1] == 1 for one in episodes.values())


@pytest.mark.parametrize("value", [None, "yes", 2.0, float("nan")])
def test_success_that_is_neither_true_nor_false_is_not_guessed(tmp_path, capsys, value):
    values = [type(value)(0) if isinstance(value, float) else value] * 3 + [value] * 4
    with_text = small_recording().set("data", "next.success", values)
    if isinstance(value, float):
        assert imported(with_text, tmp_path)[1] == 1
    else:
        with pytest.raises(SettingsError, match="no whole episode"):
            imported(with_text, tmp_path)
    assert "next.success is" in capsys.readouterr().err


def test_another_key_for_the_actions(tmp_path):
    recording = small_recording()
    features = recording.info["features"]
    features["actions"] = features.pop("action")
    recording.data = recording.data.rename_columns(["actions", *recording.data.column_names[1:]])
    with pytest.raises(
        SettingsError, match=r"'action' is not among its features; set action_key .*: next\.success, act"
    ):
        imported(recording, tmp_path)
    episodes, _ = imported(recording, tmp_path, action_key="actions")
    assert episodes["episode-000000"].action_names[1] == "x +0.10, gripper -0.10"
    with pytest.raises(SettingsError, match="is no vector of numbers"):
        imported(recording, tmp_path, action_key=CAMERA)


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        ([[0.0, 0.0]] * 4 + [[0.0, float("nan")]] + [[0.0, 0.0]] * 2, "action, entry 1 is nan"),
        ([[0.0, 0.0]] * 4 + [[1e300, 0.0]] + [[0.0, 0.0]] * 2, "action, entry 0 is inf"),
        ([[0.0, 0.0]] * 4 + [[0.0]] + [[0.0, 0.0]] * 2, "not the same number of entries"),
        ([[0.0, 0.0]] * 3 + [[0.0] * 3] * 4, "its actions have 3 entries"),
        ([[0.0, 0.0]] * 4 + [None] + [[0.0, 0.0]] * 2, "not the same number of entries"),
    ],
)
def test_actions_that_are_no_vectors_of_numbers_cost_their_episode(tmp_path, capsys, actions, text):
    recording = small_recording().set("data", "action", actions, pa.list_(pa.float64()))
    episodes, num_problems = imported(recording, tmp_path)
    assert list(episodes) == ["episode-000000"] and num_problems == 1 and text in capsys.readouterr().err


def test_rows_that_are_not_numbered_from_nought_are_refused(tmp_path, capsys):
    recording = small_recording().set("data", "frame_index", [0, 1, 2, 0, 1, 1, 3])
    assert list(imported(recording, tmp_path)[0]) == ["episode-000000"]
    assert "frame_index does not number its 4 rows from 0" in capsys.readouterr().err


def test_rows_in_another_order_are_put_in_order(tmp_path):
    recording = small_recording()
    recording.data = recording.data.take([6, 0, 5, 1, 4, 2, 3])
    episodes, _ = imported(recording, tmp_path)
    assert [pictures(one) for one in episodes.values()] == [[0, 1, 2], [3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("total", "told", "num_problems"),
    [
        (7, "meta/info.json promises 7 episodes, and meta/episodes lacks 2 to 6", 1),
        (1, "meta/info.json promises 1 episode, and meta/episodes lists others: 1 to 1", 1),
        (10**15, "lacks 2 to 999999999999999", 1),
        (None, "", 0),
    ],
)
def test_more_or_fewer_episodes_than_promised(tmp_path, capsys, total, told, num_problems):
    recording = small_recording()
    recording.info["total_episodes"] = total
    episodes, found = imported(recording, tmp_path)
    assert len(episodes) == 2 and found == num_problems and told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lengths", "names", "text"),
    [
        ([4, 3, 3], ["episode-000001", "episode-000000"], "episode-000000: it stands there twice; the first counts"),
        ([4, 3, 4], ["episode-000001"], "episode-000000 is listed more than once, each time otherwise"),
    ],
)
def test_an_episode_that_is_listed_twice_counts_once_or_not_at_all(tmp_path, capsys, lengths, names, text):
    recording = small_recording()
    recording.episodes = recording.episodes.take([1, 0, 0]).drop_columns(["length"])
    recording.set("episodes", "length", lengths)
    episodes, num_problems = imported(recording, tmp_path)
    assert list(episodes) == names and num_problems and text in capsys.readouterr().err


@pytest.mark.parametrize("path", ["../{file_index}.parquet", "/tmp/{file_index}", "{file_index.real}", "{x}", "{", 3])
def test_data_outside_the_folder_is_not_read(tmp_path, path):
    recording = small_recording()
    recording.info["data_path"] = path
    with pytest.raises(SettingsError, match=r"no whole episode|data_path is"):
        imported(recording, tmp_path)
