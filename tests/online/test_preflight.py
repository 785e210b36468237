"""What is checked before an online run starts."""

import shutil
from collections import namedtuple

import pytest

from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, load_experiment
from orchestrator.online import preflight
from orchestrator.settings.loading import settings_as_yaml

DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("name: test\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\n")

    def load(*overrides):
        folders = [f"runs_folder={tmp_path / 'runs'}", f"ratings_folder={tmp_path / 'ratings'}"]
        return load_experiment(path, [*folders, *overrides])

    return load


def check_same_run(experiment):
    kind_of(experiment).check_same_run(experiment)


def test_a_run_folder_of_other_settings(experiment):
    made = experiment()
    made.run_folder.mkdir(parents=True)
    (made.run_folder / "settings.yaml").write_text(settings_as_yaml(made))
    check_same_run(made)
    check_same_run(experiment("total_env_steps=2_000_000", "rater.deadline_s=5", "checkpoint.keep=5"))
    with pytest.raises(SettingsError, match=r"other settings \(policy\.batch_size was 512 and is 64\).*`name`"):
        check_same_run(experiment("policy.batch_size=64"))
    with pytest.raises(SettingsError, match=r"task\.rubrics was .* and is {}"):
        check_same_run(experiment("task.rubrics={}"))
    # Another seed is another run.
    check_same_run(experiment("policy.batch_size=64", "seed=1"))
    (made.run_folder / "settings.yaml").write_text("kind: offline\n")
    with pytest.raises(SettingsError, match=r"other settings \(kind was 'offline' and is 'online'\)"):
        check_same_run(made)


def test_changeable_settings_exist(experiment):
    settings = experiment().model_dump()
    for name in preflight.ONLINE_CHANGEABLE:
        block = settings
        for key in name.split("."):
            assert key in block, name
            block = block[key]


def test_bytes_by_hand(experiment):
    # 1,000,000 environment steps are 500,000 agent steps, of which the replay holds 200,000; 2 kept, 1 being written.
    assert preflight.checkpoint_bytes(experiment()) == 2_000 * 200_000 * 3
    assert preflight.checkpoint_bytes(experiment("total_env_steps=20_000")) == 2_000 * 10_000 * 3
    # 10,000 frames of 112 x 112 pixels at one and a half bytes.
    assert preflight.rating_bytes(experiment()) == 10_000 * 112 * 112 * 1.5


def test_a_full_disk(experiment, monkeypatch):
    one = experiment()
    for folder in (one.runs_folder, one.ratings_folder):
        folder.mkdir()
    # Both folders share the disk: 1.2 GB of checkpoints and 0.19 GB of frames.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10, 0, 1_300_000_000))
    with pytest.raises(SettingsError, match=r"has 1\.3 GB free and this run may write 1\.4 GB: make room, set"):
        preflight.check_disk([one])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10, 0, 1_500_000_000))
    preflight.check_disk([one])


def test_an_endpoint_and_a_cluster_are_not_looked_for_here(experiment, monkeypatch):
    called = []
    monkeypatch.setattr(preflight, "check_model", lambda _: called.append("model"))
    monkeypatch.setattr(preflight, "check_opengl", lambda: called.append("opengl"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    preflight.check_online([experiment()])
    assert called == ["model", "opengl"]
    called.clear()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    preflight.check_online([experiment("rater.endpoint=http://host:8000/v1")])
    assert called == []
