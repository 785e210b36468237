"""From ALFRED's files to a policy that is judged in its scenes; the simulator is the scripted kitchen."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from actors.chain_evaluation import ChainEvaluator, PolicyFace
from actors.thor.environment import ThorEnvironment
from actors.thor.settings import ACTION_NAMES, ThorSettings
from algorithms.policies import build_language_iql
from orchestrator.data.babyai import BabyAIDataSettings, dataset_info, trajectories_of
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.alfred import AlfredSettings, import_alfred
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment
from orchestrator.offline.chains import chain_worlds
from orchestrator.offline.chains.alfred_tasks import chains_of, plan_thor_tasks
from orchestrator.offline.chains.chain_worlds import world_of
from orchestrator.offline.data import load_offline_data
from orchestrator.offline.settings import ChainEvaluationSettings, OfflineExperiment
from orchestrator.settings.loading import settings_as_yaml
from tests.fakes.toy_thor import FRIDGE, HEATED, MICROWAVE, MUG, ToyThor, write_demonstration

torch.set_num_threads(1)


def check(experiment):
    kind_of(experiment).check(experiment)


@pytest.fixture(scope="module")
def alfred(tmp_path_factory):
    source = tmp_path_factory.mktemp("alfred") / "train"
    for trial in ("a", "b", "c"):
        write_demonstration(source / "heat" / trial, px=30)
    return source


@pytest.fixture(scope="module")
def dataset(alfred, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    import_alfred(alfred, folder, AlfredSettings())
    return TrajectoryDataset(folder)


def planned(alfred, **changes):
    values = {"num_tasks": 4, "chain_lengths": (1, 3), "environment": "thor", "thor": {"source": alfred}} | changes
    settings = ChainEvaluationSettings.model_validate(values)
    return plan_thor_tasks(settings.thor.source, settings)


# ------------------------------------------------------------------------------------------------ tasks


def test_chains_are_consecutive_skills_from_where_the_expert_began_them(alfred):
    found = json.loads((alfred / "heat" / "a" / "traj_data.json").read_text())
    assert [len(chains_of(found, "a", length, 0)) for length in (1, 2, 3, 4)] == [3, 2, 1, 0]
    first, second = chains_of(found, "a", 2, 0)
    assert (first.name, first.before, first.num_expert_steps) == ("a/0", (), 3 + 14)
    assert [one.kind for one in first.subtasks] == ["PickupObject", "HeatObject"]
    assert (second.name, len(second.before), second.num_expert_steps) == ("a/1", 3, 14 + 9)
    assert second.instruction == "Heat it. Put it into the fridge." and second.scene == found["scene"]
    heat, put = second.subtasks
    assert (heat.object_id, heat.closed) == (MUG, (MICROWAVE,))
    assert (put.object_id, put.receptacle_id, put.closed) == (MUG, FRIDGE, (FRIDGE,))


def test_a_skill_whose_end_cannot_be_told_is_in_no_chain(tmp_path):
    found = write_demonstration(
        tmp_path / "a", [*HEATED[:-1], ("GotoLocation", "Walk off.", [("MoveAhead_25", "", "")])]
    )
    assert [len(chains_of(found, "a", length, 0)) for length in (1, 3, 4)] == [3, 1, 0]
    found["turk_annotations"]["anns"][0]["high_descs"][3] = " "
    assert [task.name for task in chains_of(found, "a", 1, 0)] == ["a/0", "a/2"]


def test_tasks_are_the_same_for_all_and_of_different_demonstrations(alfred):
    tasks = planned(alfred)
    assert tasks == planned(alfred)
    assert [len(trial.task.subtasks) for trial in tasks.trials] == [1, 1, 3, 3]
    for length in (1, 3):
        names = [trial.task.name.split("/")[1] for trial in tasks.trials if len(trial.task.subtasks) == length]
        assert len(set(names)) == 2
    assert [trial.max_steps for trial in tasks.trials] == [2 * trial.task.num_expert_steps for trial in tasks.trials]
    assert set(tasks.texts) == {"Take the mug.", "Heat it.", "Put it into the fridge."}
    assert [trial.start_seed for trial in tasks.trials_from("randomised")] == [0, 1, 2, 3]
    drawn = {tuple(trial.task.name for trial in planned(alfred, seed=seed).trials) for seed in range(5)}
    assert len(drawn) > 1
    whole = planned(alfred, chain_lengths=(3,), num_tasks=3, instruction="whole", step_budget=1.5)
    assert whole.texts == ("Take the mug. Heat it. Put it into the fridge.",)
    assert {trial.max_steps for trial in whole.trials} == {39}


def test_too_few_demonstrations_and_none_are_named(alfred, tmp_path):
    with pytest.raises(SettingsError, match=r"has 3 demonstrations with 1 consecutive sub-tasks.*and 4 are asked for"):
        planned(alfred, num_tasks=8)
    with pytest.raises(SettingsError, match="has 0 demonstrations with 5"):
        planned(alfred, chain_lengths=(5,))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "traj_data.json").write_text("{")
    with pytest.raises(SettingsError, match="has 0 demonstrations"):
        planned(tmp_path)
    with pytest.raises(SettingsError, match=r"evaluation.thor.source = .*no traj_data\.json"):
        planned(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------ settings and checks


@pytest.fixture
def file(alfred, dataset, tmp_path):
    tree = {
        "kind": "offline", "name": "thor", "total_updates": 20, "runs_folder": str(tmp_path / "runs"),
        "data": {"path": str(dataset.folder), "observation": "frame"},
        "evaluation": {
            "num_tasks": 2, "chain_lengths": [1, 3], "environment": "thor", "thor": {"source": str(alfred)},
        },
        "tracking": {"enabled": False},
    }  # fmt: skip
    path = tmp_path / "thor.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_settings_load_back_and_a_wrong_one_is_named(file, tmp_path):
    experiment = load_experiment(file)
    (tmp_path / "resolved.yaml").write_text(settings_as_yaml(experiment))
    assert load_experiment(tmp_path / "resolved.yaml") == experiment
    for override, message in (
        ("evaluation.environment=babyai", "thor is set, but environment is 'babyai'"),
        ("evaluation.thor=null", "needs thor: {source"),
        ("evaluation.split=held_out", "name scenes by thor.source"),
        ("evaluation.thor.sauce=x", "did you mean 'source'"),
    ):
        with pytest.raises(SettingsError, match=message):
            load_experiment(file, [override])


def test_what_does_not_fit_is_said_before_anything_starts(file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SettingsError, match=r"likert-rl\[thor\]|place AI2-THOR's Unity build there"):
        check(load_experiment(file))
    monkeypatch.setattr(chain_worlds, "check_thor", lambda settings: None)
    check(load_experiment(file))
    for override, message in (
        ("data.observation=symbolic", "no symbolic observations"),
        ("evaluation.thor.source=nowhere", "no traj_data.json in it or below"),
    ):
        with pytest.raises(SettingsError, match=message):
            check(load_experiment(file, [override]))


def test_other_data_and_larger_pictures_are_refused(file, alfred, tmp_path):
    import_alfred(alfred, tmp_path / "large", AlfredSettings(frame_px=320, max_episodes=1))
    large = load_experiment(file, [f"data.path={tmp_path / 'large'}"])
    with pytest.raises(SettingsError, match=r"data\.image_px: the policy would see 320 x 320"):
        world_of(large, TrajectoryDataset(large.data.path)).check()
    made = BabyAIDataSettings(num_episodes=1, chain_lengths=(1,), unit="subtask")
    with DatasetWriter(tmp_path / "babyai", dataset_info(made, "babyai")) as writer:
        writer.write(trajectories_of(made, 0)[0])
    babyai = load_experiment(file, [f"data.path={tmp_path / 'babyai'}"])
    with pytest.raises(SettingsError, match="is from 'babyai' and has other actions"):
        world_of(babyai, TrajectoryDataset(babyai.data.path)).check()
    wrong = load_experiment(file, ["evaluation={num_tasks: 2, chain_lengths: [1, 3]}"])
    with pytest.raises(SettingsError, match=r"is from 'alfred'.*set evaluation\.environment to thor"):
        world_of(wrong, TrajectoryDataset(wrong.data.path))


# ------------------------------------------------------------------------------------------------ data and judgement


def test_actions_become_pairs_of_action_and_object_class(dataset, file):
    data = load_offline_data(dataset, load_experiment(file).data, [], 0.97)
    assert data.objects == ("", "Fridge", "Microwave", "Mug")
    assert (data.shape.num_actions, data.shape.num_objects, data.shape.action_size) == (12, 4, 16)
    pairs = [(ACTION_NAMES[action], data.objects[thing]) for action, thing in data.transitions.actions]
    recorded = [
        (ACTION_NAMES[action], thing)
        for one in dataset.episodes(frames=False)
        for action, thing in zip(one.actions, one.action_objects, strict=True)
    ]
    assert pairs == recorded and ("PutObject", "Fridge") in pairs and ("MoveAhead_25", "") in pairs


@pytest.fixture(scope="module")
def trained(alfred, dataset):
    """A policy that has cloned the expert, by LanguageIQL as in a run."""
    values = {
        "kind": "offline", "name": "t", "data": {"path": dataset.folder, "observation": "frame"},
        "policy": {
            "actor_loss": "cloning", "learning_rate": 3e-3, "weight_decay": 0.0, "batch_size": 32,
            "network": {"channels": 8, "hidden": [64], "instruction_size": 16, "history": 2},
        },
        "evaluation": {
            "num_tasks": 4, "chain_lengths": (1, 3), "environment": "thor", "thor": {"source": alfred},
        },
    }  # fmt: skip
    experiment = OfflineExperiment.model_validate(values)
    world = world_of(experiment, dataset)
    tasks = world.plan(())
    data = load_offline_data(dataset, experiment.data, tasks.texts, 0.97)
    policy = build_language_iql(experiment.policy, data.shape, 0)
    policy.set_transitions(data.transitions)
    return experiment, world, tasks, data, policy


def judged(trained, weights, trials=None):
    """Results and the controller that was used."""
    experiment, world, tasks, data, _ = trained
    toys = []

    def start(settings):
        toys.append(ToyThor())
        return toys[-1]

    face = PolicyFace(data.shape, experiment.policy.network, "frame", False)
    judge = ChainEvaluator(partial(ThorEnvironment, ThorSettings(source="."), data.objects, start), face, world.at_once)
    encoded = dict(zip(tasks.texts, data.encode(tasks.texts), strict=True))
    return judge.run(weights, trials or tasks.trials, encoded), toys


def test_a_policy_that_learned_from_alfred_completes_its_chains_in_thor(trained):
    _, _, tasks, _, policy = trained
    before, _ = judged(trained, policy.actor_weights())
    assert np.mean([one.proportion for one in before]) < 0.5
    policy.update(300)
    after, toys = judged(trained, policy.actor_weights())
    assert [(one.num_completed, one.num_subtasks) for one in after] == [(1, 1), (1, 1), (3, 3), (3, 3)]
    assert all(one.steps <= trial.task.num_expert_steps for one, trial in zip(after, tasks.trials, strict=True))
    # One Unity process, whatever the number of tasks.
    assert len(toys) == 1 and len(toys[0].scenes) == 4
    moved, toys = judged(trained, policy.actor_weights(), tasks.trials_from("randomised"))
    assert [one.num_subtasks for one in moved] == [1, 1, 3, 3]
    assert sum(command["action"] == "GetReachablePositions" for command in toys[0].commands) == 4


def test_iql_learns_the_pairs_with_critics_too(trained):
    experiment, _, _, data, _ = trained
    settings = experiment.policy.model_copy(update={"actor_loss": "advantage_weighted", "batch_size": 16})
    policy = build_language_iql(settings, data.shape, 0)
    policy.set_transitions(data.transitions)
    metrics = policy.update(5)
    assert all(np.isfinite(value) for value in metrics.values()) and metrics["critic_loss"] > 0.0
    assert policy.actor_weights()["object_head.weight"].shape == (4, 64)
