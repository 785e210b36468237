"""`likert data babyai`: the same settings make the same files, stopped and resumed or not."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.babyai.settings import BabyAISettings, DetourSettings
from orchestrator.cli.main import app
from orchestrator.data import babyai as babyai_data
from orchestrator.data import writer
from orchestrator.data.babyai import BabyAIDataSettings, dataset_info, generate, make_episode, task_of
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import Origin, made_by_older_rules
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError

ROOM = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("goto", "pickup"))
SETTINGS = BabyAIDataSettings(num_episodes=10, chain_lengths=(1, 2), babyai=ROOM)


def test_episodes_of_each_length_are_solved_and_stored(tmp_path):
    info = generate(SETTINGS, tmp_path / "set")
    dataset = TrajectoryDataset(tmp_path / "set")
    episodes = list(dataset.episodes())
    assert info.num_episodes == len(episodes) == 10
    assert [one.instruction.count(", then ") + 1 for one in episodes] == [1, 2] * 5
    assert all(one.sparse_rewards[-1] == 1 and one.terminated[-1] for one in episodes)
    assert [problem for problem in dataset.problems() if not problem.is_note] == []
    assert BabyAIDataSettings.model_validate_json(json.dumps(dataset.info.settings)) == SETTINGS


def test_a_set_that_was_stopped_goes_on_to_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "PART_BYTES", 1)
    generate(SETTINGS, tmp_path / "whole")
    begun = DatasetWriter(tmp_path / "stopped", dataset_info(SETTINGS, "stopped"), part_bytes=12_000)
    for number in range(4):
        begun.write(make_episode(SETTINGS, number))
    assert 0 < begun.info.num_episodes <= 4
    monkeypatch.setattr(babyai_data, "DatasetWriter", lambda *a: DatasetWriter(*a, part_bytes=12_000))
    generate(SETTINGS, tmp_path / "stopped")
    generate(SETTINGS, tmp_path / "again")
    for name in TrajectoryDataset(tmp_path / "again").parts:
        assert pq.read_table(tmp_path / "stopped" / name).equals(pq.read_table(tmp_path / "again" / name))
    assert TrajectoryDataset(tmp_path / "stopped").parts == TrajectoryDataset(tmp_path / "again").parts


def test_a_set_of_subtasks_holds_each_with_its_own_instruction(tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"unit": "subtask"})
    generate(settings, tmp_path / "skills")
    dataset = TrajectoryDataset(tmp_path / "skills")
    episodes = list(dataset.episodes())
    assert len(episodes) == 15 and not [problem for problem in dataset.problems() if not problem.is_note]
    chain, first, second = make_episode(SETTINGS, 1), episodes[1], episodes[2]
    assert f"{first.instruction}, then {second.instruction}" == chain.instruction
    # The second begins where the first one ended; both together are the chain.
    assert first.frames[-1] == second.frames[0] and first.frames + second.frames[1:] == chain.frames
    assert [*first.actions, *second.actions] == chain.actions.tolist()
    for one in episodes:
        assert one.sparse_rewards.tolist() == [0.0] * (len(one) - 1) + [1.0] == one.terminated.tolist()
        assert one.audits["subtask_completed"].tolist() == one.terminated.tolist()
    assert (
        task_of(settings, first.episode_id)
        == task_of(settings, second.episode_id)
        == task_of(SETTINGS, chain.episode_id)
    )
    assert task_of(settings, second.episode_id).chain_length == 2

    monkeypatch.setattr(babyai_data, "DatasetWriter", lambda *a: DatasetWriter(*a, part_bytes=12_000))
    begun = DatasetWriter(tmp_path / "stopped", dataset_info(settings, "stopped"), part_bytes=1)
    for trajectory in episodes[:5]:
        begun.write(trajectory)
    assert begun.info.num_episodes == 5  # The second sub-task of the fourth chain is yet to come.
    generate(settings, tmp_path / "stopped")
    assert [one.episode_id for one in TrajectoryDataset(tmp_path / "stopped").episodes()] == [
        one.episode_id for one in episodes
    ]


def test_a_set_begun_before_its_origin_was_noted_is_compared_with_what_is_made_now(tmp_path, monkeypatch):
    few = SETTINGS.model_copy(update={"num_episodes": 2})
    monkeypatch.setattr(babyai_data, "DatasetWriter", lambda *a: DatasetWriter(*a, part_bytes=1))
    old = dataset_info(few, "set").model_copy(update={"origin": None})
    chain = make_episode(few, 0)
    for name, instruction in (("well", chain.instruction), ("other", "go to the moon")):
        DatasetWriter(tmp_path / name, old, part_bytes=1).write(replace(chain, instruction=instruction))
    info = generate(few, tmp_path / "well")
    assert info.num_episodes == 2 and info.origin == dataset_info(few, "set").origin
    with pytest.raises(SettingsError, match=r"its episode .* is not what the source gives now"):
        generate(few, tmp_path / "other")


def test_a_set_with_detours_is_the_same_however_it_is_made_and_fails_as_often_as_asked(tmp_path, monkeypatch):
    detours = DetourSettings(probability=0.5, kind="box", failing_share=0.4)
    settings = SETTINGS.model_copy(update={"detours": detours, "unit": "subtask"})
    generate(settings, tmp_path / "one")
    # Other processes may be done in any order; results come in theirs.
    generate(settings, tmp_path / "other", lambda make, tasks: reversed([make(task) for task in [*tasks][::-1]]))
    dataset = TrajectoryDataset(tmp_path / "one")
    assert [pq.read_table(tmp_path / "one" / part).equals(pq.read_table(tmp_path / "other" / part))
            for part in dataset.parts] == [True] * len(dataset.parts)  # fmt: skip
    assert [problem for problem in dataset.problems() if not problem.is_note] == []
    episodes = list(dataset.episodes(frames=False))
    failed = [one for one in episodes if one.truncated[-1]]
    assert 1 <= len(failed) <= 8 and not any(one.sparse_rewards.any() or one.terminated.any() for one in failed)
    assert all(one.terminated[-1] and one.sparse_rewards[-1] == 1 for one in episodes if one not in failed)
    assert BabyAIDataSettings.model_validate(dataset.info.settings) == settings
    # Sets without detours note what they noted before there were any.
    assert "detours" not in dataset_info(SETTINGS, "set").settings


def test_another_seed_makes_other_episodes():
    other = SETTINGS.model_copy(update={"seed": 1})
    assert make_episode(SETTINGS, 0).frames == make_episode(SETTINGS, 0).frames != make_episode(other, 0).frames


def test_chains_that_nobody_completes_are_an_error(monkeypatch):
    monkeypatch.setattr(babyai_data, "demonstrate", lambda *_: None)
    with pytest.raises(SettingsError, match="completed none of 100 chains of 2 sub-tasks"):
        make_episode(SETTINGS, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_episode=3", "did you mean 'num_episodes'"),
        ("chain_lengths=[7]", "at most 6"),
        ("chain_lengths=[]", "chain_lengths is empty"),
        ("random_share=[0.5, 0.1]", "must not be above"),
        ("detours.probability=1.5", "detours.probability = 1.5: must be at most 1"),
        ("detours={kind: cup}", "must be one of 'key', 'ball', 'box', 'door'"),
        ("babyai.num_objects=500", "above a third"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, override, message):
    done = CliRunner().invoke(app, ["data", "babyai", str(tmp_path / "set"), override])
    assert done.exit_code == 2 and message in done.stderr, done.output
    assert not (tmp_path / "set").exists()


def test_check_tells_what_is_wrong_and_exits_with_1(tmp_path):
    generate(SETTINGS.model_copy(update={"num_episodes": 3}), tmp_path / "set")
    likert = lambda: CliRunner().invoke(app, ["data", "check", str(tmp_path / "set")])  # noqa: E731
    well = likert()
    assert well.exit_code == 0 and "3 episodes" in well.output and "nothing is wrong" in well.output
    part = tmp_path / "set" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    broken = likert()
    assert broken.exit_code == 1
    assert "part-00000.parquet: the file cannot be read" in broken.output and "1 problem;" in broken.stderr
    part.unlink()
    assert "part-00000.parquet: the file is missing" in likert().output


def test_a_set_of_older_rules_says_so_and_is_not_gone_on_with(tmp_path):
    old = dataset_info(SETTINGS, "old").model_copy(update={"origin": Origin(rule=1)})
    begun = DatasetWriter(tmp_path / "begun", old, part_bytes=1)
    begun.write(make_episode(SETTINGS, 0))
    with pytest.raises(SettingsError, match="by another version of likert-rl, by other rules"):
        generate(SETTINGS, tmp_path / "begun")
    begun.close()
    shown = CliRunner().invoke(app, ["data", "check", str(tmp_path / "begun")])
    assert shown.exit_code == 0 and "note: it was made by an older likert-rl (babyai" in shown.output
    assert made_by_older_rules(old.model_copy(update={"origin": None})) is not None
    for source in ("babyai", "alfred", "lerobot", "yours"):
        info = old.model_copy(update={"source": source, "origin": Origin(rule=2)})
        assert made_by_older_rules(info) is None
        assert (made_by_older_rules(old.model_copy(update={"source": source})) is None) == (
            source in ("lerobot", "yours")
        )


@pytest.mark.slow
def test_on_ray_it_is_the_same(tmp_path):
    generate(SETTINGS, tmp_path / "here")
    done = CliRunner().invoke(
        app,
        ["data", "babyai", str(tmp_path / "ray"), "num_episodes=10", "chain_lengths=[1,2]",
         "babyai={room_size: 7, num_rows: 1, num_cols: 1, num_objects: 5, subtasks: [goto, pickup]}"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for name in TrajectoryDataset(tmp_path / "here").parts:
        assert pq.read_table(tmp_path / "ray" / name).equals(pq.read_table(tmp_path / "here" / name))
