"""Pictures of ALFRED's demonstrations: by the list that they fit, or left out."""

import json

import pytest

from algorithms.images import decode_png
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.alfred import AlfredSettings, import_alfred
from orchestrator.errors import SettingsError
from tests.fakes.small_alfred import LOW, colour, draw, listed, render_anew, write_demonstration

RECORDED = {"1/0": [0, 2, 4, 6], "3/0": [6, 8, 10, 11]}
"""By episode, the pictures in `raw_images` of the states before each action and after the last."""
RENDERED = {"1/0": [0, 1, 2, 3], "3/0": [3, 4, 5, 15]}
"""In `high_res_images`, whose last ten are of the end."""


@pytest.fixture
def trial(tmp_path):
    write_demonstration(tmp_path / "train" / "trial")
    return tmp_path / "train" / "trial"


def shown(trial):
    """By episode, the folder and the numbers of the pictures that it shows."""
    out = trial.parent.parent / "set"
    import_alfred(trial.parent, out, AlfredSettings(annotators="first"))
    colours = {
        colour(number, name): (name, number) for name in ("raw_images", "high_res_images") for number in range(25)
    }
    found = {}
    for one in TrajectoryDataset(out).episodes():
        pictures = [colours[tuple(int(value) for value in decode_png(png)[0, 0])] for png in one.frames]
        (folder,) = {name for name, _ in pictures}
        found[one.episode_id.removeprefix("trial/")] = folder, [number for _, number in pictures]
    return found


def of(folder, episodes):
    return {name: (folder, numbers) for name, numbers in episodes.items()}


def left_out(trial, capsys):
    with pytest.raises(SettingsError, match="nothing could be imported"):
        shown(trial)
    return capsys.readouterr().err


def test_a_recording_rendered_anew_is_read_by_its_own_list(trial):
    for path in (trial / "raw_images").iterdir():
        path.unlink()
    render_anew(trial)
    assert shown(trial) == of("high_res_images", RENDERED)


def test_recorded_and_rendered_pictures_stand_side_by_side(trial):
    render_anew(trial)
    assert shown(trial) == of("raw_images", RECORDED)


def test_rendered_pictures_are_taken_where_the_recorded_ones_are_not_whole(trial):
    (trial / "raw_images" / "000000003.png").unlink()
    render_anew(trial)
    assert shown(trial) == of("high_res_images", RENDERED)


def test_the_list_of_the_script_counts_also_for_pictures_that_lie_where_recorded_ones_do(trial):
    render_anew(trial, at_the_end=0)
    for path in (trial / "raw_images").iterdir():
        path.unlink()
    (trial / "raw_images").rmdir()
    (trial / "high_res_images").rename(trial / "raw_images")
    draw(trial / "raw_images", range(len(LOW)))
    # Nothing shows what the last action led to, so the last skill is left out.
    assert shown(trial) == of("raw_images", {"1/0": RENDERED["1/0"]})


def test_ten_pictures_of_the_end_may_follow_in_recordings_too(trial):
    draw(trial / "raw_images", range(12, 22))
    assert shown(trial) == of("raw_images", RECORDED | {"3/0": [6, 8, 10, 21]})


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG", "PNG"])
def test_a_list_says_png_whatever_the_pictures_are(tmp_path, ending):
    write_demonstration(tmp_path / "train" / "trial", ending)
    import_alfred(tmp_path / "train", tmp_path / "set", AlfredSettings())
    assert TrajectoryDataset(tmp_path / "set").info.num_episodes == 4


def test_notes_of_file_managers_and_videos_are_no_pictures(trial):
    (trial / "raw_images" / "._000000000.png").write_bytes(b"junk")
    (trial / "raw_images" / "video.mp4").write_bytes(b"junk")
    assert shown(trial) == of("raw_images", RECORDED)


def spoil_gap(trial):
    (trial / "raw_images" / "000000004.png").rename(trial / "raw_images" / "000000012.png")


def spoil_over(trial):
    draw(trial / "raw_images", [12])


def spoil_cut(trial):
    (trial / "raw_images" / "000000011.png").unlink()


def spoil_two_endings(trial):
    draw(trial / "raw_images", [3], "jpg")


def spoil_end(trial):
    draw(trial / "raw_images", range(13, 23))


def spoil_rendered(trial):
    render_anew(trial)
    spoil_cut(trial)
    (trial / "high_res_images" / "000000015.png").unlink()


def edit(trial, change, name="traj_data.json"):
    found = json.loads((trial / name).read_text())
    change(found)
    (trial / name).write_text(json.dumps(found))


def spoil_order(trial):
    edit(trial, lambda found: found["images"].reverse())


def spoil_skill(trial):
    edit(trial, lambda found: found["images"][3].update(high_idx=1))


def spoil_action(trial):
    edit(trial, lambda found: found["images"][-1].update(low_idx=6, high_idx=None))


def spoil_twice(trial):
    edit(trial, lambda found: found["images"][3].update(image_name="000000002.png"))


def spoil_name(trial):
    edit(trial, lambda found: found["images"][3].update(image_name="../../000000003.png"))


def spoil_none(trial):
    for path in (trial / "raw_images").iterdir():
        path.unlink()


def spoil_plan(trial):
    render_anew(trial)
    spoil_cut(trial)
    edit(trial, lambda found: found["plan"]["low_actions"].pop(), "augmented_traj_data.json")


def spoil_augmented(trial):
    render_anew(trial)
    spoil_cut(trial)
    (trial / "augmented_traj_data.json").write_text("{")


def spoil_both(trial):
    """Both lists fit the recorded pictures, and pair them differently."""
    render_anew(trial)
    for path in (trial / "high_res_images").iterdir():
        path.unlink()
    moved = [{**one, "low_idx": index // 3, "high_idx": LOW[index // 3][1]} for index, one in enumerate(listed(2))]
    edit(trial, lambda found: found.update(images=moved), "augmented_traj_data.json")


SPOILT = {
    spoil_gap: "000000004 is not there",
    spoil_over: "it has 13 pictures; traj_data.json: lists 12",
    spoil_cut: "it has 11 pictures; traj_data.json: lists 12",
    spoil_two_endings: "000000003.jpg and 000000003.png have one name",
    spoil_end: "000000013 is in no list",
    spoil_rendered: "high_res_images: it has 15 pictures; traj_data.json: lists 12, and augmented_traj_data.json: ",
    spoil_order: "has 000000009.png of action 4 after one of 5",
    spoil_skill: "has 000000003.png of skill 1, and action 1 belongs to skill 0",
    spoil_action: "has 000000011.png of action 6, and there are 6",
    spoil_twice: "lists 000000002 twice",
    spoil_name: "names '../../000000003.png', which is no name of a picture",
    spoil_none: "there is no picture in raw_images or high_res_images",
    spoil_plan: "the plan in augmented_traj_data.json is another one",
    spoil_augmented: "augmented_traj_data.json: Invalid JSON",
    spoil_both: "its 12 pictures fit traj_data.json and augmented_traj_data.json, which pair them differently",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_pictures_that_fit_no_list_are_never_paired(trial, capsys, spoil):
    spoil(trial)
    told = left_out(trial, capsys)
    assert "demonstration trial: " in told and SPOILT[spoil] in told
    assert not (trial.parent.parent / "set").exists()
