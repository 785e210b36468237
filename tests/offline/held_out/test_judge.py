"""Judging by held-out episodes, by policies whose numbers are known by hand."""

import dataclasses

import numpy as np
import pytest

from algorithms.action_scale import ActionScale
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.data.writer import DatasetWriter
from orchestrator.offline.data import load_offline_data
from orchestrator.offline.held_out.judge import HeldOutJudge, action_errors
from orchestrator.offline.settings import OfflineExperiment
from tests.fakes.toy_recording import JOINTS, episode, episodes, write_recording

PX = 16


def experiment(folder, **changes):
    tree = {
        "kind": "offline", "name": "toy", "total_updates": 1,
        "data": {"path": folder, "observation": "frame"} | changes.pop("data", {}),
        "policy": {"discount": 0.5, "batch_size": 4},
        "evaluation": {"environment": "none", "share": 0.5, "fitted_q": {"updates": 5}} | changes,
    }  # fmt: skip
    return OfflineExperiment.model_validate(tree)


def judge_of(folder, held_out, **changes):
    settings, dataset = experiment(folder, **changes), TrajectoryDataset(folder)
    data = load_offline_data(dataset, settings.data, (), settings.policy.discount, held_out)
    return HeldOutJudge(settings, data, dataset.info.actions.names), data


class Policy:
    """Says what `actions` makes of the recorded ones, and V as `value` makes of a picture's brightest column."""

    def __init__(self, actions=lambda recorded: recorded, value=None):
        self._actions, self._value = actions, value
        self.plan, self.batches = None, []

    def predict(self, batch):
        found = {"likeliest": self._actions(batch["action"]), "log_prob": np.arange(len(batch["action"]))}
        if self._value is None:
            return found
        seen = batch["observation"][:, -1, 0, :, 0].argmax(axis=1) / 20.0
        return found | {"value": self._value(seen).astype(np.float32)}

    def fitted_q(self, plan, batches, starts):
        self.plan = plan
        self.batches = [batch for some in batches for batch in some]
        number = sum(len(one["observation"]) for one in starts)
        return np.outer(np.arange(number), np.ones(len(plan.lowest))).astype(np.float32)


OUT = ("episode-000000", "episode-000002", "episode-000006")
"""Two that succeeded, one of them of one action, and one that failed."""


@pytest.fixture
def folder(tmp_path):
    return write_recording(tmp_path / "set")


def test_a_perfect_policy_has_no_error_and_what_is_constant_has_one(folder):
    judge, data = judge_of(folder, OUT)
    assert len(data.held_out.succeeded) == 3 and len(data.episode_ids) == 7
    found = judge.metrics(Policy(), control="untrained")
    assert found["held_out/untrained_agreement"] == 1.0
    assert found["held_out/untrained_error/shoulder.pos"] == 0.0 and not any("still" in name for name in found)
    # Seven actions of success: 0 to 5, and 0 of the short one.
    assert found["held_out/untrained_log_prob"] == pytest.approx(np.mean([0, 1, 2, 3, 4, 5, 6]))
    learned = np.concatenate([one.actions for one in episodes() if one.episode_id not in OUT])
    asked = np.concatenate([episodes()[number].actions for number in (0, 2)])
    error = np.abs(asked - np.median(learned, axis=0))[:, 0].mean()
    assert found["held_out/constant_error/shoulder.pos"] == pytest.approx(error, rel=1e-4)
    # Of 150 degrees that were recorded, from -90 to 60.
    assert found["held_out/constant_error_share/wrist_0_"] == pytest.approx(error / 150.0, rel=1e-4)
    assert found["held_out/constant_agreement"] == pytest.approx(1.0 - error / 150.0, rel=1e-4)


