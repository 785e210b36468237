"""Rewards that come from elsewhere than a reward model: the world's own, and what a rater says of frames."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import kendalltau

from actors.rating.backend import Reply
from actors.worlds.probing import probe
from algorithms.images import decode_png
from algorithms.ratings import Rating, RatingFailure
from algorithms.soft_labels import likeliest, merged
from orchestrator.cluster.placement import RATING_REPLICA
from orchestrator.errors import RatingsFailing, SettingsError, WorldFailing
from orchestrator.kinds import kind_of, read_run
from orchestrator.online.demands import LEARNER, online_demands
from orchestrator.online.preflight import check_reward_functions
from orchestrator.online.report import markdown, result_line
from orchestrator.online.rewards.functions import reward_function
from orchestrator.online.rewards.given import GivenReward
from orchestrator.online.rewards.held import held, last_of_each
from orchestrator.online.rewards.scored import _scores
from orchestrator.online.rollouts import Collected
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.telling import agreement
from orchestrator.online.telling.agreement import agreement_of_pairs
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.folder import RunFolder
from tests.fakes.toy_reach import CountingServer, column_of
from tests.fakes.toy_run import ToyRun, toy_experiment

ROOT = Path(__file__).parents[2]


def of_source(tmp_path, source, **changes):
    """The toy task's settings with another source."""
    given = toy_experiment(tmp_path).model_dump()
    given["feedback"]["budget"] = 10_000
    if source == "preferences":
        given["rater"]["model"] = "pocket_pairs"
    return OnlineExperiment.model_validate(given | {"reward": {"source": source, "every_agent_steps": 3}} | changes)


class Doubtful(CountingServer):
    """Holds what it says for likely, and all else for equally unlikely."""

    def _answer(self, prompt, images, choices):
        said = super()._answer(prompt, images, choices)
        rest = 0.2 / max(1, len(choices) - 1)
        return Reply(said, tuple(0.8 if choice == said else rest for choice in choices) if choices else None)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["environment", "preferences", "scores", "soft ratings", "soft preferences"])
def test_the_toy_task_is_solved_and_a_resumed_run_equals_a_whole_one(tmp_path, actors, source):
    labels, _, source = source.rpartition(" ")
    experiment = of_source(tmp_path, source)
    if labels:
        soft = experiment.feedback.model_copy(update={"labels": "soft"})
        experiment = experiment.model_copy(update={"feedback": soft})
    rater = Doubtful if labels else CountingServer
    whole = ToyRun(experiment, server_class=rater).run()
    assert whole.success() == 1.0
    again = experiment.model_copy(update={"name": "again"})
    ToyRun(again.model_copy(update={"total_env_steps": 800}), server_class=rater).run()
    assert ToyRun(again, server_class=rater).run(resume=True).fingerprint() == whole.fingerprint()
    if labels:
        told = whole.labels.probabilities
        np.testing.assert_allclose(told.max(axis=1), 0.8 if source == "ratings" else 0.8 / 0.9, atol=1e-6)
        assert (told.argmax(axis=1) == whole.labels.ratings).all()


def test_rewards_are_the_world_s_own_and_nobody_is_asked(tmp_path, actors):
    for source, expected in (("sparse", "successes"), ("environment", "env_rewards")):
        run = ToyRun(of_source(tmp_path, source, name=source, total_env_steps=200)).run()
        replay = run.loop.policy.replay
        rewards = replay.learned_rewards(replay.indices)
        positions = replay.stored_next_observations()[:, 0]
        known = replay.successes(replay.indices) if expected == "successes" else positions
        np.testing.assert_allclose(rewards, known, atol=1e-6)
        assert not run.learners and set(replay.reward_versions(replay.indices)) == {0}
    assert not (tmp_path / "ratings").exists()
    folder = read_run(tmp_path / "runs" / "sparse-seed0")
    assert "sparse (privileged)" in markdown([result_line("sparse", [folder])])
    assert not (folder.folder / "reward_model.npz").exists()


