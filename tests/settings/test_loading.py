"""Experiment files: bases, tasks, overrides."""

from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.judging.settings import load_judging
from orchestrator.kinds import load_experiment
from orchestrator.labelling.settings import load_labelling
from orchestrator.settings.loading import load_rater, packaged_tasks, read_settings, settings_as_yaml
from orchestrator.sweeps.search import load_sweep

EXPERIMENT = """
name: test
task: drawer_close
reward_model: {network: small, image_px: 56}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_a_task_s_name_stands_for_its_file(file):
    task = load_experiment(file).task
    assert (task.name, task.env_id, task.action_repeat) == ("drawer_close", "drawer-close-v3", 2)
    assert set(task.rubrics) == {2, 3, 4, 5}
    assert "drawer_close" in packaged_tasks()


def test_overrides_set_exactly_what_they_name(file):
    experiment = load_experiment(
        file,
        [
            "seed=7",
            "policy.hidden=[128, 128]",
            "policy.actor_learning_rate=1e-3",
            "total_env_steps=20_000",
            "reward_model.stratified=off",
            "rater.revision=null",
            "task.image_px=96",
            "task.rubrics.2=[not yet, yes]",
        ],
    )
    assert experiment.seed == 7
    assert experiment.policy.hidden == (128, 128)
    assert experiment.policy.actor_learning_rate == 0.001
    assert experiment.total_env_steps == 20_000
    assert experiment.reward_model.stratified == "off"
    assert experiment.rater.revision is None
    # Of a task given by name the rest stays.
    assert (experiment.task.image_px, experiment.task.env_id) == (96, "drawer-close-v3")
    assert experiment.task.rubrics[2] == ("not yet", "yes")
    assert len(experiment.task.rubrics) == 4


def test_an_override_may_replace_or_empty_a_block(file):
    experiment = load_experiment(file, ["task.rubrics={}", "task.camera={position: [1, 0, 1], look_at: [0, 0, 0]}"])
    assert experiment.task.rubrics == {}
    assert experiment.task.camera.fovy_deg == 45.0
    assert load_experiment(file, ["task.camera=corner"]).task.camera == "corner"
    assert load_experiment(file, ["task=soccer", "task.image_px=112"]).task.env_id == "soccer-v3"


def test_a_block_may_start_from_a_packaged_task(tmp_path):
    (tmp_path / "e.yaml").write_text(
        "name: x\ntask: {base: soccer, image_px: 224, robot_visible: true, rubrics: {}, fixed_start: {hand: [0, 0, 0]}}"
    )
    task = load_experiment(tmp_path / "e.yaml").task
    assert (task.env_id, task.robot_visible, task.rubrics) == ("soccer-v3", True, {})
    # Blocks are joined below the first level too.
    assert task.fixed_start.hand == (0, 0, 0) and task.fixed_start.random_vector is not None


def test_an_override_may_change_what_a_task_starts_from(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("name: x\ntask: {base: drawer_close, image_px: 240}")
    task = load_experiment(file, ["task.base=soccer"]).task
    assert (task.env_id, task.image_px) == ("soccer-v3", 240)
    named = tmp_path / "named.yaml"
    named.write_text("name: x\ntask: drawer_close")
    assert load_experiment(named, ["task.base=soccer"]).task.env_id == "soccer-v3"
    with pytest.raises(SettingsError, match=r"task\.base = 'soccer'.*before other settings.*task=NAME"):
        load_experiment(file, ["task.image_px=300", "task.base=soccer"])


def test_a_task_may_be_a_file_beside_the_experiment(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: soccer\nname: mine\nimage_px: 300")
    (tmp_path / "e.yaml").write_text("name: x\ntask: mine.yaml")
    task = load_experiment(tmp_path / "e.yaml").task
    assert (task.name, task.env_id, task.image_px) == ("mine", "soccer-v3", 300)


def test_an_experiment_may_start_from_another(file):
    (file.parent / "sub").mkdir()
    child = file.parent / "sub" / "child.yaml"
    child.write_text("base: ../experiment.yaml\nname: child\ntask: {image_px: 64}\nreward_model: {num_members: 1}")
    experiment = load_experiment(child)
    assert experiment.name == "child"
    assert (experiment.task.env_id, experiment.task.image_px) == ("drawer-close-v3", 64)
    assert (experiment.reward_model.num_members, experiment.reward_model.image_px) == (1, 56)
    child.write_text("base: ../experiment.yaml\ntask: soccer")
    assert load_experiment(child).task.env_id == "soccer-v3"


def test_resolved_settings_load_back_equal(file):
    experiment = load_experiment(file, ["reward_model.stratified=off", "policy.target_entropy=-4", "seed=3"])
    resolved = file.parent / "settings.yaml"
    resolved.write_text(settings_as_yaml(experiment))
    assert load_experiment(resolved) == experiment


def test_every_experiment_in_the_repository_loads():
    files = sorted((Path(__file__).parents[2] / "tune_configs").rglob("*.yaml"))
    assert len(files) >= 4
    for path in files:
        # A sweep is many experiments, each of which is validated.
        tree = read_settings(path)
        if "search" in tree:
            load_sweep(path)
        elif tree.get("kind") == "labelling":
            load_labelling(path)
        elif tree.get("kind") == "judging":
            load_judging(path)
        else:
            load_experiment(path)


def test_rater_settings_from_overrides_alone():
    rater = load_rater(["model=Qwen/Qwen2-VL-7B-Instruct", "max_in_flight=8"])
    assert (rater.model, rater.max_in_flight) == ("Qwen/Qwen2-VL-7B-Instruct", 8)
    with pytest.raises(SettingsError, match="modell: there is no such setting; did you mean 'model'"):
        load_rater(["modell=pocket"])


def test_bases_that_lead_in_a_circle(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(SettingsError, match="`base` leads back to a file that is being read"):
        load_experiment(tmp_path / "a.yaml")
    (tmp_path / "e.yaml").write_text("name: x\ntask: loop.yaml")
    (tmp_path / "loop.yaml").write_text("base: loop.yaml")
    with pytest.raises(SettingsError, match="leads back to itself"):
        load_experiment(tmp_path / "e.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not valid YAML"),
        ("- a", "holds `key: value` lines; this one holds list"),
        ("", "this one holds NoneType"),
        ("seed: 1\nseed: 2", "key 'seed' stands here twice"),
        ("seed: !!python/object/apply:os.getpid []", "is not valid YAML"),
        ("base: 3", "base: 3 is not a file name"),
        ("base: absent.yaml", r"absent\.yaml: there is no such file"),
        ("name: x\ntask: {base: 4}", "task.base: 4 is not a task's name"),
        ("name: x", "task is missing: add it. It means: A packaged task's name"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_experiment(tmp_path / "e.yaml")


def test_a_missing_file_names_its_neighbour(file):
    with pytest.raises(SettingsError, match=r"there is no such file; did you mean 'experiment\.yaml'"):
        load_experiment(file.parent / "experimet.yaml")


@pytest.mark.parametrize("text", ["0", "12", "-3", "1_000"])
def test_whole_numbers(text):
    from orchestrator.settings.strict_yaml import parse_yaml

    assert parse_yaml(text) == int(text)


def test_scalars_are_read_as_people_mean_them():
    from orchestrator.settings.strict_yaml import parse_yaml

    assert parse_yaml("[off, no, yes, on, 12:30, 2020-01-01]") == ["off", "no", "yes", "on", "12:30", "2020-01-01"]
    assert parse_yaml("[1e-3, 1.5e4, .5, 2., 1E5]") == [0.001, 15000.0, 0.5, 2.0, 100000.0]
    assert parse_yaml("[true, False, null, ~]") == [True, False, None, None]
    assert parse_yaml("{a: , b: '1'}") == {"a": None, "b": "1"}
    assert parse_yaml("") is None
    assert parse_yaml("[v1.2, 1e, e5, -, 1-2]") == ["v1.2", "1e", "e5", "-", "1-2"]
