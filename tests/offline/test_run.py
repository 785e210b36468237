"""Offline runs: settings, the loop and its checkpoints without Ray; at the end the command for real."""

import re

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from actors.chain_evaluation import TrialResult
from algorithms.policies import build_language_iql
from orchestrator.cli.main import app
from orchestrator.data.babyai import BabyAIDataSettings, dataset_info, trajectories_of
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment
from orchestrator.offline.chains.judges import ChainJudges
from orchestrator.offline.loop import OfflineLoop
from orchestrator.offline.plan import plan_offline
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, METRICS_FILE, POLICY_FILE
from orchestrator.runs.tracking import open_tracker
from orchestrator.screen.run_progress import RunProgress
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import read_arrays, read_json_lines
from tests.fakes import corridors

torch.set_num_threads(1)

EXPERIMENT = """
kind: offline
name: tiny
total_updates: 60
data: {path: set}
policy: {batch_size: 16, network: {channels: 4, hidden: [16], instruction_size: 8}}
evaluation: {num_tasks: 4, chain_lengths: [1, 2], interval_updates: 40}
checkpoint: {interval_updates: 20}
tracking: {enabled: false}
"""
MADE = BabyAIDataSettings(
    num_episodes=6, chain_lengths=(1, 2), unit="subtask",
    babyai={"room_size": 7, "num_rows": 1, "num_cols": 1, "num_objects": 5, "subtasks": ("goto", "pickup")},
)  # fmt: skip


def check(experiment):
    kind_of(experiment).check(experiment)


@pytest.fixture
def file(tmp_path):
    tree = yaml.safe_load(EXPERIMENT)
    tree["runs_folder"], tree["data"]["path"] = str(tmp_path / "runs"), str(tmp_path / "set")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture
def dataset(tmp_path):
    with DatasetWriter(tmp_path / "set", dataset_info(MADE, "set")) as writer:
        for number in range(MADE.num_episodes):
            for trajectory in trajectories_of(MADE, number):
                writer.write(trajectory)
    return tmp_path / "set"


# ------------------------------------------------------------------------------------------------ settings


def test_the_kind_of_a_file_decides_what_it_is(file, tmp_path):
    offline = load_experiment(file, ["seed=3", "data.reward={labeller: rg_vlm, sparse: sum}"])
    assert isinstance(offline, OfflineExperiment) and offline.run_folder.name == "tiny-seed3"
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(settings_as_yaml(offline))
    assert load_experiment(resolved) == offline
    (tmp_path / "online.yaml").write_text(
        "name: a\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\nkind: online\n"
    )
    assert isinstance(load_experiment(tmp_path / "online.yaml"), OnlineExperiment)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kind=ofline", "kind = 'ofline': must be one of online, offline"),
        ("kind=[offline]", r"kind = \['offline'\]: must be one of online, offline"),
        ("data.reward.sparse=sum", "joins the sparse reward to itself"),
        ("evaluation.chain_lengths=[1, 7]", "6"),
        ("evaluation.num_tasks=1", "below the 2 chain_lengths"),
        ("evaluation.starts=[fixed, fixed]", "none twice"),
        ("policy.network.instruction_size=10", "not a multiple of 4"),
        ("policy.expectil=0.9", "did you mean 'expectile'"),
    ],
)
def test_a_wrong_setting_is_named(file, override, message):
    with pytest.raises(SettingsError, match=message):
        load_experiment(file, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=nowhere", "nowhere is no trajectory data set"),
        ("data.reward.labeller=rg_vlm", "data.reward.labeller = 'rg_vlm': the data set has rewards of sparse"),
        ("evaluation.chain_lengths=[1, 3]", "evaluation.chain_lengths has 3: the data set has chains of 1, 2"),
        ("data={observation: frame, image_px: 500}", "cannot be made that"),
    ],
)
def test_what_does_not_fit_the_data_is_said_before_anything_starts(file, dataset, override, message):
    if override.startswith("data={"):
        override = override.replace("{", f"{{path: {dataset}, ")
    with pytest.raises(SettingsError, match=message):
        check(load_experiment(file, [override]))
    done = CliRunner().invoke(app, ["run", str(file), override])
    assert done.exit_code == 2 and not (file.parent / "runs" / "tiny-seed0" / METRICS_FILE).exists()


