"""ALFRED's own layout, made small by the tests: skills, sentences, pictures, and what is missing or damaged."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.thor.demonstrations import NotALFRED, Plan, skills_of
from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.alfred import ACTIONS, AlfredSettings, import_alfred
from orchestrator.errors import SettingsError
from tests.fakes.small_alfred import colour, write_demonstration


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


def plan(kinds, highs):
    return Plan.model_validate(
        {
            "high_pddl": [{"discrete_action": {"action": kind}} for kind in kinds],
            "low_actions": [{"high_idx": index, "discrete_action": {"action": "MoveAhead_25"}} for index in highs],
        }
    )


def spoken(kinds, highs, num_sentences):
    """For each skill its number, the number of its sentence, and its actions."""
    return [(one.high_idx, one.sentence, list(one.low)) for one in skills_of(plan(kinds, highs), num_sentences)]


GO, TAKE, CUT, PUT, END = "GotoLocation", "PickupObject", "SliceObject", "PutObject", "NoOp"


def test_a_navigation_at_the_end_keeps_its_own_sentence_and_several_join_what_follows():
    assert spoken([TAKE, GO], [0, 0, 1], 2) == [(0, 0, [0, 1]), (1, 1, [2])]
    assert spoken([GO, GO, PUT, END], [0, 1, 2], 3) == [(2, 2, [0, 1, 2])]
    assert spoken([GO, GO, PUT, END], [0, 1, 2], 4) == [(2, 2, [0, 1, 2])]
    # A skill in which nothing was done is none, and its sentence is passed over; the way to it is one to the next.
    assert spoken([TAKE, CUT, PUT], [0, 2], 3) == [(0, 0, [0]), (2, 2, [1])]
    assert spoken([GO, TAKE, PUT], [0, 2], 3) == [(2, 2, [0, 1])]
    assert spoken([GO, TAKE, END], [0], 2) == [(0, 0, [0])]


def test_slices_in_a_row_may_share_a_sentence_and_those_after_it_stay_with_their_skills():
    kinds, highs = [GO, TAKE, CUT, CUT, GO, PUT, END], [0, 1, 2, 2, 3, 4, 5]
    own = [(1, 1, [0, 1]), (2, 2, [2, 3]), (3, 3, [4]), (5, 5, [5, 6])]
    assert spoken(kinds, highs, 6) == own
    # One sentence fewer: the third is of both slices, and the last still of putting it down.
    assert spoken(kinds, highs, 5) == [(1, 1, [0, 1]), (3, 2, [2, 3, 4]), (5, 4, [5, 6])]
    assert spoken([CUT, CUT, CUT, PUT], [0, 1, 2, 3], 2) == [(2, 0, [0, 1, 2]), (3, 1, [3])]
    # Only what is cut right after one another shares.
    with pytest.raises(NotALFRED, match="there are 3 sentences for 4 skills"):
        spoken([CUT, GO, CUT, PUT, END], [0, 1, 2, 3], 3)


@pytest.mark.parametrize("num_sentences", [0, 1, 3, 6])
def test_another_number_of_sentences_is_nobodys(num_sentences):
    with pytest.raises(NotALFRED, match=f"there are {num_sentences} sentences for 4 skills"):
        spoken([GO, TAKE, GO, PUT, END], [0, 1, 2, 3], num_sentences)
    with pytest.raises(NotALFRED, match="there are 2 sentences for 5 skills"):
        # Of two pairs of slices one alone might share, and nobody knows which.
        spoken([CUT, CUT, PUT, CUT, CUT], [0, 1, 2, 3, 4], 2)


@pytest.mark.parametrize(
    ("kinds", "highs", "message"),
    [
        ([TAKE, PUT], [0, 1, 0], "action 2 belongs to skill 0, and the one before it to skill 1"),
        ([TAKE, PUT], [0, 1, 2], "action 2 belongs to skill 2, and there are 2"),
        ([TAKE, END], [0, 1], "action 1 belongs to skill 1, which is NoOp"),
        ([TAKE, PUT], [-1], "greater than or equal to 0"),
        ([TAKE, PUT], ["0"], "valid integer"),
    ],
)
def test_a_plan_that_is_none_is_refused(kinds, highs, message):
    with pytest.raises(ValueError, match=message):
        plan(kinds, highs)


def changed(folder, change):
    path = folder / "traj_data.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_imported(source, tmp_path, capsys):
    trials = source / "pick_mug"
    (trials / "trial_A" / "raw_images" / "000000002.png").unlink()
    (trials / "trial_B" / "raw_images" / "000000010.png").write_bytes(b"\x89PNG broken")
    changed(trials / "trial_B", lambda found: found["turk_annotations"]["anns"][1].update(high_descs=["only one"]))
    (trials / "trial_C").mkdir()
    (trials / "trial_C" / "traj_data.json").write_text("{")
    for trial in "DEFGH":
        write_demonstration(trials / f"trial_{trial}")
    changed(
        trials / "trial_D", lambda found: found["plan"]["low_actions"][5]["discrete_action"].update(action="Juggle")
    )
    changed(trials / "trial_E", lambda found: found["turk_annotations"]["anns"][0]["high_descs"].__setitem__(1, " "))
    changed(trials / "trial_F", lambda found: found.pop("plan"))
    changed(trials / "trial_G", lambda found: found["turk_annotations"].update(anns=[]))
    changed(trials / "trial_H", lambda found: found["plan"].update(low_actions=[]))
    episodes, num_problems = imported(source, tmp_path)
    assert sorted(episodes) == [
        "pick_mug/trial_B/1/0", "pick_mug/trial_D/1/0", "pick_mug/trial_D/1/1", "pick_mug/trial_E/1/1",
        "pick_mug/trial_E/3/0", "pick_mug/trial_E/3/1",
    ]  # fmt: skip
    told = capsys.readouterr().err
    for text in (
        "demonstration pick_mug/trial_A: raw_images: it has 11 pictures; traj_data.json: lists 12",
        "000000010.png: episode pick_mug/trial_B/3/0: the picture cannot be read",
        "demonstration pick_mug/trial_B, annotator 1: there are 1 sentences for 4 skills",
        "trial_C/traj_data.json: demonstration pick_mug/trial_C: traj_data.json: Invalid JSON",
        "episode pick_mug/trial_D/3/1: action 'Juggle' is unknown",
        "episode pick_mug/trial_E/1/0: skill 1 has no sentence",
        "demonstration pick_mug/trial_F: traj_data.json: plan: Field required",
        "demonstration pick_mug/trial_G: nobody has described it",
        "demonstration pick_mug/trial_H: nothing is done in it",
    ):
        assert text in told
    assert num_problems == 10


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
