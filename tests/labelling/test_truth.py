"""Scores by the simulator's own account, so many of them wrong."""

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.babyai.settings import BabyAISettings
from actors.rating.labellers.settings import TruthLabeller
from actors.rating.labellers.truth import TruthScores
from algorithms.trajectories import Trajectory
from orchestrator.cli.main import app
from orchestrator.data.babyai import BabyAIDataSettings, generate
from orchestrator.data.datasets import TrajectoryDataset
from tests.fakes.toy_labels import toy_set

ROOM = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("goto", "pickup"))


def episode(contributions, name="a"):
    steps = len(contributions)
    return Trajectory(
        name, "go", np.zeros(steps, np.int64), ("left",) * steps, np.zeros(steps, np.float32), np.zeros(steps, bool),
        np.zeros(steps, bool), audits={"contribution": np.array(contributions)},
    )  # fmt: skip


@pytest.mark.parametrize(("scale", "expected"), [("graded", [10, 5, 0, 10]), ("binary", [10, 0, 0, 10])])
def test_scores_say_what_each_action_did(scale, expected):
    labels = TruthScores(TruthLabeller(scale=scale)).label(episode([1, 0, -1, 1]), [])
    assert labels.scores.tolist() == labels.dense.tolist() == expected


@pytest.mark.parametrize("scale", ["graded", "binary"])
def test_as_many_scores_are_wrong_as_asked_and_the_same_ones_stay_wrong(scale):
    one = episode(np.random.default_rng(0).integers(-1, 2, 4_000))

    def wrong(share, seed=0):
        labels = TruthScores(TruthLabeller(scale=scale, wrong_share=share, seed=seed)).label(one, [])
        right = TruthScores(TruthLabeller(scale=scale)).label(one, [])
        assert set(labels.scores.tolist()) <= set(right.scores.tolist())
        return labels.scores != right.scores

    few, more = wrong(0.2), wrong(0.5)
    assert few.mean() == pytest.approx(0.2, abs=0.03) and more.mean() == pytest.approx(0.5, abs=0.03)
    assert not (few & ~more).any() and wrong(1.0).all() and (wrong(0.2, seed=1) != few).any()


def test_by_command(tmp_path):
    file = "tune_configs/rg_vlm/labellers/truth.yaml"
    generate(BabyAIDataSettings(num_episodes=3, chain_lengths=(1,), babyai=ROOM), tmp_path / "set")

    def likert(*more, data="set"):
        return CliRunner().invoke(app, ["label", file, f"data={tmp_path / data}", *more])

    done = likert("name=truth_wrong", "labeller.wrong_share=0.5")
    assert done.exit_code == 0 and "reward_truth_wrong" in done.output, done.output
    assert likert().exit_code == 0
    dataset = TrajectoryDataset(tmp_path / "set")
    assert dataset.info.labels["truth_wrong"]["labeller"]["wrong_share"] == 0.5
    for one in dataset.episodes():
        assert one.rewards["truth"].tolist() == ((one.audits["contribution"] + 1) / 2).tolist()
    toy_set(tmp_path / "toy", [3, 8])
    refused = likert(data="toy")
    assert refused.exit_code == 2 and "has no column audit_contribution" in refused.stderr
    assert likert("rater.model=pocket").exit_code == 2


def test_labelling_says_when_delay_pays_and_what_to_use(tmp_path):
    generate(BabyAIDataSettings(num_episodes=24, chain_lengths=(1,), babyai=ROOM), tmp_path / "set")
    rewards = "rewards={paying: {}, costly: {normalisation: budget}}"
    said = (
        CliRunner()
        .invoke(app, ["label", "tune_configs/rg_vlm/labellers/truth.yaml", f"data={tmp_path / 'set'}", rewards])
        .output
    )
    (line,) = [line for line in said.splitlines() if line.startswith("delay pays")]
    assert "reward_paying (" in line and "reward_costly" not in line and "data.reward.middle=0.8" in line
