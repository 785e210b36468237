"""Rewards along trajectories that succeed: what a run's folder pays, how it is averaged, and what the report says."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from actors.reward.learner import RewardLearner
from actors.worlds.families import family_of
from algorithms.images import encode_png
from orchestrator.cli.main import app
from orchestrator.errors import SettingsError
from orchestrator.kinds import find_runs, read_run, write_report
from orchestrator.online.actors import reward_learner_arguments
from orchestrator.online.consistency.trajectories import Trajectory
from orchestrator.online.pictures import along
from orchestrator.online.pictures.along import NUM_BINS, Paid, curve_of, order_of
from orchestrator.online.pictures.along_report import write_along
from orchestrator.online.rewards.afterwards import paying
from orchestrator.runs.kind import Along
from orchestrator.storage.writing import write_arrays, write_atomic

MADE = Path(__file__).parents[2] / "made_before" / "runs"
STATE = (
    "reward_model.input=state", "reward_model.hidden=[16]", "reward_model.batch_size=64", "reward_model.num_members=1",
    "reward_model.learning_rate=0.01",
)  # fmt: skip


def trajectory(length=8, progress=True, seed=0):
    """States whose first number is true progress, and pictures that get brighter with it."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(0.0, 1.0, length)
    observations = np.zeros((length, 39), np.float32)
    observations[:, 0], observations[:, 1] = truth, rng.normal(0.0, 0.1, length)
    frames = [encode_png(np.full((112, 112, 3), int(40 + 200 * share), np.uint8)) for share in truth]
    return Trajectory(
        frames=frames,
        steps=2 * np.arange(length),
        successes=truth == 1.0,
        progress=truth if progress else None,
        observations=observations,
        returns=np.cumsum(np.linspace(0.0, 4.0, length)).astype(np.float32),
        instruction="",
    )


def learned(run, ratings=None, at_end=True):
    """Leaves a reward model in a run's folder that has learned progress, or from other ratings; returns its learner."""
    learner = RewardLearner(run.experiment.reward_model, 3, 39, 0)
    states = np.concatenate([trajectory(60, seed=seed).observations for seed in range(2)])
    levels = np.minimum((states[:, 0] * 3).astype(np.int64), 2) if ratings is None else ratings(states)
    learner.add_ratings(states, levels)
    learner.train()
    if at_end:
        weights, version = learner.publish()
        write_arrays(run.folder / "reward_model.npz", {**weights, "about.version": np.array(version)})
        return learner
    buffer = io.BytesIO()
    torch.save(learner.state(), buffer)
    write_atomic(run.folder / "checkpoints" / "env-steps-0000002000" / "reward_model.pt", buffer.getvalue())
    return learner


@pytest.fixture
def state_run(make_run):
    def make(name="demo", seed=0, *more):
        return make_run(name, seed, (0.5, 1.0), 0.2, "drawer_close", 3000, *STATE, *more)

    return make


@pytest.fixture
def drawn(monkeypatch):
    """Trajectories without a simulator: remembers who was to act."""
    asked = []

    def draw(task, number, num_frames, weights, pixels):
        asked.append((task.name, number, weights))
        return [trajectory(12, seed=seed) for seed in range(number)]

    monkeypatch.setattr(along, "draw_trajectories", draw)
    return asked


def runs_in(tmp_path):
    return find_runs([tmp_path / "runs"])


@pytest.mark.parametrize("at_end", [True, False])
def test_a_run_pays_what_its_last_reward_model_says(state_run, at_end):
    run, one = state_run(), trajectory()
    learner = learned(run, at_end=at_end)
    np.testing.assert_array_equal(paying(run)(one), learner.score(one.observations)[0])


def test_a_reward_model_that_learned_from_preferences_pays_alike(state_run):
    run, one = state_run("pairs", 0, "reward.source=preferences", "rater.model=pocket_pairs"), trajectory()
    world = family_of(run.experiment.task).known_spec(run.experiment.task)
    learner = RewardLearner(*reward_learner_arguments(run.experiment, world))
    states = trajectory(60).observations
    learner.add_ratings(np.stack([states, states[::-1]], axis=1), (states[:, 0] < 0.5).astype(np.int64))
    learner.train()
    write_arrays(run.folder / "reward_model.npz", learner.publish()[0])
    paid = paying(run)(one)
    np.testing.assert_array_equal(paid, learner.score(one.observations)[0])
    assert np.corrcoef(paid, one.progress)[0, 1] > 0.8