def test_a_score_holds_for_the_steps_before_its_frame(tmp_path, actors):
    run = ToyRun(of_source(tmp_path, "scores", total_env_steps=200)).run()
    replay = run.loop.policy.replay
    rewards = replay.learned_rewards(replay.indices).reshape(-1, 20)
    # Rounds of 20 steps: the frames after steps 3, 6, ... 18 and 20 are rated.
    for start, end in ((0, 3), (3, 6), (15, 18), (18, 20)):
        assert (rewards[:, start:end] == rewards[:, [start]]).all()
    assert {0.0, 0.5} <= set(np.unique(rewards)) <= {0.0, 0.5, 1.0}, "this rater is always sure"
    assert run.num_asked == len(RatingStore(tmp_path / "ratings")) <= 10 * 7
    metrics = read_run(run.experiment.run_folder)
    assert metrics.series("rating/asked").values[-1] == 10 * 7
    assert metrics.series("reward/success_accuracy").values[-1] >= 0.5
    assert list((run.experiment.run_folder / "frames").glob("*.png"))


def test_a_reward_model_learns_which_of_two_frames_is_nearer_to_the_goal(tmp_path, actors):
    run = ToyRun(of_source(tmp_path, "preferences", total_env_steps=600)).run()
    folder = read_run(run.experiment.run_folder)
    counts = [folder.series(f"rating/level_{number}").values for number in (1, 2, 3)]
    assert np.sum(counts) == run.num_asked == folder.series("rating/asked").values[-1] == 80
    labels, undecided = run.labels, run.loop.reward.sessions.undecided
    assert len(labels) == np.sum(counts[:2]) and len(undecided) == np.sum(counts[2]) > 0
    assert set(labels.ratings) == {0, 1} and labels.observations.shape == (len(labels), 2, 1)
    # Both frames are in the store, in the order in which they were shown.
    all_stored = RatingStore(tmp_path / "ratings").load(labels.keys)
    for stored, observations in zip(all_stored, labels.observations, strict=True):
        columns = [decode_png(png)[0, :, 0].argmax() for png in stored.frames]
        assert columns == [column_of(float(position)) for position in observations[:, 0]]
        assert stored.frames == stored.request.images and stored.request.scale.compares and stored.success is None
    replay = run.loop.policy.replay
    rewards = replay.learned_rewards(replay.indices)
    assert kendalltau(rewards, replay.stored_next_observations()[:, 0]).statistic > 0.9
    assert folder.series("reward/accuracy").values[-1] > 0.9
    kept = [path.name.partition(".")[2] for path in (run.experiment.run_folder / "frames").glob("*-cannot-tell_*")]
    assert kept.count("png") == kept.count("2.png") > 0
    assert "preferences" in markdown([result_line("preferences", [folder])])


def test_levels_are_made_of_finer_ones_that_were_asked_once(tmp_path, actors):
    def asking(name, num_ratings, **changes):
        given = toy_experiment(tmp_path).model_dump()
        feedback = given["feedback"] | {
            "num_ratings": num_ratings,
            "asked_levels": 5,
            "explore_until_two_levels": False,
        }
        # Until the only session nobody knows a reward: both runs see the same.
        changes |= {"name": name, "total_env_steps": 400, "feedback": feedback | changes.pop("feedback", {})}
        return OnlineExperiment.model_validate(given | changes)

    fine = ToyRun(asking("fine", 5)).run()
    assert fine.num_asked == 40 and fine.labels.probabilities.shape == (40, 5)
    for number in (2, 3, 4):
        run = ToyRun(asking(f"coarse{number}", number)).run()
        assert run.num_asked == 0 and run.labels.keys == fine.labels.keys
        made = merged(np.eye(5)[fine.labels.ratings], number)
        np.testing.assert_allclose(run.labels.probabilities, made, atol=1e-6)
        assert (run.labels.ratings == likeliest(made)).all() and run.loop.progress.reward_version == 1
        shown = read_run(run.experiment.run_folder)
        told = [shown.series(f"rating/level_{level}").values.sum() for level in range(1, 6)]
        assert told == np.bincount(fine.labels.ratings, minlength=5).tolist(), "what was asked is what is told"
    with pytest.raises(ValidationError, match="asked_levels 2 is below num_ratings 3"):
        asking("other", 3, feedback={"asked_levels": 2})


