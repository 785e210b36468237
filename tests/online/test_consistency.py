"""likert consistency: what is asked along trajectories, what is made of the answers, and which scale they speak for."""

import csv
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from actors.worlds.metaworld.environment import TaskEnvironment
from algorithms.ratings import Rating
from orchestrator.errors import SettingsError
from orchestrator.kinds import example_experiment
from orchestrator.online.consistency import command
from orchestrator.online.consistency.command import consistency
from orchestrator.online.consistency.measures import agreement_of_repeats, falls, order, recommended
from orchestrator.online.consistency.recorded import recorded_trajectories
from orchestrator.online.consistency.trajectories import AFTER_SUCCESS, Trajectory, draw_trajectories
from orchestrator.ratings.service import SessionAnswers
from orchestrator.runs.kind import ScaleTrial
from tests.fakes.toy_recording import episode, write_recording


def test_order_counts_what_is_told_apart_and_what_is_wrong():
    truth = np.array([0.0, 0.1, 0.5, 1.0])
    assert order(np.array([0, 1, 2, 3]), truth) == 1.0
    # Six pairs of which four are told apart, all rightly: 4 / sqrt(4 * 6).
    assert order(np.array([0, 0, 1, 1]), truth) == pytest.approx(4 / np.sqrt(24))
    assert order(np.array([3, 2, 1, 0]), truth) == -1.0
    assert order(np.array([1, 1, 1, 1]), truth) == 0.0


def test_falls_count_only_where_the_truth_does_not_fall():
    assert falls(np.array([0, 2, 1, 1, 0]), np.array([0.0, 0.2, 0.4, 0.3, 0.5])) == (2, 3)


def test_repeats_agree_pair_by_pair():
    assert agreement_of_repeats(np.array([[0, 1], [0, 2], [0, 1]])) == pytest.approx((3 + 1) / 6)


def test_a_smaller_scale_is_taken_unless_a_larger_one_is_surely_better():
    assert recommended({2: [0.5, 0.6, 0.5], 3: [0.8, 0.9, 0.7], 5: [0.81, 0.88, 0.71]})[0] == 3
    number, why = recommended({2: [0.5, 0.6, 0.5], 3: [0.7, 0.7, 0.7], 5: [0.9, 0.9, 0.9]})
    assert number == 5 and "tau 0.90" in why
    # Falling with n: the fewest.
    assert recommended({2: [0.9, 0.9], 3: [0.8, 0.8]})[0] == 2


def experiment(tmp_path, *overrides):
    folders = [f"runs_folder={tmp_path / 'runs'}", f"ratings_folder={tmp_path / 'ratings'}"]
    return example_experiment("example", ["task=drawer_open", *folders, *overrides])


def test_the_expert_s_trajectories_rise_to_success(tmp_path):
    task = experiment(tmp_path).task.judged_from(False, 0.2)
    one, other = draw_trajectories(task, 2, 6, None, None)
    for trajectory in (one, other):
        assert len(trajectory.frames) == len(trajectory.steps) == 6 and trajectory.steps[0] == 0
        assert trajectory.successes[-1] and not trajectory.successes[0]
        assert trajectory.progress[0] < 0.3 and trajectory.progress[-1] > 0.9
    assert one.frames[0] != other.frames[0], "starts around the fixed one differ"
    environment = TaskEnvironment(task)
    np.testing.assert_array_equal(environment.reset(0), one.observations[0])
    environment.close()


def test_what_cannot_act_or_be_asked_is_said(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match=r"pendulum.* has no scripted expert.*--policy RUN"):
        given = {"world": "gymnasium", "env_id": "Pendulum-v1", "instruction": "swing", "focus": "it", "image_px": 84}
        block = ", ".join(f"{name}: {value}" for name, value in given.items())
        draw_trajectories(
            experiment(tmp_path, f"task={{name: pendulum, {block}}}", "rollout.chunk_agent_steps=50").task,
            1, 5, None, None,
        )  # fmt: skip
    monkeypatch.setattr("orchestrator.online.consistency.trajectories.AFTER_SUCCESS", 0)
    impossible = experiment(
        tmp_path, "task={base: drawer_open, episode_env_steps: 8}", "rollout.chunk_agent_steps=2"
    ).task
    with pytest.raises(SettingsError, match="the scripted expert came to success in 0 of 4 episodes"):
        draw_trajectories(impossible, 1, 5, None, None)
    for overrides, wanted, message in (
        (["reward.source=sparse"], ScaleTrial(), "there is no scale to choose"),
        (["feedback.segment={kind: episode, num_frames: 2}"], ScaleTrial(), "asks about single frames"),
        ([], ScaleTrial(frames=2), "--frames 2: must be 3 or more"),
    ):
        with pytest.raises(SettingsError, match=message):
            consistency(experiment(tmp_path, *overrides), None, wanted, tmp_path)


