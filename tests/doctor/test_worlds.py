"""`likert env check`: what is found of an environment, and what is shown of it."""

import io
from functools import partial

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from actors.worlds.examining import examine
from actors.worlds.gymnasium.environment import GymnasiumWorld
from actors.worlds.gymnasium.settings import GymnasiumTask
from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.doctor import env_command, worlds
from orchestrator.doctor.findings import DoctorFailed, Unfit
from orchestrator.doctor.findings import examine as examine_check

SETTINGS = """
name: line
task:
  world: gymnasium
  name: line
  factory: tests.fakes.toy_envs:{factory}
  instruction: bring the <white> bar to the right end
  focus: the white bar
  image_px: 40
  episode_env_steps: 12
  success: {{key: is_success}}
feedback: {{segment: {{kind: trajectory, num_frames: 2, num_agent_steps: 4, layout: separate}}}}
reward_model: {{network: small, image_px: 36}}
rater: {{model: org/model, endpoint: "http://127.0.0.1:9/v1"}}
"""


def look(factory="Line", reward_px=36, **changes):
    """What is found of a toy, both times in this process."""
    task = GymnasiumTask(
        world="gymnasium", name="line", factory=f"tests.fakes.toy_envs:{factory}", instruction="go right",
        focus="the bar", **{"image_px": 40, "episode_env_steps": 12, "success": {"key": "is_success"}} | changes,
    )  # fmt: skip
    return worlds.Looked(task, reward_px, examine(task), examine(task))


def found(looked):
    """Findings by name."""
    return {name: examine_check(name, partial(check, looked)) for name, check in worlds._CHECKS.items()}


def test_of_a_good_one_all_is_well():
    findings = found(look())
    assert {one.status for one in findings.values()} == {"ok"}, findings
    assert findings["world"].text == "1 numbers seen, actions of 1 numbers from -2 to 0.5"
    assert findings["seeds"].text.endswith("also in another process; different seeds give different starts")
    assert "of at most 12, by random actions: " in findings["episodes"].text
    assert "told; by random actions " in findings["success"].text
    assert "40 x 20 pixels, fitted into 40 x 40" in findings["pictures"].text
    assert "look at the contact sheet whether they are upright" in findings["pictures"].text


@pytest.mark.parametrize(
    ("factory", "changes", "name", "status", "text"),
    [
        ("Chance", {}, "seeds", "warning", "two resets by one seed in one process give different starts"),
        ("Tired", {}, "seeds", "warning", "equal seeds and actions give different episodes in one process"),
        ("Line", {"success": None}, "success", "ok", "unknown: returns are shown"),
        ("Begun", {}, "success", "warning", "began with the task done"),
        ("Flat", {}, "pictures", "failure", "some frames are black or of one colour"),
        ("Line", {"image_px": 48}, "pictures", "warning", "they are enlarged, which shows nothing more"),
        ("Still", {}, "change", "failure", "no picture ever changed"),
        ("Speck", {"image_px": 200}, "change", "warning", "too little to learn from"),
        ("Line", {"episode_env_steps": 1}, "episodes", "warning", "nothing can be seen to change"),
    ],
)
def test_what_is_wrong_is_found_with_what_to_do(factory, changes, name, status, text):
    finding = found(look(factory, **changes))[name]
    assert (finding.status, bool(finding.remedy)) == (status, status != "ok") and text in finding.text, finding


def test_choices_grids_and_instructions_are_told():
    looked = look("Errands", grid_key="grid", instruction_key="errand", success="termination")
    findings = found(looked)
    assert findings["world"].text == (
        "a grid of 1 x 5 cells seen, 3 planes of 3 categories, an action is one of 3 choices"
    )
    assert findings["words"].text == (
        "20 episodes say 2 different instructions, the longest in 5 words: 'go to the left end', 'go to the right end'"
    )
    assert findings["seeds"].status == "ok" and {one.instruction for one in looked.episodes} <= set(
        looked.one.instructions
    )
    assert found(look())["words"].text == "all episodes: 'go right'"


def test_an_instruction_that_chance_draws_is_no_equal_episode(monkeypatch):
    said = iter(range(100))
    monkeypatch.setattr(GymnasiumWorld, "instruction", lambda self: f"go {next(said)}")
    assert found(look())["seeds"].status == "warning"