class NeverSure(CountingServer):
    """Can tell no pair apart."""

    def _answer(self, prompt, images, choices):
        self.num_asked += bool(choices)
        return choices[2]


def test_as_long_as_no_pair_can_be_told_apart_the_policy_explores(tmp_path, actors, monkeypatch):
    notes = []
    monkeypatch.setattr(RunFolder, "note", lambda self, text: notes.append(text))
    run = ToyRun(of_source(tmp_path, "preferences", total_env_steps=600), server_class=NeverSure).run()
    assert run.loop.progress.starving and run.loop.progress.reward_version == 0
    assert not len(run.labels) and len(set(run.loop.reward.sessions.undecided)) == run.num_asked == 80
    (note,) = [text for text in notes if "ratings so far" in text]
    assert "all 40 ratings so far are 'Cannot tell': the reward model waits for a pair that can be told apart" in note


def test_preferences_are_held_against_true_progress(monkeypatch):
    task = of_known_progress(monkeypatch)
    observations = np.array([[0.1, 0.5], [0.5, 0.1], [0.2, 0.9], [0.3, 0.3], [0.1, 0.2]])[:, :, None]
    returns = np.zeros((5, 2), dtype=np.float32)
    told = agreement_of_pairs(task, np.array([1, 1, 1, 0, 2]), observations, returns)
    # Four differ in progress; the last of them is not told apart, and the second wrongly.
    assert told == pytest.approx({"rating/told_apart": 0.75, "rating/preference_accuracy": 2 / 3})
    assert agreement_of_pairs(task, np.array([2]), observations[:1], returns[:1]) == {"rating/told_apart": 0.0}


def of_known_progress(monkeypatch):
    """A task whose progress is the observation's only number."""
    family = SimpleNamespace(progress=lambda task, observations, returns: observations[:, 0])
    monkeypatch.setattr(agreement, "family_of", lambda task: family)


@pytest.fixture
def my_rewards(tmp_path, monkeypatch):
    """The page's function, and others that fail, in a module of the user's own."""
    (shown,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text(), flags=re.M | re.S)
    others = "\n\ndef short(chunk):\n    return chunk[:3]\n\n\ndef broken(chunk):\n    return chunk.reward\n"
    (tmp_path / "my_rewards.py").write_text(shown + others)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_rewards", None)


