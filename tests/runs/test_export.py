"""Policies that leave the house: played by torch alone they act as in it, and are written whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from actors.worlds.gymnasium.settings import GymnasiumTask
from algorithms.acting import InstructedActor, actor_from_numpy
from algorithms.action_scale import ActionScale
from algorithms.actor_network import SquashedGaussianActor
from algorithms.instructions import Vocabulary
from algorithms.language_actor import LanguageActor
from algorithms.language_networks import PolicyShape
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.pixel_frames import FrameStack
from orchestrator.cli.main import app
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.runs.layout import BEST_POLICY_FILE, POLICY_ABOUT_FILE, POLICY_FILE
from orchestrator.runs.policies.exporting import PLAYER, ExportedPolicy, write_export
from orchestrator.runs.policies.language import about_policy, note_policy, player_weights
from orchestrator.runs.policies.simulated import best_policy
from orchestrator.storage.writing import read_arrays, write_arrays

MADE = Path(__file__).parents[1] / "made_before" / "runs"
WORDS = ("cloth", "fold", "the", "twice")
TEXTS = ["fold the cloth", "Fold, quickly, the cloth!"]
STEPS = 6

PLAY = """
import importlib.abc, json, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("algorithms", "actors", "orchestrator", "numpy", "safetensors", "ray"):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Nothing())
import torch

torch.set_num_threads(1)
played = {}
for folder, episodes in json.loads(sys.stdin.read()).items():
    space = {"__name__": "player", "__file__": folder + "/player.py"}
    exec(compile(open(folder + "/player.py").read(), "player.py", "exec"), space)
    player, played[folder] = space["Player"](), []
    for asked, observations in episodes:
        player.begin(asked)
        actions = [player.act(torch.tensor(one)) for one in observations]
        played[folder].append([one if isinstance(one, list) else one.tolist() for one in actions])