def test_a_resumed_run_may_move_and_lengthen_its_work_and_change_no_result(file, dataset):
    experiment = load_experiment(file)
    check(experiment)
    experiment.run_folder.mkdir(parents=True)
    (experiment.run_folder / "settings.yaml").write_text(settings_as_yaml(experiment))
    check(load_experiment(file, ["total_updates=90", "evaluation.num_workers=2"]))
    for override in ("evaluation.seed=1", "policy.beta=3.0", "data.reward.shift=-1.0"):
        with pytest.raises(SettingsError, match="belongs to other settings"):
            check(load_experiment(file, [override]))


def test_a_folder_of_another_kind_is_refused(file, tmp_path):
    experiment = load_experiment(file)
    experiment.run_folder.mkdir(parents=True)
    # Online runs of old name no kind.
    for stored, was in (("kind: online\n", "'online'"), ("name: tiny\n", "None")):
        (experiment.run_folder / "settings.yaml").write_text(stored)
        with pytest.raises(SettingsError, match=rf"other settings \(kind was {was} and is 'offline'\)"):
            kind_of(experiment).check_same_run(experiment)


# ------------------------------------------------------------------------------------------------ the loop


class Corners(ChainJudges):
    """Judges by a number that follows from the weights, as chains do."""

    def __init__(self):
        self.calls = []
        self.starts = ("fixed", "randomised")

    def judge(self, weights, start):
        self.calls.append(start)
        return [TrialResult(2, int(1e6 * abs(float(weights["head.bias"].sum()))) % 3, 5)]


def make_loop(file, overrides=()):
    experiment = load_experiment(file, overrides)
    policy = build_language_iql(experiment.policy, corridors.SHAPE, experiment.seed)
    policy.set_transitions(corridors.mixed_data(num_episodes=20))
    return experiment, OfflineLoop(experiment, policy, Corners())


def run(file, until=None):
    """A run of the loop; with `until` it dies in the update after that many."""
    experiment, loop = make_loop(file)
    checkpoints = Checkpoints(experiment.run_folder / CHECKPOINTS_FOLDER, experiment.checkpoint.keep)
    newest = checkpoints.newest_first()
    if newest:
        loop.restore(newest[0])
    update = loop._policy.update

    def dying(count):
        if until is not None and loop.progress.updates >= until:
            raise KeyboardInterrupt
        return update(count)

    loop._policy.update = dying
    with RunProgress("tiny", 60, enabled=False) as screen, open_tracker(experiment, loop.progress.updates) as tracker:
        loop.run(tracker, screen, checkpoints)
    rows = read_json_lines(experiment.run_folder / METRICS_FILE)
    times = ("time", "time/policy_update_ms")
    return [{name: value for name, value in row.items() if name not in times} for row in rows], experiment


