"""Files around ALFRED's own, damaged at random: an import, or words; never another's sentence, picture or action."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.images import decode_png
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.metadata import read_info
from orchestrator.data.recordings.alfred import ACTIONS, AlfredSettings, demonstration, import_alfred
from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.errors import SettingsError
from tests.fakes import small_alfred
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND
from tests.fakes.small_alfred import colour, draw, listed

SLICED_LOW = [
    ("MoveAhead_25", 0, {}),
    ("SliceObject", 1, {"objectId": "Apple|1|2|3"}),
    ("SliceObject", 2, {"objectId": "Bread|1|2|3"}),
    ("LookUp_15", 3, {}),
    ("PutObject", 4, {"objectId": "Apple|1|2|3", "receptacleObjectId": "Fridge|1|2|3"}),
]
SLICED_HIGH = ["GotoLocation", "SliceObject", "SliceObject", "GotoLocation", "PutObject", "NoOp"]
SLICED_SENTENCES = [
    ["Walk up.", "Slice the apple.", "Slice the bread.", "Look up.", "Put it away."],
    ["Go there.", "Cut both.", "Look.", "Into the fridge with it."],
]
TRAJECTORY, AUGMENTED = "traj_data.json", "augmented_traj_data.json"
COLOURS = {colour(number, folder): number for folder in ("raw_images", "high_res_images") for number in range(25)}

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from([10**12, -(10**30), 1.0, 0.5, float("nan"), "", "3", "000000003.png", "../000000001.png", "NoOp"]),
    st.text(max_size=4),
    st.builds(list),
    st.builds(dict),
    st.lists(st.integers(0, 3), max_size=3),
    # Made anew each time, since what is drawn may be damaged further.
    st.sampled_from(["[[[[[]]]]]", '{"a": {"b": {}}}']).map(json.loads),
    st.sampled_from(["SliceObject", "GotoLocation", "PutObject", "PickupObject"]),
)


@dataclass
class Sound:
    """A demonstration on disk, as it was before anything was damaged."""

    folder: Path
    files: dict[str, dict]
    pictures: dict[str, int]
    whole: bool = False

    def restore(self) -> None:
        if not self.whole:
            for name, count in self.pictures.items():
                shutil.rmtree(self.folder / name, ignore_errors=True)
                draw(self.folder / name, range(count), size=(2, 2))
            self.whole = True
        for name, found in self.files.items():
            (self.folder / name).write_text(json.dumps(found))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Demonstrations as recorded, rendered anew, both, and with slices that share a sentence."""
    source = tmp_path_factory.mktemp("alfred") / "train"
    plain = small_alfred.demonstration()
    anew = plain | {"images": listed(1)}
    sliced = small_alfred.demonstration(SLICED_LOW, SLICED_HIGH, SLICED_SENTENCES)
    made = [
        Sound(source / "recorded", {TRAJECTORY: plain}, {"raw_images": 12}),
        Sound(source / "rendered", {TRAJECTORY: plain, AUGMENTED: anew}, {"high_res_images": 16}),
        Sound(source / "both", {TRAJECTORY: plain, AUGMENTED: anew}, {"raw_images": 12, "high_res_images": 16}),
        Sound(source / "sliced", {TRAJECTORY: sliced}, {"raw_images": 10}),
    ]
    for one in made:
        one.restore()
    return made


