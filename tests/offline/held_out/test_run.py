"""Runs without a simulator: settings, the loop and its checkpoints, the plan; at the end the commands for real."""

import re

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from algorithms.policies import build_language_iql
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment, write_report
from orchestrator.offline.demands import offline_demands
from orchestrator.offline.launch import judged_data
from orchestrator.offline.loop import OfflineLoop
from orchestrator.offline.plan import plan_offline
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, METRICS_FILE, POLICY_FILE, SETTINGS_FILE
from orchestrator.runs.tracking import open_tracker
from orchestrator.screen.run_progress import RunProgress
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import read_arrays, read_json_lines
from tests.fakes.toy_recording import episodes, write_recording

torch.set_num_threads(1)

EXPERIMENT = """
kind: offline
name: robot
total_updates: 12
data: {path: set, observation: frame}
policy: {batch_size: 4, learning_rate: 1.0e-3, num_gpus: 0, network: {channels: 4, hidden: [8], instruction_size: 4}}
evaluation: {environment: none, share: 0.3, interval_updates: 8, fitted_q: {updates: 3}}
checkpoint: {interval_updates: 4}
tracking: {enabled: false}
"""


@pytest.fixture
def file(tmp_path):
    write_recording(tmp_path / "set")
    return settings_file(tmp_path)


def settings_file(folder):
    tree = yaml.safe_load(EXPERIMENT)
    tree["runs_folder"], tree["data"]["path"] = str(folder / "runs"), str(folder / "set")
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.num_tasks=3", r"evaluation: num_tasks: of chains in a simulator, and with environment none"),
        ("evaluation={environment: none, starts: [fixed], split: train}", "starts, split: of chains"),
        ("evaluation.environment=babyai", "fitted_q, share: of held-out episodes"),
        ("evaluation.environment=nothing", "evaluation.environment: must be one of babyai, thor, none"),
        ("evaluation.environment=null", "evaluation.environment: must be one of babyai, thor, none, and is None"),
        ("evaluation.shares=0.2", "evaluation.shares: there is no such setting; did you mean 'share'"),
        ("evaluation.share=1.0", "evaluation.share = 1.0: must be below 1"),
        ("evaluation.fitted_q.updates=0", "evaluation.fitted_q.updates = 0: must be above 0"),
        ("evaluation=none", "evaluation = 'none': must be a block"),
    ],
)
def test_what_means_nothing_without_a_simulator_is_refused(tmp_path, override, message):
    with pytest.raises(SettingsError, match=message):
        load_experiment(settings_file(tmp_path), [override])


def test_the_settings_of_a_run_are_read_again_as_they_were(tmp_path):
    experiment = load_experiment(settings_file(tmp_path))
    (tmp_path / "resolved.yaml").write_text(settings_as_yaml(experiment))
    assert load_experiment(tmp_path / "resolved.yaml") == experiment
    assert kind_of(experiment).score(experiment) == "held_out/agreement"
    assert offline_demands(experiment) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation={environment: babyai}", r"the set is from 'lerobot', .* evaluation=\{environment: none\}"),
        ("data.observation=symbolic", "has no symbolic observations; use frame"),
        ("data.image_px=17", "frames of 24 x 16 pixels cannot be made that high"),
    ],
)
def test_what_does_not_fit_the_recording_is_said_before_anything_starts(file, override, message):
    experiment = load_experiment(file, [override])
    with pytest.raises(SettingsError, match=message):
        kind_of(experiment).check(experiment)


def test_a_set_with_too_few_episodes_is_named_before_anything_starts(tmp_path):
    write_recording(tmp_path / "set", episodes(num_success=1))
    experiment = load_experiment(settings_file(tmp_path))
    with pytest.raises(SettingsError, match="set has 5 recorded episodes, and 1 of them succeeded"):
        kind_of(experiment).check(experiment)


# ------------------------------------------------------------------------------------------------ the loop


def run(file, overrides=(), until=None):
    """A run without Ray; with `until` it dies in the update after that many."""
    experiment = load_experiment(file, overrides)
    kind_of(experiment).check(experiment)
    with RunProgress("robot", 12, enabled=False) as screen:
        data, judge = judged_data(experiment, TrajectoryDataset(experiment.data.path), screen)
        policy = build_language_iql(experiment.policy, data.shape, experiment.seed)
        policy.set_transitions(data.transitions)
        loop = OfflineLoop(experiment, policy, judge)
        checkpoints = Checkpoints(experiment.run_folder / CHECKPOINTS_FOLDER, experiment.checkpoint.keep)
        if newest := checkpoints.newest_first():
            loop.restore(newest[0])
        update = policy.update

        def dying(count):
            if until is not None and loop.progress.updates >= until:
                raise KeyboardInterrupt
            return update(count)

        policy.update = dying
        with open_tracker(experiment, loop.progress.updates) as tracker:
            (experiment.run_folder / SETTINGS_FILE).write_text(settings_as_yaml(experiment))
            loop.run(tracker, screen, checkpoints)
    rows = read_json_lines(experiment.run_folder / METRICS_FILE)
    times = ("time", "time/policy_update_ms")
    return [{name: value for name, value in row.items() if name not in times} for row in rows], experiment