print(json.dumps(played))
"""


def info(kind, names):
    return DatasetInfo(name="set", source="test", actions=ActionSpace(kind=kind, names=names), frame_px=(24, 32))


def language_policy(shape, network, observe, scale=None, objects=()):
    """A policy with weights at random, what is written of it, and how it acts in the house."""
    torch.manual_seed(0)
    actor = LanguageActor(shape, network).eval()
    for weights in actor.parameters():
        # Layers' own beginnings are near nothing, where wrong arithmetic would not show.
        torch.nn.init.normal_(weights, std=0.25 if scale else 0.5)
    names = ("lift", "turn", "grip") if scale else tuple(map(str, range(shape.num_actions)))
    reads = ("sentences", None) if not shape.num_words else None
    about = about_policy(
        shape,
        network,
        observe,
        WORDS,
        reads,
        objects,
        scale,
        info("continuous" if scale else "discrete", names),
        Path("set"),
    )

    def act(asked, observations):
        encoded = (
            Vocabulary(WORDS).encode([asked], shape.instruction_length) if shape.num_words else np.float32([asked])
        )
        latest, actions = [observations[0]] * network.history, []
        for one in observations:
            latest = [*latest[1:], one]
            done = actor.act(torch.from_numpy(np.stack(latest))[None], torch.from_numpy(encoded))[0].numpy()
            actions.append(scale.unscale(done).tolist() if scale else np.atleast_1d(done).tolist())
        return actions

    return ExportedPolicy(player_weights(actor.numpy_weights(), about["actions"]), about), act


NETWORK = PolicyNetworkSettings(channels=4, hidden=(12, 8), instruction_size=8, history=2)
SCALE = ActionScale((-90.0, 0.0, 3.25), (90.0, 0.04, 3.25))
CASES = {
    "arm": (PolicyShape("image", (24, 32, 3), 0, len(WORDS) + 2, 7, 0, 2), NETWORK, "frame", SCALE),
    "grid": (
        PolicyShape("grid", (5, 6, 3), 12, len(WORDS) + 2, 7, 7, 7),
        NETWORK.model_copy(update={"history": 1}), "symbolic",
    ),
    "objects": (PolicyShape("image", (16, 16, 3), 0, 0, 5, 4, 7, 3), NETWORK, "frame", None, ("", "Mug", "Pan")),
}  # fmt: skip


HASHED = {"num_categories": 0, "num_words": 64, "instruction_length": 7}
INSTRUCTED = {
    "errands": PolicyShape("grid", (2, 5, 3), **HASHED | {"num_categories": 4}, num_actions=3, action_size=3),
    "choices": PolicyShape("vector", (4,), **HASHED, num_actions=3, action_size=3),
    "pushes": PolicyShape("vector", (4,), **HASHED, num_actions=0, action_size=2),
    "looks": PolicyShape("image", (16, 16, 3), **HASHED, num_actions=0, action_size=2),
}
"""Policies of online runs that follow instructions."""


def instructed(folder, name, shape, rng):
    """Export such a run's policy; what it does in the house, and what the player is to be asked."""
    network = NETWORK.model_copy(update={"history": 2 if shape.kind == "image" else 1})
    torch.manual_seed(1)
    actor = LanguageActor(shape, network).eval()
    for weights in actor.parameters():
        torch.nn.init.normal_(weights, std=0.5 if shape.num_actions else 0.25)
    kept = actor.numpy_weights() | InstructedActor.told(shape, network, 1.0)
    (folder / f"{name}-run").mkdir()
    write_arrays(folder / f"{name}-run" / BEST_POLICY_FILE, kept | {"about.env_steps": np.array(7)})
    world = {"says_instruction": True, "action_low": [-2.0, -1.0], "action_high": [2.0, 3.0]}
    task = GymnasiumTask(
        world="gymnasium", name=name, env_id="Toy-v0", instruction="do it", focus="it", episode_env_steps=5
    )
    write_export(folder / name, best_policy(folder / f"{name}-run", task, world), "kind: online\n")
    acting, episodes, done = actor_from_numpy(kept), [], []
    for text in TEXTS:
        seen = rng.normal(size=(STEPS, *shape.observation_shape)).astype(np.float32)
        if shape.kind != "vector":
            bright = rng.integers(1, 5, size=(STEPS, 1, 1, 1)) if shape.kind == "image" else 4
            seen = (rng.integers(shape.num_categories or 256, size=seen.shape) * bright // 4).astype(np.uint8)
        episodes.append((text, seen.tolist()))
        stack, actions = FrameStack(2), []
        for one in seen:
            stack.push(one)
            stacked = torch.from_numpy(stack.stacked()[None]) if shape.kind == "image" else None
            action = acting.act(torch.from_numpy(one.astype(np.float32).reshape(1, -1)), [text], None, stacked)[0]
            if not shape.num_actions:
                action = 2.0 * action.double() + torch.tensor([0.0, 1.0])
            actions.append(action.tolist())
        done.append(actions)
    return done, episodes


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """For each case, what the player of its folder did and what the policy does in the house."""
    folder = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(0)
    asked, expected = {}, {}
    for name, (shape, network, *more) in CASES.items():
        policy, act = language_policy(shape, network, *more)
        write_export(folder / name, policy, "kind: offline\n")
        most = shape.num_categories or 256
        # Pictures of noise alone look all alike.
        bright = rng.integers(1, 5, size=(STEPS, 1, 1, 3)) if shape.kind == "image" else 4
        episodes = [
            (TEXTS[number] if shape.num_words else rng.normal(size=5).tolist(),
             (rng.integers(most, size=(STEPS, *shape.observation_shape)) * bright // 4).astype(np.uint8))
            for number in range(2)
        ]  # fmt: skip
        expected[name] = [act(*one) for one in episodes]
        asked[str(folder / name)] = [(text, seen.tolist()) for text, seen in episodes]
    # An online run that an older version made.
    run = shutil.copytree(MADE / "online-seed0", folder / "run")
    assert CliRunner().invoke(app, ["export", str(run), str(folder / "state")]).exit_code == 0
    arrays = {name: one for name, one in read_arrays(run / BEST_POLICY_FILE).items() if not name.startswith("about.")}
    states = rng.normal(size=(STEPS, 39)).astype(np.float32)
    expected["state"] = [SquashedGaussianActor.from_numpy(arrays).act(torch.from_numpy(states)).tolist()]
    asked[str(folder / "state")] = [(None, states.tolist())]
    for name, shape in INSTRUCTED.items():
        expected[name], asked[str(folder / name)] = instructed(folder, name, shape, rng)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", PLAY], input=json.dumps(asked), capture_output=True, text=True, check=False,
        cwd=folder, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = {Path(name).name: actions for name, actions in json.loads(done.stdout.splitlines()[-1]).items()}
    return folder, found, expected


@pytest.mark.parametrize("name", [*CASES, "state", *INSTRUCTED])
def test_the_player_acts_as_the_policy_does_in_the_house(played, name):
    _, found, expected = played
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    # The observations matter, and so does what was asked.
    assert len({str(action) for episode in found[name] for action in episode}) > 1


def test_actions_come_in_the_recordings_units_and_constants_as_they_were(played):
    _, found, _ = played
    actions = np.array(found["arm"]).reshape(-1, 3)
    assert np.abs(actions[:, 0]).max() > 1.0 and (actions[:, 1] >= 0.0).all() and (actions[:, 1] <= 0.04).all()
    assert (actions[:, 2] == 3.25).all()


def test_what_an_exported_folder_holds(played):
    folder, _, _ = played
    assert sorted(path.name for path in (folder / "arm").iterdir()) == [
        "player.py", "policy.json", "policy.safetensors", "settings.yaml"
    ]  # fmt: skip
    assert len(PLAYER.read_text().splitlines()) <= 70
    about = json.loads((folder / "arm/policy.json").read_text())
    assert about["actions"] == {
        "kind": "continuous", "names": ["lift", "turn", "grip"], "low": [-90.0, 0.0, 3.25],
        "high": [90.0, 0.04, 3.25], "edge": 0.9,
    }  # fmt: skip
    assert about["likert_rl"] and about["data"]["name"] == "set" and about["format"] == 1
    assert all(array.dtype == np.float32 for array in load_file(folder / "arm/policy.safetensors").values())
    state = json.loads((folder / "state/policy.json").read_text())
    assert state["run"]["weights"] == BEST_POLICY_FILE and state["run"]["env_steps"] > 0
    assert (folder / "state/settings.yaml").read_text().startswith("kind: online")
    told = json.loads((folder / "errands/policy.json").read_text())
    assert told["use"]["begin"] == "each episode, with its instruction" and told["instruction"]["hashed_ids"] == 64
    assert told["actions"] == {"kind": "discrete", "names": ["action_0", "action_1", "action_2"]}
    assert told["run"] == {"name": "errands-run", "weights": BEST_POLICY_FILE, "env_steps": 7}


def test_larger_pictures_are_averaged_and_long_instructions_are_named(played):
    folder, _, _ = played
    space = {"__file__": str(folder / "arm/player.py")}
    exec(compile(PLAYER.read_text(), "player.py", "exec"), space)
    player, small = space["Player"](), np.random.default_rng(1).integers(256, size=(24, 32, 3), dtype=np.uint8)
    actions = []
    for picture in (small, small.repeat(2, axis=0).repeat(2, axis=1)):
        player.begin(TEXTS[0])
        actions.append(player.act(picture).tolist())
    assert actions[0] == actions[1]
    with pytest.raises(ValueError, match="has 8 words; 1 to 7 can be read"):
        player.begin("a b c d e f g h")


def test_a_folder_with_something_in_it_is_refused_and_half_a_folder_is_never_left(tmp_path, monkeypatch):
    policy, _ = language_policy(*CASES["arm"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes").write_text("mine")
    (tmp_path / "file").write_text("")
    for name in ("full", "file"):
        with pytest.raises(SettingsError, match="is not empty"):
            write_export(tmp_path / name, policy, "")
    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.runs.policies.exporting.write_text", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_export(tmp_path / "half", policy, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    (tmp_path / "empty").mkdir()
    assert len(write_export(tmp_path / "empty", policy, "")) == 4


def test_a_run_keeps_to_the_units_that_it_began_with(tmp_path):
    policy, _ = language_policy(*CASES["arm"])
    note_policy(tmp_path, policy.about, has_begun=False)
    note_policy(tmp_path, policy.about, has_begun=True)
    other, _ = language_policy(*CASES["arm"][:3], replace(SCALE, high=(180.0, 0.04, 3.25)))
    with pytest.raises(SettingsError, match=r"by `likert data bounds set lift=-90.0,90.0 turn=0.0,0.04 grip=3"):
        note_policy(tmp_path, other.about, has_begun=True)
    assert json.loads((tmp_path / POLICY_ABOUT_FILE).read_text())["actions"]["high"][0] == 90.0
    note_policy(tmp_path, other.about, has_begun=False)
    # A run of before noted nothing: it learned from actions as they are.
    (tmp_path / POLICY_ABOUT_FILE).unlink()
    with pytest.raises(SettingsError, match=r"have changed since the run in .* began. Begin a run of another name"):
        note_policy(tmp_path, other.about, has_begun=True)
    same, _ = language_policy(*CASES["arm"][:3], ActionScale.identity(3))
    note_policy(tmp_path, same.about, has_begun=True)


def test_the_newest_checkpoint_serves_where_there_is_no_end_and_what_is_missing_is_said(tmp_path):
    def export(out):
        done = CliRunner().invoke(app, ["export", str(run), str(tmp_path / out)])
        return done.exit_code, done.output

    run = shutil.copytree(MADE / "offline-seed0", tmp_path / "run")
    code, output = export("a")
    assert code == 2 and "policy.json: an older likert-rl made it" in output and "likert run" in output
    note_policy(run, language_policy(*CASES["grid"])[0].about, has_begun=True)
    assert export("a")[0] == 0
    weights = read_arrays(run / POLICY_FILE)
    (run / POLICY_FILE).unlink()
    code, output = export("b")
    assert code == 2 and "has no policy yet" in output and not (tmp_path / "b").exists()
    (checkpoint,) = (run / "checkpoints").iterdir()
    write_arrays(checkpoint / POLICY_FILE, weights)
    assert export("b")[0] == 0
    assert json.loads((tmp_path / "b/policy.json").read_text())["run"]["weights"].startswith("checkpoints/env-steps-")
    assert (tmp_path / "a/policy.safetensors").read_bytes() == (tmp_path / "b/policy.safetensors").read_bytes()
    code, output = export("b")
    assert code == 2 and "is not empty" in output
    run = tmp_path / "nothing"
    assert export("c")[0] == 2 and not (tmp_path / "c").exists()
