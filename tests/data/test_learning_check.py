"""What would ruin learning from a set whose rows are in order is told; what is usual is not."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.learning_check import LearningCheck
from orchestrator.data.schema import ActionBounds, ActionSpace
from tests.data.test_datasets import INFO, episode, rewrite, write

NAMES = ("elbow", "wrist", "grip")
JOINTS = INFO.model_copy(
    update={"actions": ActionSpace(kind="continuous", names=NAMES), "symbolic_shape": None, "audits": {}}
)


def joints(number, actions, success=True, **changes):
    one = replace(episode(number, length=len(actions)), symbolic=None, audits={}, **changes)
    last = np.arange(len(actions)) == len(actions) - 1
    success = np.bool_(success)
    ends = {"sparse_rewards": np.float32(last & success), "terminated": last & success, "truncated": last & ~success}
    return replace(one, actions=np.array(actions, np.float32), **ends)


def reaching(number, steps=40):
    """Two joints in degrees and a gripper that closes in the end: a recording with nothing wrong."""
    rng = np.random.default_rng(number)
    way = np.linspace(0, 1, steps)[:, None] * rng.uniform(40, 60, 2) + rng.uniform(-3, 3, 2)
    return np.hstack([way, (np.arange(steps) > 0.8 * steps)[:, None]])


def told(episodes, info=JOINTS):
    """Each problem, and each note with a mark before it, in one text each."""
    check = LearningCheck(info)
    for one in episodes:
        check.add(one)
    return [("note: " if found.is_note else "") + found.text for found in check.problems()]


def bounded(low, high):
    space = ActionSpace(
        kind="continuous", names=NAMES, bounds=ActionBounds(low=low, high=high, sources=("given",) * len(low))
    )
    return JOINTS.model_copy(update={"actions": space})


WIDE = bounded((-180.0, -180.0, 0.0), (180.0, 180.0, 1.0))


def test_a_recording_in_degrees_with_some_failures_has_nothing_wrong():
    episodes = [joints(number, reaching(number), success=number % 2 == 0) for number in range(6)]
    assert told(episodes, bounded((-5.0, -5.0, 0.0), (65.0, 65.0, 1.0))) == []


def test_demonstrations_of_simulators_raise_no_alarm():
    for source in ("babyai", "alfred"):
        assert (
            told([episode(number, length=9) for number in range(9)], INFO.model_copy(update={"source": source})) == []
        )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a: np.hstack([a[:, :2], np.ones((len(a), 1))]), "note: grip is 1 in every action; a policy keeps that"),
        (lambda a: a * 0 + 2.5, "all 240 actions are the same (elbow is 2.5, wrist is 2.5, grip is 2.5)"),
        (lambda a: a * [9, 1, 1], "actions lie beyond their bounds, and are learned as the nearest: elbow in "),
        (lambda a: a * [1e-4, 1, 1], "99 of 100 values lie within 1% of the bounds, so a few far ones"),
        (lambda a: a * [0.1, 1, 1], "note: 99 of 100 values lie within 10% of the bounds, so a few"),
        (lambda a: reaching(0, steps=400), "note: in 100% of the steps no entry moves by 1% of its bounds"),
        (lambda a: np.random.default_rng(0).uniform([-180, -180, 0], [180, 180, 1], a.shape),
         "note: half of the steps move the mean entry by "),
        (lambda a: np.eye(3)[np.random.default_rng(0).integers(3, size=len(a))],
         "note: in every action one of its 3 entries is 1 and the others are 0: that is a choice among 3"),
    ],
)  # fmt: skip
def test_what_ruins_learning_is_told(change, expected):
    episodes = [joints(number, change(reaching(number)), success=number > 0) for number in range(6)]
    found = told(episodes, WIDE)
    assert any(line.startswith(expected) for line in found), found


def test_a_single_value_beyond_is_a_note_and_many_are_a_problem():
    actions = [reaching(number) for number in range(6)]
    actions[0][3, 0] = 999.0
    (line,) = told([joints(i, one, success=i > 0) for i, one in enumerate(actions)], bounded((-5.0,) * 3, (65.0,) * 3))[
        :1
    ]
    assert (
        line.startswith("note: actions lie beyond their bounds") and "elbow in 1 of 240 (" in line and "to 999" in line
    )


def test_choices_that_are_stored_as_a_vector_are_told():
    space = ActionSpace(kind="continuous", names=("choice",))
    info = JOINTS.model_copy(update={"actions": space})
    found = told([joints(0, np.arange(30)[:, None] % 4, success=False)], info)
    assert any(line.startswith("note: its one entry holds whole numbers only, 0 to 3") for line in found), found


@pytest.mark.parametrize(("number", "text"), [(3, "all 3 episodes count as successes"), (0, "none of 3 episodes")])
def test_all_or_none_that_count_as_successes_are_told(number, text):
    found = told([joints(i, reaching(i), success=i < number) for i in range(3)])
    assert any(text in line for line in found), found


def test_rewards_that_tell_no_action_apart_and_one_action_alone():
    rewards = {"pocket": np.float32([9, np.nan, 9]), "good": np.float32([1, 2, 3])}
    found = told([replace(episode(number), rewards=rewards) for number in range(2)], INFO)
    assert found[-1].startswith("note: the reward of pocket is 9 for all 4 actions that have one") and len(found) == 2
    found = told([replace(episode(0, length=25), actions=np.ones(25, np.int64))], INFO)
    assert found == ["all 25 actions are 1: there is nothing to learn"]


def test_a_set_without_bounds_is_told_how_it_is_learned(tmp_path):
    dataset = write(tmp_path / "set", [joints(number, reaching(number), number > 0) for number in range(6)], JOINTS)
    assert list(dataset.problems()) == []
    assert told(dataset.episodes(), JOINTS)[0].startswith("note: its actions are scaled by what they show: elbow ")


def test_a_damaged_episode_has_no_part_in_it(tmp_path):
    dataset = write(tmp_path / "set", [joints(number, reaching(number), number > 0) for number in range(2)], JOINTS)
    rewrite(dataset.folder, dataset.parts[0], lambda rows: rows[4].update(action=[1.0]))
    found = [str(problem) for problem in TrajectoryDataset(dataset.folder).problems()]
    assert len(found) == 1 and "row 4, episode e000: the action has 1 entries" in found[0]
