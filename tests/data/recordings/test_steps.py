"""Which frames are kept, and what becomes of the actions between them; numbers worked by hand."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from algorithms.images import decode_png
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.data.recordings.steps import Steps, StepSettings
from orchestrator.data.schema import ActionSpace
from orchestrator.errors import SettingsError
from tests.fakes.small_recording import small_recording

ARM = ActionSpace(kind="continuous", names=("dx", "gripper"))
MOVES = np.float32([[1, 9], [2, 8], [4, 7], [8, 6], [16, 5], [32, 4], [64, 3]])


def steps(space=ARM, **settings):
    return Steps(StepSettings(**settings), space)


def joined(one, recorded, first, last):
    kept = one.kept(first, last)
    return kept, one.joined(recorded[one.rows(kept)], kept).tolist()


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"every": 3}, ([1, 4, 7], [[8, 6], [64, 3]])),
        ({"every": 3, "actions": "absolute"}, ([1, 4, 7], [[8, 6], [64, 3]])),
        ({"every": 3, "actions": "relative"}, ([1, 4, 7], [[2 + 4 + 8, 21], [16 + 32 + 64, 12]])),
        ({"every": 3, "actions": "relative", "absolute_entries": ["gripper"]}, ([1, 4, 7], [[14, 6], [112, 3]])),
        ({"every": 7, "actions": "relative"}, ([0, 7], [[127, 42]])),
        ({"every": 1, "actions": "relative"}, (list(range(8)), MOVES.tolist())),
    ],
)
def test_actions_between_kept_frames(settings, wanted):
    assert joined(steps(**settings), MOVES, 0, 7) == wanted


def test_a_piece_adds_up_its_own_actions_alone():
    assert joined(steps(every=2, actions="relative"), MOVES, 2, 5) == ([3, 5], [[24, 11]])


def test_frames_that_are_too_few():
    with pytest.raises(ImportProblem, match="too few frames for one action: 3"):
        steps(every=3).kept(0, 2)


def test_settings_that_do_not_fit():
    with pytest.raises(ValidationError, match="exceptions of actions=relative"):
        StepSettings(absolute_entries=["gripper"])
    with pytest.raises(SettingsError, match="'grip' is no entry of the actions; there are dx, gripper"):
        steps(actions="relative", absolute_entries=["grip"])
    with pytest.raises(SettingsError, match="cannot be added up"):
        steps(ActionSpace(kind="discrete", names=("left", "right")), actions="relative")


# ------------------------------------------------------------------------------------------- what is proposed


def path(seed, length=200):
    """A state that wanders, [length + 1, 2], the moves that make it, and the targets that it goes to."""
    moves = np.random.default_rng(seed).normal(0, 0.1, (length, 2)).astype(np.float32)
    states = np.concatenate([np.zeros((1, 2), np.float32), np.cumsum(moves, axis=0)])
    return states, moves, states[1:]


def told(names, recorded, states, **settings):
    one = steps(ActionSpace(kind="continuous", names=names), every=5, **settings)
    note = one.look_at(recorded, states)
    assert note is None, "one episode is not enough"
    note = one.note()
    assert one.note() is None and (note is None or note.is_note)
    return str(note) if note else ""


NAMELESS = ("a0", "a1")


def test_names_of_moves_are_seen():
    states, moves, _ = path(0)
    text = told(("delta_x", "gripper"), moves, None)
    assert "delta_x looks relative (by their names)" in text
    assert "actions=relative 'absolute_entries=[gripper]'" in text
    assert "x.vel, d_y look relative" in told(("x.vel", "d_y"), moves, states)


@pytest.mark.parametrize("seed", range(5))
def test_moves_go_with_the_changes_of_the_state_and_targets_with_the_state(seed):
    states, moves, targets = path(seed)
    assert "go with the state's changes" in told(NAMELESS, moves, states[:-1])
    assert told(NAMELESS, targets, states[:-1]) == ""


def test_without_a_state_moves_change_sign_often():
    _, moves, _ = path(0)
    assert "a0, a1 look relative (they fluctuate about zero)" in told(NAMELESS, moves, None)
    smooth = np.sin(np.linspace(0, 6, 200))[:, None] * [1.0, 2.0]
    assert told(NAMELESS, smooth, None) == ""
    assert told(NAMELESS, moves + 5, None) == ""


def test_a_switch_is_absolute():
    _, moves, _ = path(0)
    moves[:, 1] = np.sign(moves[:, 1])
    assert "a0 looks relative" in (text := told(NAMELESS, moves, None)) and "'absolute_entries=[a1]'" in text
    assert "adds up a1 as well, which looks absolute" in told(NAMELESS, moves, None, actions="relative")
    assert told(NAMELESS, moves, None, actions="relative", absolute_entries=["a1"]) == ""


def test_nothing_is_said_where_it_makes_no_difference():
    assert not steps(every=1).is_looking
    assert not steps(every=5, actions="absolute").is_looking
    assert not steps(ActionSpace(kind="discrete", names=("left", "right")), every=5).is_looking
    assert steps(every=5).note() is None


# ------------------------------------------------------------------------------------------- in an importer


def test_a_recording_of_moves(tmp_path, capsys):
    recording = small_recording(names=("delta_x", "gripper"))
    source = recording.write(tmp_path / "robot")
    import_lerobot(source, tmp_path / "last", LeRobotSettings(every=3))
    assert "note: every = 3" in (said := capsys.readouterr().err) and "absolute_entries=[gripper]" in said
    settings = LeRobotSettings(every=3, actions="relative", absolute_entries=["gripper"])
    import_lerobot(source, tmp_path / "sums", settings)
    assert "note: every" not in capsys.readouterr().err
    # Rows 3, 4, 5 lead to the last frame; the first episode has too few.
    (last,), (sums,) = (list(TrajectoryDataset(tmp_path / name).episodes()) for name in ("last", "sums"))
    assert last.actions.tolist() == np.float32([[0.5, -0.5]]).tolist()
    assert sums.actions.tolist() == np.float32([[0.3 + 0.4 + 0.5, -0.5]]).tolist()
    assert sums.action_names == ("delta_x +1.20, gripper -0.50",)
    assert [decode_png(frame)[0, 0, 0] for frame in sums.frames] == [3, 6]


def test_an_action_that_is_broken_costs_an_episode_only_where_it_counts(tmp_path):
    rows = [[n / 10, -n / 10] for n in range(7)]
    rows[3][0] = float("nan")
    recording = small_recording().set("data", "action", rows, pa.list_(pa.float32(), 2))
    source = recording.write(tmp_path / "robot")
    assert import_lerobot(source, tmp_path / "last", LeRobotSettings(every=2))[1] == 0
    assert import_lerobot(source, tmp_path / "sums", LeRobotSettings(every=3, actions="absolute"))[1] == 1
    with pytest.raises(SettingsError, match="no whole episode"):
        import_lerobot(source, tmp_path / "none", LeRobotSettings(every=3, actions="relative"))