def test_recorded_episodes_that_succeed_are_asked_about(tmp_path, monkeypatch):
    failed, whole = episode("failed", False, 6, 0), episode("whole", True, 12, 1)
    early = replace(whole, episode_id="early", sparse_rewards=np.eye(12, dtype=np.float32)[2])
    folder = write_recording(tmp_path / "data", [failed, whole, early])
    one, other = recorded_trajectories(folder, 2, 13)
    assert one.steps.tolist() == list(range(13)) and one.frames == list(whole.frames)
    assert one.successes.tolist() == [False] * 12 + [True] and one.instruction == "slide the bar"
    assert other.steps.tolist() == list(range(3 + AFTER_SUCCESS + 1)), "it ends shortly after its success"
    assert other.successes.tolist() == [False] * 3 + [True] * (AFTER_SUCCESS + 1)
    asked = []

    class Recorder(Service):
        def ask(self, questions, report):
            asked.extend(questions)
            return super().ask(questions, report)

    @contextmanager
    def asking_ratings(rater, store, name, needs):
        yield Recorder(0), None

    monkeypatch.setattr(command, "asking_ratings", asking_ratings)
    monkeypatch.setattr(command, "check_raters", lambda _: None)
    consistency(experiment(tmp_path), None, ScaleTrial(2, 5, recorded=folder), tmp_path / "out")
    assert {question.request.task.instruction for question in asked} == {"slide the bar"} and len(asked) == 4 * 10
    assert "2 trajectories of the recordings data, on each scale" in (tmp_path / "out" / "consistency.md").read_text()


def test_fewer_recorded_successes_than_are_wanted_are_said(tmp_path):
    folder = write_recording(tmp_path / "data", [episode("one", True, 6), episode("other", False, 6)])
    with pytest.raises(SettingsError, match="1 of its 2 episodes succeed, and 2 are wanted: ask for fewer by --traj"):
        recorded_trajectories(folder, 2, 5)


def test_nobody_acts_where_episodes_are_recorded(tmp_path):
    with pytest.raises(SettingsError, match="--policy and --recorded: either somebody acts or episodes are recorded"):
        consistency(experiment(tmp_path), object(), ScaleTrial(recorded=tmp_path), tmp_path)


class Service:
    """A rater that sees how many bytes a frame has, and doubts a little; other seeds see one frame wrongly."""

    def __init__(self, seed):
        self.seed = seed

    def ask(self, questions, report):
        outcomes = []
        for place, question in enumerate(questions):
            number = len(question.request.scale)
            level = min(int(len(question.frames[0]) / 100 * number), number - 1)
            if place == 0 and self.seed:
                level = number - 1
            probabilities = tuple(0.9 if one == level else 0.1 / (number - 1) for one in range(number))
            outcomes.append(Rating(f"{place}", level, probabilities, "", 1, 1, 0.0))
        report(len(outcomes), 0, 0, 0)
        future = Future()
        future.set_result(SessionAnswers(outcomes, 0, 0.0))
        return future


@pytest.mark.parametrize(("temperature", "rounds"), [(0.0, 1), (0.7, 2)])
def test_the_page_says_what_the_rater_said(tmp_path, monkeypatch, capsys, temperature, rounds):
    @contextmanager
    def asking_ratings(rater, store, name, needs):
        yield Service(rater.seed - seed), None

    steps = np.arange(10)
    trajectory = Trajectory(
        frames=[b"x" * (10 * step + 5) for step in steps],
        steps=steps,
        successes=steps == 9,
        progress=steps / 9,
        observations=np.zeros((10, 39), np.float32),
        returns=np.zeros(10, np.float32),
        instruction="",
    )
    given = experiment(tmp_path, f"rater.temperature={temperature}")
    seed = given.rater.seed
    monkeypatch.setattr(command, "asking_ratings", asking_ratings)
    monkeypatch.setattr(command, "draw_trajectories", lambda *_: [trajectory, trajectory])
    monkeypatch.setattr(command, "check_raters", lambda _: None)
    monkeypatch.setattr("actors.worlds.metaworld.family.MetaWorldFamily.levels", lambda *_: np.full(10, -1))
    consistency(given, None, ScaleTrial(2, 10, 2), tmp_path / "out")
    assert "recommended: feedback.num_ratings=5: 5 levels follow the task best" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "out" / "consistency.csv").open()))
    assert [int(row["levels"]) for row in rows] == [2, 3, 4, 5]
    assert all(float(row["falls"]) == pytest.approx((0, 1 / 36)[rounds - 1]) for row in rows)
    assert [row["repeats"] for row in rows] == ([""] * 4 if rounds == 1 else ["0.95"] * 4)
    # Two frames in ten have the top level of five, and one of them is a success.
    assert float(rows[3]["success"]) == pytest.approx((0.9, 0.875)[rounds - 1])
    assert float(rows[1]["from_finest"]) >= 0.6 and rows[3]["from_finest"] == ""
    page = (tmp_path / "out" / "consistency.md").read_text()
    assert ("asking again would say nothing" in page) == (rounds == 1) and (
        tmp_path / "out" / "consistency.png"
    ).exists()