def test_a_killed_run_goes_on_to_the_same_numbers_and_the_report_tells_them(file, tmp_path):
    rows, experiment = run(file)
    policy = read_arrays(experiment.run_folder / POLICY_FILE)
    experiment.run_folder.rename(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(file, until=8)
    again, experiment = run(file)
    assert again == rows
    resumed = read_arrays(experiment.run_folder / POLICY_FILE)
    assert all(np.array_equal(policy[name], resumed[name]) for name in policy)
    # Judged untrained, at 8 and at the end; fitted Q at the end alone.
    assert [row["env_step"] for row in rows if "held_out/agreement" in row] == [8, 12]
    assert [row["env_step"] for row in rows if "held_out/constant_agreement" in row] == [0]
    assert [row["env_step"] for row in rows if "held_out/worth" in row] == [12]
    last = rows[-1]
    assert 0.0 < last["held_out/agreement"] < 1.0 and 0.0 <= last["held_out/value_start_auroc"] <= 1.0
    assert last["held_out/error/shoulder.pos"] == pytest.approx(150 * last["held_out/error_share/shoulder.pos"])

    paths = write_report([tmp_path / "runs"], tmp_path / "out")
    assert [path.name for path in paths] == ["held_out.md", "held_out.csv", "held_out.png", "held_out.png"]
    table = (tmp_path / "out/held_out.md").read_text()
    head, row = table.splitlines()[0], table.splitlines()[2]
    assert head.startswith("| method | labels | seeds | action error, of range | log-likelihood | V at start")
    assert row.startswith(f"| robot | sparse | 1 | {np.mean([r['held_out/action_error'] for r in rows if 'held_out/action_error' in r]):.2f} ")  # fmt: skip  # noqa: E501
    assert re.search(r"^\| always the same action \|  \| 1 \| 0\.\d\d ", table, re.MULTILINE)


def test_cloning_has_no_value_and_equal_seeds_give_equal_runs(file):
    rows, _ = run(file, ["policy.actor_loss=cloning", "name=cloned", "total_updates=4", "evaluation.fitted_q=null"])
    again, _ = run(file, ["policy.actor_loss=cloning", "name=again", "total_updates=4", "evaluation.fitted_q=null"])
    assert rows == again
    assert not any("value" in name or "worth" in name for name in rows[-1] if name.startswith("held_out/"))


def test_a_plan_counts_held_out_actions_and_the_steps_of_fitted_q(file, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    plan = plan_offline(load_experiment(file, ["total_updates=20", "evaluation.fitted_q={updates: 50, when: always}"]))
    assert sorted(tmp_path.rglob("*")) == before
    learning, judging, fitted = plan.parts
    assert learning.how.startswith("20 updates at ") and fitted.how.startswith("150 updates at ")
    # Of 10 episodes 3 are held out; they are judged before learning, at 8, at 16 and at the end.
    assert re.match(r"\d+ held-out actions at ", judging.how) and int(judging.how.split()[0]) % 4 == 0
    assert any("3 episodes are held out" in note for note in plan.notes) and not plan.memory


# ------------------------------------------------------------------------------------------------ for real


@pytest.mark.slow
def test_the_commands_learn_from_a_recording_sweep_and_report(file, tmp_path):
    def likert(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "3 of 10 episodes are held out to judge by, of which 2 succeeded" in likert("run", file, "total_updates=8")
    assert "going on from" in likert("run", file)
    assert "fitted-Q evaluation" in likert("run", file, "name=planned", "--plan")
    likert("sweep", file, "search.seed.grid=[0,1]", "search.policy.actor_loss.grid=[advantage_weighted,cloning]",
           "sweep.concurrency=1", "name=swept")  # fmt: skip
    summary = (tmp_path / "runs/swept/summary.md").read_text()
    assert "held_out/agreement" in summary
    likert("report", tmp_path / "runs/swept", "--out", tmp_path / "out")
    table = (tmp_path / "out/held_out.md").read_text()
    assert "none: behaviour cloning | 2 |" in table and "| untrained policy |" in table
