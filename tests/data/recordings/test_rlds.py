"""RLDS in TFDS folders: records, features and shards as TFDS 4.9 writes them, made without it."""

import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.rlds import RldsSettings, import_rlds
from orchestrator.data.recordings.tfrecord import example_message, features_of, framed, records
from orchestrator.errors import LikertError, SettingsError
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND, fuzzed

pytest.importorskip("google_crc32c")
STEPS = (4, 6, 3)
"""Of three episodes: one more than actions."""
SHARDS = ((0, 1), (2,))


def tensor(dtype, *sizes):
    shape = {"dimensions": [str(size) for size in sizes]} if sizes else {}
    return {"tensor": {"dtype": dtype, "encoding": "none", "shape": shape}}


def block(**features):
    return {"featuresDict": {"features": features}}


STEP = {
    "observation": block(image={"image": {"shape": {"dimensions": ["8", "12", "3"]}}}, grid=tensor("uint8", 7, 7, 3),
                         raw=tensor("uint8", 32, 32, 3), state=tensor("float32", 2)),
    "action": tensor("float32", 2), "choice": {"classLabel": {"numClasses": "3"}}, "turn": tensor("int32"),
    "parts": block(hand=tensor("float32"), arm=tensor("float64", 2)), "reward": tensor("float32"),
    "is_first": tensor("bool"), "is_last": tensor("bool"), "is_terminal": tensor("bool"),
    "language_instruction": {"text": {}}, "other": {"text": {}},
}  # fmt: skip


def png(grey):
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


def episode(number, real_last=False):
    """Lists by name; rewards come one step before the last."""
    length = STEPS[number]
    steps = np.arange(length)
    padding = np.zeros((length, 2)) + (1 if real_last else (steps < length - 1)[:, None])
    greys = 60 * number + 5 * steps
    lists = {
        "steps/observation/image": [png(int(grey)) for grey in greys],
        "steps/observation/raw": np.repeat(greys, 32 * 32 * 3).tolist(),
        "steps/observation/grid": [0] * (147 * length), "steps/observation/state": [0.0] * (2 * length),
        "steps/action": (padding * np.stack([steps / 10 + 0.1, -steps / 10], axis=1)).ravel().tolist(),
        "steps/choice": (steps % 3).tolist(), "steps/turn": (steps % 2).tolist(),
        "steps/parts/hand": (steps * 1.0).tolist(), "steps/parts/arm": np.repeat(steps * 2.0, 2).tolist(),
        "steps/reward": (1.0 * (steps == length - 2) * (number != 1)).tolist(),
        "steps/is_first": (steps == 0).astype(int).tolist(),
        "steps/is_last": (steps == length - 1).astype(int).tolist(),
        "steps/is_terminal": (steps == length - 1).astype(int).tolist(),
        "steps/language_instruction": [f"task {number}".encode()] * length, "steps/other": [b"x"] * length,
    }  # fmt: skip
    return lists


def serialized(lists):
    example = example_message()
    for name, values in lists.items():
        first = values[0] if values else 0
        kind = "bytes" if isinstance(first, bytes) else "float" if isinstance(first, float) else "int64"
        getattr(example.features.feature[name], f"{kind}_list").value.extend(values)
    return example.SerializeToString()