def test_errors_are_in_the_recordings_units_and_shares_of_ranges():
    scale = ActionScale((-90.0, 0.0, 3.0), (90.0, 0.5, 3.0))
    recorded = np.float32([[0.0, -0.9], [0.9, 0.9]])
    likeliest = np.float32([[0.45, -0.9], [0.9, -0.9]])
    found = action_errors(likeliest, recorded, scale, JOINTS)
    # 45 degrees once of two; half once of two; the still one is no policy's to say.
    assert found["error/shoulder.pos"] == pytest.approx(22.5) and found["error/wrist_0_"] == pytest.approx(0.25)
    assert found["error_share/shoulder.pos"] == pytest.approx(0.125)
    assert found["error_share/wrist_0_"] == pytest.approx(0.5)
    assert found["action_error"] == pytest.approx(0.3125) and found["agreement"] == pytest.approx(0.6875)


def test_values_are_told_where_episodes_begin_and_end(folder):
    judge, _ = judge_of(folder, OUT)
    found = judge.metrics(Policy(value=lambda place: 2.0 * place + 1.0))
    # The bar moves by a sixth of its way; the failure's by a twelfth. V is of states before actions.
    assert found["held_out/value_start_success"] == found["held_out/value_start_failure"] == 1.0
    assert found["held_out/value_start_auroc"] == 0.5
    assert found["held_out/value_end_success"] == pytest.approx((2 * 17 / 20 + 1 + 1) / 2)
    assert found["held_out/value_end_failure"] == pytest.approx(2 * 8 / 20 + 1)
    # The long success ends above the failure, the short one below.
    assert found["held_out/value_end_auroc"] == 0.5 and found["held_out/value_order"] == pytest.approx(1.0)
    falling = judge.metrics(Policy(value=lambda place: -place))
    assert falling["held_out/value_order"] == pytest.approx(-1.0)
    level = judge.metrics(Policy(value=np.ones_like))
    assert "held_out/value_order" not in level and level["held_out/value_start_auroc"] == 0.5
    assert not any("value" in name for name in judge.metrics(Policy()))


def test_without_failures_nothing_is_told_from_them(folder):
    judge, _ = judge_of(folder, OUT[1:2])
    found = judge.metrics(Policy(value=lambda place: place))
    # One episode of one action: neither order nor failure.
    assert {name for name in found if "value" in name} == {
        "held_out/value_start_success", "held_out/value_end_success",
    }  # fmt: skip


def test_fitted_q_is_of_the_rewards_learned_from_and_of_the_sparse_ones(tmp_path):
    given = [dataclasses.replace(one, rewards={}) for one in episodes()]
    folder = write_recording(tmp_path / "set", given)
    dataset = TrajectoryDataset(folder)
    (part,) = dataset.parts
    rewards = np.full(dataset.num_rows(part), 0.25, np.float32)
    first_learned = 7  # Row of the second episode's first action, behind the first one's seven states.
    rewards[first_learned] = np.nan
    dataset.write_labels(part, "toy", rewards)
    dataset.record_labels("toy", {})
    judge, data = judge_of(folder, OUT, data={"reward": {"labeller": "toy"}})
    policy = Policy()
    assert not any("worth" in name for name in judge.metrics(policy)), "only the last evaluation"
    found = judge.metrics(policy, last=True)
    assert len(policy.batches) == policy.plan.num_updates == 5
    assert policy.plan.lowest == (0.25, 0.0) and policy.plan.highest == (0.5, 2.0)
    assert all(one["reward"].shape == one["reward_known"].shape == (4, 2) for one in policy.batches)
    unknown = [one["reward_known"] for one in policy.batches if (one["reward_known"] == 0).any()]
    assert sum((one == 0).sum() for one in unknown) == sum((one[:, 0] == 0).sum() for one in unknown) <= 1
    assert data.transitions.num_unlabelled == 1
    # The toy policy is worth 0, 1 and 2 by the order of the episodes.
    assert (found["held_out/worth"], found["held_out/worth_low"], found["held_out/worth_high"]) == (1.0, 0.0, 2.0)
    # 6 actions and 1 in success, 1 action... the failures have 6 each: 0.25 * (1 + 1/2 + ...).
    long, short = 0.25 * (2.0 - 0.5**5), 0.25
    assert found["held_out/return"] == pytest.approx((long + short + long) / 3)
    assert found["held_out/return_sparse"] == pytest.approx((0.5**5 + 1.0 + 0.0) / 3)
    sparse, _ = judge_of(folder, OUT)
    assert "held_out/worth_sparse" not in sparse.metrics(policy, last=True)
    always, _ = judge_of(folder, OUT, fitted_q={"updates": 2, "when": "always"})
    assert "held_out/worth" in always.metrics(policy)
    never, _ = judge_of(folder, OUT, fitted_q=None)
    assert not any("worth" in name for name in never.metrics(policy, last=True))


