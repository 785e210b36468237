"""ALFRED's own layout, made small by the tests: skills, sentences, pictures, and what is missing or damaged."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.alfred import ACTIONS, AlfredSettings, import_alfred, merged_skills
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError

LOW = [
    ("MoveAhead_25", 0, {}),
    ("RotateLeft_90", 0, {}),
    ("PickupObject", 1, {"objectId": "Mug|+00.10|+00.90|-01.20"}),
    ("MoveAhead_25", 2, {}),
    ("OpenObject", 3, {"objectId": "Microwave|1|2|3"}),
    ("PutObject", 3, {"objectId": "Mug|1|2|3", "receptacleObjectId": "CoffeeMachine|1|2|3"}),
]
HIGH = ["GotoLocation", "PickupObject", "GotoLocation", "PutObject", "NoOp"]
SENTENCES = [
    ["Walk to the table.", "Pick up the mug.", "Turn to the machine.", "Put the mug into it."],
    ["Go to the table.", "Take  the mug\n", "Go on.", "Place the mug."],
]


def colour(index: int) -> tuple[int, int, int]:
    return (10 * index, 100, 200 - 10 * index)


def write_demonstration(folder, ending="png"):
    """Low action i was filmed with two pictures; the first, picture 2 i, shows the state before it."""
    (folder / "raw_images").mkdir(parents=True)
    images = []
    for index, (_, high, _) in enumerate(LOW):
        for filler in range(2):
            number = 2 * index + filler
            images.append({"low_idx": index, "high_idx": high, "image_name": f"{number:09d}.png"})
            Image.new("RGB", (16, 12), colour(number)).save(folder / "raw_images" / f"{number:09d}.{ending}")
    plan = {
        "high_pddl": [{"high_idx": i, "discrete_action": {"action": kind, "args": []}} for i, kind in enumerate(HIGH)],
        "low_actions": [
            {"high_idx": high, "discrete_action": {"action": name, "args": {}}, "api_action": {"action": name, **api}}
            for name, high, api in LOW
        ],
    }
    annotations = [{"task_desc": "Heat a mug.", "high_descs": sentences} for sentences in SENTENCES]
    found = {"task_type": "pick", "plan": plan, "images": images, "turk_annotations": {"anns": annotations}}
    (folder / "traj_data.json").write_text(json.dumps(found))


@pytest.fixture
def source(tmp_path):
    for trial in ("trial_A", "trial_B"):
        write_demonstration(tmp_path / "train" / "pick_mug" / trial)
    return tmp_path / "train"


def imported(source, tmp_path, **settings):
    _, num_problems = import_alfred(source, tmp_path / "set", AlfredSettings(**settings))
    return {one.episode_id: one for one in TrajectoryDataset(tmp_path / "set").episodes()}, num_problems


def test_navigation_joins_the_next_skill_and_its_sentence(source, tmp_path):
    episodes, num_problems = imported(source, tmp_path)
    assert num_problems == 0
    assert sorted(episodes) == [
        f"pick_mug/trial_{trial}/{skill}/{annotator}" for trial in "AB" for skill in (1, 3) for annotator in (0, 1)
    ]
    pick = episodes["pick_mug/trial_A/1/0"]
    assert pick.instruction == "Pick up the mug."
    assert pick.action_names == ("move ahead", "rotate left", "pick up mug")
    assert [list(ACTIONS)[action] for action in pick.actions] == ["MoveAhead_25", "RotateLeft_90", "PickupObject"]
    assert pick.action_objects == ("", "", "Mug")
    assert episodes["pick_mug/trial_A/1/1"].instruction == "Take the mug"
    put = episodes["pick_mug/trial_A/3/0"]
    assert put.action_names == ("move ahead", "open microwave", "put into coffee machine")
    assert put.sparse_rewards.tolist() == [0, 0, 1] and put.terminated.tolist() == [False, False, True]


def test_frames_are_those_before_each_action_and_the_last_of_all(source, tmp_path):
    episodes, _ = imported(source, tmp_path)

    def shown(name):
        return [tuple(decode_png(png)[0, 0]) for png in episodes[name].frames]

    assert shown("pick_mug/trial_A/1/0") == [colour(0), colour(2), colour(4), colour(6)]
    assert shown("pick_mug/trial_A/3/0") == [colour(6), colour(8), colour(10), colour(11)]


def test_jpeg_pictures_under_a_png_name_and_another_size(tmp_path):
    write_demonstration(tmp_path / "train" / "one", ending="jpg")
    episodes, num_problems = imported(tmp_path / "train", tmp_path, frame_px=6, annotators="first")
    assert num_problems == 0 and len(episodes) == 2
    assert TrajectoryDataset(tmp_path / "set").info.frame_px == (6, 8)
    assert list(TrajectoryDataset(tmp_path / "set").problems()) == []


def test_a_navigation_at_the_end_keeps_its_own_sentence_and_gaps_are_refused():
    def plan(kinds, highs):
        high = [{"discrete_action": {"action": kind}} for kind in kinds]
        return merged_skills(high, [{"high_idx": index} for index in highs])

    skills = plan(["PickupObject", "GotoLocation"], [0, 0, 1])
    assert [(skill.high_idx, list(skill.low)) for skill in skills] == [(0, [0, 1]), (1, [2])]
    assert [list(s.low) for s in plan(["GotoLocation", "GotoLocation", "PutObject"], [0, 1, 2])] == [[0, 1, 2]]
    with pytest.raises(ValueError, match="do not follow one another"):
        plan(["PickupObject", "PutObject"], [0, 1, 0])


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_imported(source, tmp_path, capsys):
    a, b = source / "pick_mug" / "trial_A", source / "pick_mug" / "trial_B"
    (a / "raw_images" / "000000002.png").unlink()
    (b / "raw_images" / "000000010.png").write_bytes(b"\x89PNG broken")
    found = json.loads((b / "traj_data.json").read_text())
    found["turk_annotations"]["anns"][1]["high_descs"] = ["only one"]
    (b / "traj_data.json").write_text(json.dumps(found))
    (source / "pick_mug" / "trial_C").mkdir()
    (source / "pick_mug" / "trial_C" / "traj_data.json").write_text("{")
    write_demonstration(source / "pick_mug" / "trial_D")
    odd = json.loads((source / "pick_mug" / "trial_D" / "traj_data.json").read_text())
    odd["plan"]["low_actions"][5]["discrete_action"]["action"] = "Juggle"
    (source / "pick_mug" / "trial_D" / "traj_data.json").write_text(json.dumps(odd))
    episodes, num_problems = imported(source, tmp_path)
    assert sorted(episodes) == [
        "pick_mug/trial_A/3/0", "pick_mug/trial_A/3/1", "pick_mug/trial_B/1/0",
        "pick_mug/trial_D/1/0", "pick_mug/trial_D/1/1",
    ]  # fmt: skip
    told = capsys.readouterr().err
    for text in (
        "episode pick_mug/trial_A/1/0: picture 000000002.png is not in",
        "000000010.png: episode pick_mug/trial_B/3/0: the picture cannot be read",
        "episode pick_mug/trial_B/1/1: skill 1 has no sentence",
        "trial_C/traj_data.json: demonstration pick_mug/trial_C",
        "episode pick_mug/trial_D/3/1: action 'Juggle' is unknown",
    ):
        assert text in told
    assert num_problems == 8


def test_a_folder_without_demonstrations_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"no traj_data\.json"):
        import_alfred(tmp_path, tmp_path / "set", AlfredSettings())


def test_the_command(source, tmp_path):
    done = CliRunner().invoke(app, ["data", "alfred", str(source), str(tmp_path / "set"), "annotators=first"])
    assert done.exit_code == 0 and "4 episodes, 12 actions" in done.output, done.output
    bad = CliRunner().invoke(app, ["data", "alfred", str(source), str(tmp_path / "other"), "annotators=some"])
    assert bad.exit_code == 2 and "must be one of 'all', 'first'" in bad.stderr
    assert np.array_equal(
        [one.actions[0] for one in TrajectoryDataset(tmp_path / "set").episodes()],
        [list(ACTIONS).index("MoveAhead_25")] * 4,
    )