def places(tree, path=()):
    """Paths to everything in a tree of JSON."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def damage(data, tree):
    """Change one place of a tree, and return the tree."""
    every = list(places(tree))
    path = every[data.draw(st.integers(0, len(every) - 1))]
    if not path:
        return data.draw(JUNK)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key, value = path[-1], parent[path[-1]]
    how = data.draw(st.sampled_from(["replace", "delete", "shift", "again", "swap", "deep"]))
    if how == "delete":
        del parent[key]
    elif how == "shift" and isinstance(value, int):
        parent[key] = value + data.draw(st.sampled_from([-1, 1, 100]))
    elif how == "again" and isinstance(parent, list):
        parent.insert(data.draw(st.integers(0, len(parent))), value)
    elif how == "swap" and isinstance(parent, list):
        other = data.draw(st.integers(0, len(parent) - 1))
        parent[key], parent[other] = parent[other], value
    elif how == "deep":
        parent[key] = json.loads("[" * 50 + "]" * 50)
    else:
        parent[key] = data.draw(JUNK)
    return tree


def damaged_bytes(data, content):
    """Bytes that are no longer what a program wrote."""
    how = data.draw(st.sampled_from(["cut", "not utf-8", "surrogate", "deep", "noise"]))
    place = data.draw(st.integers(0, len(content)))
    return {
        "cut": content[:place],
        "not utf-8": content[:place] + b"\xff\xfe" + content[place:],
        "surrogate": content.replace(b"mug", b"\\ud800", 1),
        "deep": b'{"plan":' * 3_000,
        "noise": content[:place] + data.draw(st.binary(min_size=1, max_size=4)) + content[place + 2 :],
    }[how]


def damage_pictures(data, one):
    """Take a picture away, call it otherwise, or add one."""
    one.whole = False
    folder = one.folder / data.draw(st.sampled_from(sorted(one.pictures)))
    paths = sorted(folder.iterdir())
    path = paths[data.draw(st.integers(0, len(paths) - 1))]
    new = folder / f"{data.draw(st.integers(0, 24)):09d}{data.draw(st.sampled_from(['.png', '.jpg', '.txt']))}"
    how = data.draw(st.sampled_from(["delete", "rename", "again"]))
    if how == "delete":
        path.unlink()
    elif how == "rename":
        path.replace(new)
    else:
        shutil.copy(path, folder / f"a{new.name}")


def damaged(data, sound):
    """A demonstration of which files, or pictures, are damaged."""
    one = data.draw(st.sampled_from(sound))
    one.restore()
    names = sorted(one.files)
    for name in names[data.draw(st.integers(0, len(names) - 1)) :]:
        tree = json.loads(json.dumps(one.files[name]))
        for _ in range(data.draw(st.integers(0, 3))):
            tree = damage(data, tree)
        content = json.dumps(tree).encode()
        if data.draw(st.integers(0, 7)) == 0:
            content = damaged_bytes(data, content)
        (one.folder / name).write_bytes(content)
    if data.draw(st.integers(0, 3)) == 0:
        damage_pictures(data, one)
    return one


def spoken(found, high, annotator):
    """The sentence of a skill and its actions, worked out from the file anew."""
    kinds = [skill["discrete_action"]["action"] for skill in found["plan"]["high_pddl"]]
    highs = [action["high_idx"] for action in found["plan"]["low_actions"]]
    sentences = found["turk_annotations"]["anns"][annotator]["high_descs"]
    told = [index for index, kind in enumerate(kinds) if kind != "NoOp"]
    shared = [
        index
        for index in told
        if len(sentences) < len(told) and kinds[max(0, index - 1) : index + 1] == ["SliceObject"] * 2
    ]
    if len(sentences) == len(kinds):
        told = list(range(len(kinds)))
    assert len(sentences) == len(told) - len(shared)
    number = sum(index < high for index in told) - sum(index <= high for index in shared)
    first = high
    while first > 0 and (kinds[first - 1] == "GotoLocation" or first - 1 not in highs or first in shared):
        first -= 1
    return sentences[number], [index for index, skill in enumerate(highs) if first <= skill <= high]


def fits(images, trajectories, low):
    """Whether all frames of these trajectories are those that a list of pictures says."""
    for one, actions in trajectories:
        shown = [COLOURS[tuple(int(value) for value in decode_png(png)[0, 0])] for png in one.frames]
        wanted = [
            next((int(i["image_name"][:9]) for i in images if i["low_idx"] == index), None)
            for index in [*actions, actions[-1] + 1]
        ]
        if actions[-1] == len(low) - 1:
            # After the last action: a later picture of it, or one that no list names.
            if shown[-1] <= wanted[-2] or shown[-1] < len(images) - 1:
                return False
            shown, wanted = shown[:-1], wanted[:-1]
        if shown != wanted:
            return False
    return True


def labels_are_the_files_own(sound, data):
    one = damaged(data, sound)
    results = list(demonstration(one.folder / TRAJECTORY, one.folder.parent, AlfredSettings()))
    assert all(isinstance(result, Trajectory | ImportProblem) for result in results)
    whole = [result for result in results if isinstance(result, Trajectory)]
    if not whole:
        assert results, "a demonstration went without a word"
        return
    found = json.loads((one.folder / TRAJECTORY).read_bytes())
    low, checked = found["plan"]["low_actions"], []
    for trajectory in whole:
        _, high, annotator = trajectory.episode_id.split("/")
        sentence, actions = spoken(found, int(high), int(annotator))
        assert trajectory.instruction == " ".join(sentence.split())
        assert [list(ACTIONS)[number] for number in trajectory.actions] == [
            low[index]["discrete_action"]["action"] for index in actions
        ]
        for index, thing in zip(actions, trajectory.action_objects, strict=True):
            api = low[index].get("api_action") or {}
            assert thing == (api.get("receptacleObjectId") or api.get("objectId") or "").split("|")[0]
        checked.append((trajectory, actions))
    lists = [found.get("images", [])]
    if (one.folder / AUGMENTED).exists():
        try:
            lists.append(json.loads((one.folder / AUGMENTED).read_bytes())["images"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
    assert any(fits_somehow(images, checked, low) for images in lists)


def fits_somehow(images, checked, low):
    try:
        return fits(images, checked, low)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def imported_whole_or_not_at_all(sound, data):
    """The sound ones are imported whatever stands beside them, and what is written is whole."""
    one = damaged(data, sound)
    source = one.folder.parent
    out = source.parent / "set"
    shutil.rmtree(out, ignore_errors=True)
    others = [other.folder.name for other in sound if other is not one]
    for other in sound:
        if other is not one:
            other.restore()
    info, _ = import_alfred(source, out, AlfredSettings(annotators="first"))
    assert info.complete and read_info(out) == info
    dataset = TrajectoryDataset(out)
    assert not [problem for problem in dataset.problems() if not problem.is_note]
    names = {episode.episode_id.split("/")[0] for episode in dataset.episodes()}
    assert set(others) <= names
    shutil.rmtree(out)
    # Alone it is imported, or nothing is written.
    try:
        import_alfred(one.folder, out, AlfredSettings())
    except SettingsError:
        assert not out.exists()
    else:
        assert read_info(out).complete


def test_sound_files_are_imported(sound):
    for one, number in zip(sound, (4, 4, 4, 5), strict=True):
        one.restore()
        results = list(demonstration(one.folder / TRAJECTORY, one.folder.parent, AlfredSettings()))
        assert [type(result) for result in results] == [Trajectory] * number


@A_HUNDRED
@given(data=st.data())
def test_labels_of_damaged_files_are_the_files_own(sound, data):
    labels_are_the_files_own(sound, data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@TEN_THOUSAND
@given(data=st.data())
def test_labels_of_many_damaged_files_are_the_files_own(sound, data):
    labels_are_the_files_own(sound, data)


@pytest.mark.slow
@A_HUNDRED
@given(data=st.data())
def test_beside_damaged_files_sound_ones_are_imported_and_nothing_is_half_written(sound, data):
    imported_whole_or_not_at_all(sound, data)