def discrete(name, actions, things=()):
    steps = len(actions)
    last = np.arange(steps) == steps - 1
    return Trajectory(
        episode_id=name, instruction="go", actions=np.array(actions), action_names=("a",) * steps,
        sparse_rewards=last.astype(np.float32), terminated=last, truncated=np.zeros(steps, bool),
        frames=episode("a", True, steps).frames, action_objects=tuple(things),
    )  # fmt: skip


def discrete_set(folder, *trajectories):
    objects = bool(trajectories[0].action_objects)
    info = DatasetInfo(
        name="d", source="mine", actions=ActionSpace(kind="discrete", names=("left", "right", "take")),
        frame_px=(16, 24), has_action_objects=objects,
    )  # fmt: skip
    with DatasetWriter(folder, info) as writer:
        for trajectory in trajectories:
            writer.write(trajectory)
    return folder


def test_discrete_actions_are_right_or_wrong(tmp_path):
    folder = discrete_set(tmp_path / "d", discrete("a", [0, 0, 1, 2]), discrete("b", [0, 0, 0, 1]))
    judge, _ = judge_of(folder, {"b"})
    found = judge.metrics(Policy(actions=lambda recorded: np.array([0, 0, 1, 1])), control="untrained")
    assert found["held_out/untrained_accuracy"] == 0.75
    assert found["held_out/untrained_balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["held_out/untrained_agreement"] == found["held_out/untrained_balanced_accuracy"]
    assert found["held_out/constant_accuracy"] == 0.75 and found["held_out/constant_balanced_accuracy"] == 0.5
    # Of a: left 3 of 7, right 2 of 7.
    assert found["held_out/constant_log_prob"] == pytest.approx((3 * np.log(3 / 7) + np.log(2 / 7)) / 4)


def test_an_object_counts_where_there_is_one(tmp_path):
    folder = discrete_set(
        tmp_path / "d", discrete("a", [0, 2, 2], ["", "mug", "pan"]), discrete("b", [0, 2, 2], ["", "mug", "pan"])
    )
    judge, data = judge_of(folder, {"b"})
    assert data.objects == ("", "mug", "pan")
    # A wrong object of an action that is about none does not count; that of the last does.
    found = judge.metrics(Policy(actions=lambda recorded: np.array([[0, 2], [2, 1], [2, 1]])))
    assert found["held_out/accuracy"] == pytest.approx(2 / 3) and found["held_out/object_accuracy"] == 0.5
    assert found["held_out/balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)


def test_nothing_is_learned_of_held_out_episodes_not_even_words(tmp_path):
    first, *rest = episodes()
    folder = write_recording(tmp_path / "set", [dataclasses.replace(first, instruction="lift a teapot"), *rest])
    _, data = judge_of(folder, {"episode-000000"})
    assert "episode-000000" not in data.episode_ids
    known, unknown = data.encode(["push the cube"]), data.encode(["lift a teapot"])
    assert (known[0, :3] > 1).all() and (unknown[0, :3] == 1).all()
    assert len(data.transitions) + len(data.held_out.transitions) == sum(map(len, episodes()))
    assert set(data.transitions.state) & set(data.held_out.transitions.state) == set()