def test_a_killed_run_goes_on_to_the_same_numbers_and_the_same_policy(file, tmp_path):
    rows, experiment = run(file)
    policy = read_arrays(experiment.run_folder / POLICY_FILE)
    experiment.run_folder.rename(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(file, until=40)
    again, experiment = run(file)
    assert again == rows
    resumed = read_arrays(experiment.run_folder / POLICY_FILE)
    assert policy.keys() == resumed.keys() and all(np.array_equal(policy[name], resumed[name]) for name in policy)


def test_a_run_may_have_its_folder_where_one_stands(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    text = file.read_text()
    file.write_text(text.replace(f"runs_folder: {file.parent / 'runs'}", "runs_folder: runs"))
    assert not load_experiment(file).run_folder.is_absolute()
    with pytest.raises(KeyboardInterrupt):
        run(file, until=40)
    rows, _ = run(file)
    assert rows[-1]["env_step"] == 60


def test_evaluations_stand_where_the_settings_say(file):
    rows, _ = run(file)
    evaluated = [row["env_step"] for row in rows if "eval/fixed_proportion" in row]
    assert evaluated == [40, 60]
    assert [row["env_step"] for row in rows if "eval/untrained_randomised_proportion" in row] == [0]
    assert [row["env_step"] for row in rows if "policy/value_loss" in row] == [20, 40, 60]


# ------------------------------------------------------------------------------------------------ for real


@pytest.mark.slow
def test_the_command_trains_judges_and_goes_on(file, dataset, tmp_path):
    def likert(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments)])

    done = likert("run", file, "total_updates=40")
    assert done.exit_code == 0, done.output
    rows = read_json_lines(tmp_path / "runs" / "tiny-seed0" / METRICS_FILE)
    done = likert("run", file)
    assert done.exit_code == 0 and "going on from" in done.output, done.output
    more = read_json_lines(tmp_path / "runs" / "tiny-seed0" / METRICS_FILE)
    assert more[: len(rows)] == rows and more[-1]["env_step"] == 60
    assert {name for row in more for name in row} >= {
        f"eval/{start}_{name}" for start in ("fixed", "randomised") for name in ("proportion", "proportion_of_2")
    }
    done = likert("report", tmp_path / "runs", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"chains.md", "chains.csv", "chains.png"}
    assert "| tiny | sparse | 1 |" in (tmp_path / "out" / "chains.md").read_text()


@pytest.mark.slow
def test_trials_of_one_process_learn_what_each_learns_alone(file, dataset, tmp_path):
    def likert(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == 0, done.output

    likert("sweep", file, "search.seed.grid=[0,1,2]", "sweep.concurrency=1", "name=swept")
    trials = sorted((tmp_path / "runs/swept").glob("*seed*"))
    assert len(trials) == 3
    for seed, trial in enumerate(trials):
        likert("run", file, f"seed={seed}", "name=alone")
        swept, alone = (read_arrays(folder / POLICY_FILE) for folder in (trial, tmp_path / f"runs/alone-seed{seed}"))
        assert swept.keys() == alone.keys()
        for name, weights in alone.items():
            np.testing.assert_array_equal(swept[name], weights, err_msg=name)
    (state,) = (tmp_path / "runs/swept/tune/launch").glob("experiment_state-*.json")
    # Tune's notes on each trial's last report, which are JSON within JSON.
    pids = re.findall(r'\bpid\\": (\d+)', state.read_text())
    assert len(pids) == 3 and len(set(pids)) == 1


def test_a_plan_is_made_of_a_moment_of_learning_and_of_acting_and_writes_nothing(file, dataset, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    experiment = load_experiment(file, ["policy.num_gpus=0", "evaluation.num_tasks=3"])
    plan = plan_offline(experiment)
    assert sorted(tmp_path.rglob("*")) == before
    learning, judging = plan.parts
    update_s, task_s = (float(part.how.split()[-2]) / 1000.0 for part in plan.parts)
    assert learning.seconds == pytest.approx(60 * update_s, rel=0.01) and learning.how.startswith("60 updates at ")
    # One evaluation before learning, at 40 and at the end, each with 3 tasks from both kinds of starts.
    assert judging.seconds == pytest.approx(18 * task_s, rel=0.01) and judging.how.startswith("18 tasks at ")
    assert plan.wall_s == learning.seconds + judging.seconds
    with pytest.raises(SettingsError, match=r"data\.reward\.labeller = 'rgvlm'"):
        plan_offline(load_experiment(file, ["data.reward.labeller=rgvlm", "policy.num_gpus=0"]))