def test_a_function_of_one_s_own_is_the_reward(tmp_path, actors, my_rewards):
    run = ToyRun(of_source(tmp_path, "my_rewards:with_little_effort", total_env_steps=200)).run()
    replay = run.loop.policy.replay
    rows = replay.sample(64, np.random.default_rng(0))
    expected = rows["next_observation"][:, 0] - 0.1 * rows["action"][:, 0] ** 2
    np.testing.assert_allclose(rows["learned_reward"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [("short", r"gives for 20 steps has shape \(3,\)"), ("broken", "no attribute 'reward'.*my_rewards.py, line ")],
)
def test_a_function_that_gives_no_reward_stops_the_run(my_rewards, name, message):
    reward = GivenReward(reward_function(f"my_rewards:{name}"))
    with pytest.raises(WorldFailing, match=message):
        reward.of_new(None, Collected([range(20)], None), 0, None)


def test_a_function_that_is_not_there_is_said_before_the_start(tmp_path):
    with pytest.raises(SettingsError, match=r"reward.source: 'nowhere_at_all:it' cannot be imported"):
        check_reward_functions([of_source(tmp_path, "nowhere_at_all:it"), of_source(tmp_path, "ratings")])


@pytest.mark.slow
def test_a_broken_rater_stops_a_run_of_scores_and_it_goes_on_when_it_is_well(tmp_path, actors):
    experiment = of_source(tmp_path, "scores", total_env_steps=400)
    with pytest.raises(RatingsFailing, match=r"7 of 7 questions"):
        ToyRun(experiment, broken=True).run()
    mended = ToyRun(experiment).run()
    assert mended.loop.progress.env_steps == 400


def rated(level, *probabilities):
    return Rating("key", level, probabilities, "", 1, 1, 0.0)


def test_scores_are_mean_levels_and_a_question_without_answer_takes_its_neighbour_s():
    failed = RatingFailure("key", "timeout", "late", 3)
    outcomes = [rated(2, 0.0, 0.5, 0.5), failed, rated(0, 1.0, 0.0, 0.0), rated(1), failed, failed]
    np.testing.assert_allclose(_scores(outcomes, 3), [0.75, 0.75, 0.0, 0.5, 0.5, 0.5])
    assert last_of_each(7, 3).tolist() == [2, 5, 6] and last_of_each(2, 5).tolist() == [1]
    assert held(np.array([1.0, 2.0, 3.0]), np.array([2, 5, 6])).tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_no_rater_and_no_learner_are_asked_for_where_none_is_needed(tmp_path):
    kinds = {}
    for source in ("ratings", "preferences", "scores", "sparse"):
        experiment = of_source(tmp_path, source)
        kinds[source] = {demand.kind for demand in online_demands(experiment)} & {LEARNER, RATING_REPLICA}
        kind = kind_of(experiment)
        assert (kind.rater(experiment) is None) == (kind.asks_of_frames(experiment) is None) == (source == "sparse")
        assert kind.work(experiment).ratings == {"ratings": 200, "preferences": 200, "scores": 400, "sparse": 0}[source]
    both = {LEARNER, RATING_REPLICA}
    assert kinds == {"ratings": both, "preferences": both, "scores": {RATING_REPLICA}, "sparse": set()}


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("scores", {"feedback": {"budget": 300}}, "budget 300 is below the 400 frames"),
        ("scores", {"feedback": {"control": "shuffled", "budget": 500}}, "control 'shuffled' is of reward.source"),
        (
            "preferences",
            {"feedback": {"segment": {"kind": "episode"}}},
            "reward.source 'preferences' asks about pairs of single frames",
        ),
        (
            "scores",
            {"feedback": {"segment": {"kind": "trajectory", "num_frames": 2, "num_agent_steps": 4}}},
            "asks about single frames",
        ),
        ("preferences", {"rater": {"model": "pocket"}}, "'pocket' was not taught to compare.*name 'pocket_pairs'"),
        ("ratings", {"rater": {"model": "pocket_pairs"}}, "'pocket_pairs' was taught to compare two frames alone"),
        ("clip", {}, "reward.source"),
    ],
)
def test_what_a_source_cannot_do_is_said(tmp_path, source, changes, message):
    with pytest.raises(ValidationError, match=message):
        of_source(tmp_path, source, **changes)


def test_starts_around_a_fixed_one_are_judged_besides(tmp_path):
    given = toy_experiment(tmp_path).model_dump()
    with pytest.raises(ValidationError, match="this task has no fixed start"):
        of_source(tmp_path, "environment", evaluation=given["evaluation"] | {"start_spread": 0.2})


def test_success_that_nobody_tells_is_no_reward(tmp_path):
    task = {
        "world": "gymnasium", "name": "pendulum", "env_id": "Pendulum-v1", "instruction": "swing it up",
        "focus": "the pendulum", "image_px": 84,
    }  # fmt: skip
    experiment = of_source(tmp_path, "environment", task=task, rollout={"chunk_agent_steps": 50})
    sparse = experiment.model_copy(update={"reward": experiment.reward.model_copy(update={"source": "sparse"})})
    assert "this world tells of none" in sparse.misfit(probe(experiment.task))