def test_a_reward_model_of_pictures_sees_them_made_small(make_run):
    run = make_run("demo", 0, (1.0,), None, "drawer_close", 3000, "reward_model.network=small")
    learner = RewardLearner(run.experiment.reward_model, 3, None, 0)
    frames = np.stack([np.full((56, 56, 3), shade, np.uint8) for shade in (40, 90, 140, 240)])
    learner.add_ratings(frames, np.array([0, 1, 1, 2]))
    learner.train()
    write_arrays(run.folder / "reward_model.npz", learner.publish()[0])
    whole = np.stack([np.full((56, 56, 3), int(40 + 200 * share), np.uint8) for share in trajectory().progress])
    np.testing.assert_array_equal(paying(run)(trajectory()), learner.score(whole)[0])


def test_what_a_world_pays_needs_no_model(state_run):
    one = trajectory(5)
    assert paying(state_run("s", 0, "reward.source=sparse"))(one).tolist() == [0, 0, 0, 0, 1]
    # Of two agent steps each; what the first frame's was is not known, and stands as the next.
    np.testing.assert_allclose(paying(state_run("e", 0, "reward.source=environment"))(one), [0.5, 0.5, 1, 1.5, 2])


def test_runs_that_cannot_say_say_why(state_run):
    with pytest.raises(SettingsError, match="it has learned no reward yet"):
        paying(state_run())
    with pytest.raises(SettingsError, match=r"reward\.source 'scores' leaves nothing"):
        paying(state_run("other", 0, "reward.source=scores"))
    broken = state_run("broken")
    learned(broken, at_end=False)
    newer = broken.folder / "checkpoints" / "env-steps-0000003000" / "reward_model.pt"
    write_atomic(newer, b"PK not whole")
    assert np.isfinite(paying(broken)(trajectory())).all(), "the checkpoint before is read"
    write_atomic(broken.folder / "reward_model.npz", b"PK not whole")
    with pytest.raises(SettingsError, match=r"reward_model\.npz cannot be read"):
        paying(broken)
    run = state_run("wrong")
    learned(run)
    with pytest.raises(SettingsError, match="does not fit its settings"):
        paying(replace(run, experiment=state_run("wrong2", 0, "reward_model.hidden=[8]").experiment))


def test_a_run_made_before_pays(tmp_path):
    shutil.copytree(MADE / "online-seed0", tmp_path / "run")
    by_end = paying(read_run(tmp_path / "run"))(trajectory())
    assert np.isfinite(by_end).all() and by_end.shape == (8,)
    (tmp_path / "run" / "reward_model.npz").unlink()
    by_checkpoint = paying(read_run(tmp_path / "run"))(trajectory())
    assert np.isfinite(by_checkpoint).all()


def test_curves_by_hand(state_run):
    run = state_run()
    ends = trajectory(2)
    # Rewards 2 to 6 become 0 to 1, over both trajectories together.
    one = Paid(run, [ends, ends], "nobody", [np.array([2.0, 6.0]), np.array([3.0, 5.0])])
    np.testing.assert_allclose(np.concatenate(one.normalised), [0.0, 1.0, 0.25, 0.75])
    curve = curve_of([one])
    assert curve.numbers.tolist() == [2] + [0] * (NUM_BINS - 2) + [2]
    assert curve.means[[0, -1]].tolist() == [0.125, 0.875] and curve.deviations[0] == 0.125
    assert np.isnan(curve.means[5])
    # A constant reward tells nothing apart, and is no error.
    flat = Paid(run, [ends], "nobody", [np.array([2.0, 2.0])])
    assert flat.normalised[0].tolist() == [0.0, 0.0] and flat.orders.tolist() == [0.0]
    # Of several runs the mean of their means, with its interval over runs.
    tau = order_of([one, flat])
    assert (tau.mean, tau.low, tau.high) == (0.5, 0.0, 1.0)