def write(folder, change=None, step=STEP, **more):
    """The folder of a version."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    features = block(steps={"sequence": {"feature": block(**step), "length": "-1"}})
    (folder / "features.json").write_text(json.dumps(features))
    split = {"name": "train", "shardLengths": [str(len(numbers)) for numbers in SHARDS]}
    info = {"name": "arm", "fileFormat": "tfrecord", "splits": [split]} | more
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for index, numbers in enumerate(SHARDS):
        content = b""
        for number in numbers:
            lists = episode(number)
            if change is not None:
                lists = change(number, lists) or lists
            content += framed(serialized(lists))
        (folder / f"arm-train.tfrecord-{index:05d}-of-00002").write_bytes(content)
    return folder


def imported(source, folder, **settings):
    settings = {"camera": "observation/image", **settings}
    _, num_problems = import_rlds(source, folder, RldsSettings(**settings))
    return {one.episode_id: one for one in TrajectoryDataset(folder).episodes()}, num_problems


def greys(trajectory):
    return [round(float(decode_png(frame).mean())) for frame in trajectory.frames]


@pytest.mark.parametrize("camera", ["observation/image", "observation/raw"])
@pytest.mark.parametrize("last_step", [None, "padding", "action"])
def test_each_episode_has_its_frames_actions_and_instruction(tmp_path, camera, last_step, capsys):
    source = write(tmp_path / "arm/1.0.0")
    episodes, num_problems = imported(source, tmp_path / "set", camera=camera, last_step=last_step)
    assert num_problems == 0 and list(episodes) == [f"episode-{number:06d}" for number in range(3)]
    second = episodes["episode-000001"]
    # The last step's action is left out, whatever it is.
    assert greys(second) == [60, 65, 70, 75, 80, 85] and len(second) == 5
    np.testing.assert_allclose(second.actions[1], [0.2, -0.1], rtol=1e-6)
    assert [one.instruction for one in episodes.values()] == ["task 0", "task 1", "task 2"]
    assert [bool(one.sparse_rewards.sum()) for one in episodes.values()] == [True, False, True]
    assert second.truncated[-1] and not second.terminated.any()
    assert episodes["episode-000000"].audits["reward"].tolist() == [0, 0, 1]
    assert "keep real ones" not in capsys.readouterr().err


def test_real_actions_in_last_steps_are_seen_and_their_rewards_count_if_told(tmp_path, capsys):
    def change(number, _):
        lists = episode(number, real_last=True)
        lists["steps/reward"] = [0.0] * (STEPS[number] - 1) + [1.0]
        return lists

    source = write(tmp_path / "arm/1.0.0", change)
    episodes, _ = imported(source, tmp_path / "set")
    assert "note: the actions of last steps are not zero" in capsys.readouterr().err
    assert not any(one.sparse_rewards.sum() for one in episodes.values())
    episodes, _ = imported(source, tmp_path / "other", last_step="action")
    assert all(one.sparse_rewards[-1] == 1 for one in episodes.values()) and len(episodes["episode-000000"]) == 3
    assert "keep real ones" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"action_keys": ["parts/hand", "parts/arm"]}, [[0, 0, 0], [1, 2, 2], [2, 4, 4]]),
        ({"action_keys": ["choice"]}, [0, 1, 2]),
        ({"action_keys": ["turn"], "action_names": ["left", "right"]}, [0, 1, 0]),
        ({"every": 2, "actions": "relative", "action_keys": ["parts/hand"]}, [[3]]),
    ],
)
def test_actions_of_every_kind(tmp_path, settings, wanted):
    episodes, num_problems = imported(write(tmp_path / "arm/1.0.0"), tmp_path / "set", **settings)
    assert num_problems == 0
    assert episodes["episode-000000"].actions.tolist() == wanted


def test_success_by_the_episodes_own_flag(tmp_path):
    def change(number, lists):
        return lists | {"episode_metadata/success": [int(number == 1)]}

    episodes, _ = imported(write(tmp_path / "arm/1.0.0", change), tmp_path / "set")
    assert [bool(one.sparse_rewards.sum()) for one in episodes.values()] == [False, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"camera": None}, "must be one of the pictures .* observation/image, observation/raw; .*: observation/grid"),
        ({"action_keys": ["parts"]}, r"such as '\[action\]'; steps have .*parts/hand"),
        ({"action_keys": ["turn"]}, "turn is a whole number: name the choices"),
        ({"split": "test"}, "split = test: must be one of train"),
        ({"instruction_key": "x"}, "must be one of the texts of the recording: language_instruction, other"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        imported(write(tmp_path / "arm/1.0.0"), tmp_path / "set", **settings)


def test_folders_that_are_not_read_say_why(tmp_path):
    with pytest.raises(SettingsError, match=r"has no features\.json; name that of one version"):
        imported(tmp_path, tmp_path / "set")
    with pytest.raises(SettingsError, match=r"its files are 'array_record'.*convert_format"):
        imported(write(tmp_path / "arm/1.0.0", fileFormat="array_record"), tmp_path / "set")
    step = {name: one for name, one in STEP.items() if name not in ("language_instruction", "other")}
    source = write(tmp_path / "arm/1.0.0", step=step)
    with pytest.raises(SettingsError, match="set it for all, as instruction="):
        imported(source, tmp_path / "set")
    assert imported(source, tmp_path / "set", instruction="do it")[0]["episode-000002"].instruction == "do it"


def test_damage_costs_the_episodes_that_it_is_in(tmp_path, capsys):
    source = write(tmp_path / "arm/1.0.0")
    path = source / "arm-train.tfrecord-00000-of-00002"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    episodes, num_problems = imported(source, tmp_path / "one")
    assert list(episodes) == ["episode-000001", "episode-000002"] and num_problems == 1
    assert "record 0: its bytes are not those that its checksum is of" in capsys.readouterr().err
    content[3] ^= 1
    path.write_bytes(content)
    assert list(imported(source, tmp_path / "two")[0]) == ["episode-000002"]
    assert "nothing behind it can be found; lost: 2 episodes" in capsys.readouterr().err
    path.unlink()
    done = CliRunner().invoke(app, ["data", "rlds", str(source), str(tmp_path / "three"), "camera=observation/image"])
    assert done.exit_code == 1 and "1 episode, 2 actions" in done.stdout and "cannot be read" in done.stderr


def test_an_episode_with_lists_that_do_not_fit_is_left_out(tmp_path, capsys):
    def change(number, lists):
        if number == 1:
            lists["steps/action"] = lists["steps/action"][:-1]

    episodes, num_problems = imported(write(tmp_path / "arm/1.0.0", change), tmp_path / "set")
    assert list(episodes) == ["episode-000000", "episode-000002"] and num_problems == 1
    assert "action has 11 numbers, but must have 2 in each of 6 steps" in capsys.readouterr().err


def test_records_and_examples(tmp_path):
    # As TensorFlow frames an empty record, and one of three bytes.
    assert framed(b"abc")[:8] == (3).to_bytes(8, "little") and len(framed(b"abc")) == 19
    (tmp_path / "x").write_bytes(framed(b"") + framed(b"abc"))
    assert list(records(tmp_path / "x")) == [b"", b"abc"]
    lists = {"a": [b"x", b""], "b": [0.5], "c": [-1, 2**40]}
    assert features_of(serialized(lists)) == lists
    # {'a': int64_list [1]}, byte by byte.
    assert features_of(bytes.fromhex("0a0c0a0a0a016112051a030a0101")) == {"a": [1]}
    with pytest.raises(ImportProblem, match=r"no tf\.train\.Example"):
        features_of(b"\xff\xff")


def check_damaged(data, folder):
    """A byte, a list or a file is wrong: what is imported is as it was written, and never a traceback."""

    def change(number, lists):
        if not is_bytes and number == which:
            name = data.draw(st.sampled_from(sorted(lists)))
            lists[name] = data.draw(st.sampled_from([lists[name][:-1], [], lists[name] * 2, [b"x"] * len(lists[name])]))

    is_bytes, which = data.draw(st.booleans()), data.draw(st.integers(0, 2))
    source = write(folder / "arm/1.0.0", change)
    if is_bytes:
        path = data.draw(st.sampled_from(sorted(source.iterdir())))
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        else:
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        path.write_bytes(content)
    shutil.rmtree(folder / "set", ignore_errors=True)
    try:
        episodes, _ = imported(source, folder / "set")
    except LikertError:
        return 0
    for name, one in episodes.items():
        number = int(name[-1])
        assert greys(one) == [60 * number + 5 * step for step in range(STEPS[number])] and one.instruction
        assert len(one) == STEPS[number] - 1 and np.isfinite(one.actions).all()
    return len(episodes)


def test_a_hundred_folders_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert {0, 2, 3} <= fuzzed(A_HUNDRED, lambda data: check_damaged(data, tmp_path / "one"))


@pytest.mark.slow
def test_ten_thousand_folders_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    fuzzed(TEN_THOUSAND, lambda data: check_damaged(data, tmp_path / "one"))