def test_what_minigrid_adds_to_its_pictures_is_told():
    task = GymnasiumTask(
        world="gymnasium", name="go", env_id="minigrid:BabyAI-GoToLocal-v0", instruction="go", focus="the triangle",
        image_px=64, episode_env_steps=8,
    )  # fmt: skip
    lit, plain = task, task.model_copy(update={"kwargs": {"highlight": False}})
    told = [worlds.check_pictures(worlds.Looked(one, 64, *[examine(one)] * 2)) for one in (lit, plain)]
    assert "task.kwargs: {highlight: false}" in told[0] and "lighter" not in told[1]


def test_other_processes_that_see_other_things_are_told():
    looked, other = look(), look(kwargs={"step": 0.1})
    mixed = worlds.Looked(looked.task, 36, looked.one, other.one)
    with pytest.raises(Unfit, match="equal seeds and actions give different episodes in two processes"):
        worlds.check_seeds(mixed)


def test_a_camera_that_stands_on_its_head_is_found():
    task = GymnasiumTask(
        world="gymnasium", name="cheetah", env_id="HalfCheetah-v5", instruction="run", focus="the cheetah", image_px=64,
        draw_again=False,
    )  # fmt: skip
    world = GymnasiumWorld(task)
    world.reset(0)
    world.frame()
    assert world.picture_facts().upright is True
    model = world._env.unwrapped.model
    # Half a turn about its own line of sight, of a camera that no longer follows.
    model.cam_mode[0] = 0
    w, x, y, z = model.cam_quat[0]
    model.cam_quat[0] = [-z, y, -x, w]
    world.reset(0)
    world.frame()
    assert world.picture_facts().upright is False
    world.close()


def check(tmp_path, *overrides, factory="Line"):
    file = tmp_path / "line.yaml"
    file.write_text(SETTINGS.format(factory=factory))
    return file, overrides


def test_the_page_shows_the_very_words_and_frames(tmp_path, monkeypatch):
    file, _ = check(tmp_path)
    monkeypatch.setattr(worlds, "examine_apart", lambda task: (examine(task), examine(task)))
    console = Console(file=io.StringIO(), width=200)
    env_command.check_env(file, ["rater.mode=two_turn"], tmp_path / "out", console)
    page = (tmp_path / "out/index.html").read_text()
    assert "steps, bring the &lt;white&gt; bar to the right end</h3>" in page
    assert (
        "Its task: bring the &lt;white&gt; bar to the right end" in page
        and "Analyse how far the task is completed" in page
    )
    # Two questions of two pictures each, and at most eight frames of two episodes.
    assert page.count("picture 1</figcaption>") == page.count("picture 2</figcaption>") == 2
    assert "http" not in page.replace("http-equiv", "")
    sheet = decode_png((tmp_path / "out/frames.png").read_bytes())
    assert sheet.shape[0] == 6 + 2 * (40 + 2 * 16 + 6) and (sheet == 255).any()
    assert "all is well" not in console.file.getvalue() and "ok    seeds" in console.file.getvalue()


def test_a_failed_check_ends_with_1_and_a_world_that_cannot_be_had_shows_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(worlds, "examine_apart", lambda task: (examine(task), examine(task)))
    file, _ = check(tmp_path, factory="Still")
    with pytest.raises(DoctorFailed, match="2 of 8 checks failed: pictures, change"):
        env_command.check_env(file, [], tmp_path / "still", Console(file=io.StringIO()))
    assert (tmp_path / "still/index.html").exists()
    file, _ = check(tmp_path, factory="NoSuch")
    console = Console(file=io.StringIO(), width=300)
    with pytest.raises(DoctorFailed, match="1 of 8 checks failed: world"):
        env_command.check_env(file, [], tmp_path / "none", console)
    assert "has no attribute 'NoSuch'" in console.file.getvalue()
    assert "note  seeds       not looked at: the environment cannot be had" in console.file.getvalue()
    assert not (tmp_path / "none").exists()


def test_by_command(tmp_path):
    file, _ = check(tmp_path)
    done = CliRunner().invoke(app, ["env", "check", str(file), "task.success=null", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "equal seeds give equal episodes, also in another process" in done.output
    assert (tmp_path / "out/frames.png").exists()
    bad = CliRunner().invoke(app, ["env", "check", str(file), "task.image=3"])
    assert bad.exit_code == 2 and "task.image" in bad.output
    offline = CliRunner().invoke(app, ["env", "check", "tune_configs/rg_vlm/iql.yaml"])
    assert offline.exit_code == 2 and "acts in no environment" in offline.output


def test_pictures_of_other_steps_are_not_taken_for_changes():
    episode = look().one.episodes[0]
    moved = np.array(episode.changed)
    assert len(moved) == episode.num_agent_steps and ((moved > 0) & (moved < 0.2)).sum() > len(moved) // 2