def test_time_stands_for_progress_that_is_not_known(state_run):
    one = Paid(state_run(), [trajectory(3, progress=False)], "nobody", [np.array([0.0, 1.0, 0.5])])
    assert not one.shows_progress and one.truths[0].tolist() == [0.0, 0.5, 1.0]
    assert one.orders == pytest.approx([1 / 3])


def test_the_report_sets_runs_beside_one_another(state_run, drawn, tmp_path):
    for seed in (0, 1):
        learned(state_run("rated", seed))
    rng = np.random.default_rng(0)
    learned(state_run("shuffled", 0), ratings=lambda states: rng.integers(0, 3, len(states)))
    state_run("asked", 0, "reward.source=scores")
    state_run("paid", 0, "reward.source=environment")
    paths = write_along(runs_in(tmp_path), Along("expert", 4), tmp_path / "out")
    assert drawn == [("drawer_close", 4, None)], "runs of one task share their trajectories"
    out = tmp_path / "out"
    assert {"reward_along.png", "reward_along.csv", "rank_correlation.md"} <= {path.name for path in paths}
    rows = list(csv.DictReader((out / "rank_correlation.csv").open()))
    by_group = {(row["experiment"], row["seeds"]): row for row in rows}
    assert list(by_group) == [("paid", "0"), ("rated", "0 1"), ("rated", "0"), ("rated", "1"), ("shuffled", "0")]
    assert float(by_group["rated", "0 1"]["tau"]) > 0.8 > abs(float(by_group["shuffled", "0"]["tau"]))
    assert by_group["paid", "0"]["source"] == "environment" and float(by_group["paid", "0"]["tau"]) > 0.9
    page = (out / "rank_correlation.md").read_text()
    assert "| paid (privileged) | environment | 0 |" in page and "rated (privileged)" not in page
    assert "asked-seed0 is left out: reward.source 'scores'" in page and "the scripted expert (4)" in page
    drawn_rows = list(csv.DictReader((out / "reward_along.csv").open()))
    assert {row["experiment"] for row in drawn_rows} == {"paid", "rated", "shuffled"}
    assert all(0.0 <= float(row["reward"]) <= 1.0 for row in drawn_rows)
    own = list(csv.DictReader((tmp_path / "runs" / "rated-seed1" / "figures" / "reward_along.csv").open()))
    assert len(own) == 4 * 12 and float(own[11]["progress"]) == 1.0


def test_the_best_policy_of_all_acts(state_run, drawn, tmp_path):
    for seed, success in ((0, 0.2), (1, 0.9), (2, 0.5)):
        run = state_run("rated", seed)
        learned(run)
        write_arrays(
            run.folder / "best_policy.npz",
            {"head.bias": np.array([seed]), "about.success": np.array(success), "about.env_steps": np.array(5)},
        )
    write_along(runs_in(tmp_path), Along("best", 2), tmp_path / "out")
    ((_, number, weights),) = drawn
    assert number == 2 and weights["head.bias"].tolist() == [1] and set(weights) == {"head.bias"}
    assert "the best policy of rated-seed1" in (tmp_path / "out" / "rank_correlation.md").read_text()


def test_what_cannot_be_drawn_is_one_message(state_run, tmp_path):
    run = state_run()
    with pytest.raises(SettingsError, match=r"none of these runs says what it pays.*learned no reward yet.*the other"):
        write_report([run.folder], tmp_path / "out", Along("best"))
    assert (tmp_path / "out" / "results.md").exists(), "the rest is written"
    learned(run)
    with pytest.raises(SettingsError, match="none of the runs of drawer_close has a policy yet"):
        write_along([run], Along("best"), tmp_path / "out")
    # Its own figures are drawn into its folder.
    recorded = shutil.copytree(MADE / "offline-seed0", tmp_path / "recorded")
    with pytest.raises(SettingsError, match="--along: none of these runs learned in a world"):
        write_report([recorded], tmp_path / "out", Along("expert"))
    for options, message in (
        (["--trajectories", "3"], "--trajectories is for --along"),
        (["--along", "expert", "--trajectories", "0"], "must be 1 or more"),
        (["--along", "nobody"], "nobody"),
    ):
        result = CliRunner().invoke(app, ["report", str(run.folder), "--out", str(tmp_path / "out"), *options])
        assert result.exit_code == 2 and message in result.output
