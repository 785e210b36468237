"""Frames: upright, unmirrored, as the live simulator would draw them, and the same wherever they are drawn."""

import functools
import gc
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from actors.worlds import opengl
from actors.worlds.metaworld.environment import TaskEnvironment
from actors.worlds.metaworld.renderer import FrameRenderer, check_task
from actors.worlds.metaworld.settings import (
    META_WORLD_ENVS,
    STOCK_CAMERAS,
    CameraSettings,
    FixedStartSettings,
    MetaWorldTask,
)
from algorithms.episodes import Scene

MAGENTA = (1.0, 0.0, 1.0, 1.0)
GENERAL_VIEW = CameraSettings(position=(0.65, 0.15, 0.7), look_at=(0.0, 0.78, 0.12))
BALL = slice(9, 12)
"""The soccer ball's position among the joint positions."""

TASKS = ("drawer-open-v3", "soccer-v3", "sweep-into-v3", "button-press-v3", "door-close-v3", "window-close-v3")


def make_task(env_id="drawer-close-v3", **changes):
    settings = {"image_px": 96, "episode_env_steps": 20, "camera": GENERAL_VIEW, **changes}
    return MetaWorldTask(name="task", env_id=env_id, instruction="do it", focus="the thing", **settings)


@functools.cache
def episode(env_id, num_steps=3, seed=0):
    """Scene and frame states [num_steps + 1, F] of a random episode."""
    env = TaskEnvironment(make_task(env_id))
    env.reset(seed)
    states = [env.frame_state()]
    for action in np.random.default_rng(seed).uniform(-1, 1, (num_steps, 4)):
        env.step(action)
        states.append(env.frame_state())
    return env.scene(), np.stack(states)


@functools.cache
def shared_renderer(task_json):
    return FrameRenderer(MetaWorldTask.model_validate_json(task_json))


def draw(task, scene, states):
    """Frames by one renderer per task, so that many take turns in this process."""
    return shared_renderer(task.model_dump_json()).render(scene, states)


@functools.cache
def started_env(env_id):
    """An environment right after its reset with seed 0."""
    env = TaskEnvironment(make_task(env_id))
    env.reset(0)
    return env


def magenta_centre(frame):
    """Column and row of the middle of what is painted magenta, in pixels."""
    red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
    rows, columns = np.nonzero((red > 60) & (blue > 60) & (green < 0.3 * red))
    assert len(rows) >= 4, "the painted object is not in the picture"
    return np.array([columns.mean(), rows.mean()])


def moved(state, shift):
    """The frame state with the soccer ball elsewhere."""
    changed = state.copy()
    changed[BALL] += shift
    return changed


def ball_task(camera, image_px=96):
    """Nothing but a magenta ball on the field."""
    colours = {"soccer_ball": MAGENTA}
    return make_task("soccer-v3", camera=camera, image_px=image_px, robot_visible=False, object_colours=colours)


@pytest.mark.parametrize("camera", STOCK_CAMERAS)
def test_stock_cameras_are_upright_and_unmirrored(camera):
    scene, states = episode("soccer-v3")
    forward = -started_env("soccer-v3").simulator.data.cam(camera).xmat.reshape(3, 3)[:, 2]
    # These two look straight down, where upright means that the robot looks up the picture.
    up = np.array([0.0, 1.0, 0.0] if camera in ("topview", "gripperPOV") else [0.0, 0.0, 1.0])
    right = np.cross(forward, up) / np.linalg.norm(np.cross(forward, up))
    variants = np.stack([states[0], moved(states[0], 0.04 * up), moved(states[0], 0.04 * right)])
    here, above, beside = (magenta_centre(frame) for frame in draw(ball_task(camera, 240), scene, variants))
    assert above[1] < here[1] - 2.0
    assert abs(above[0] - here[0]) < 0.3 * (here[1] - above[1])
    assert beside[0] > here[0] + 2.0
    assert abs(beside[1] - here[1]) < 0.3 * (beside[0] - here[0])


@pytest.mark.parametrize("camera", STOCK_CAMERAS)
def test_stock_cameras_show_things_where_projection_puts_them(camera):
    scene, states = episode("soccer-v3")
    env = started_env("soccer-v3")
    data, camera_id = env.simulator.data, env.simulator.model.camera(camera).id
    # MetaWorld hangs its corner cameras upside down: their own axes point left and down in an upright picture.
    sign = -1.0 if camera.startswith("corner") else 1.0
    x, y, z = data.cam_xmat[camera_id].reshape(3, 3).T @ (env.object_position() - data.cam_xpos[camera_id])
    focal_px = 120.0 / np.tan(np.radians(env.simulator.model.cam_fovy[camera_id]) / 2.0)
    expected = 119.5 + sign * focal_px * np.array([x, -y]) / -z
    np.testing.assert_allclose(magenta_centre(draw(ball_task(camera, 240), scene, states[:1])[0]), expected, atol=2.5)


def test_own_camera_looks_at_its_point_with_z_up():
    scene, states = episode("soccer-v3")
    ball = states[0][BALL].astype(float)
    camera = CameraSettings(position=tuple(ball + np.array([0.5, -0.4, 0.4])), look_at=tuple(ball))
    centred, raised = draw(ball_task(camera), scene, np.stack([states[0], moved(states[0], [0.0, 0.0, 0.05])]))
    np.testing.assert_allclose(magenta_centre(centred), [47.5, 47.5], atol=1.0)
    np.testing.assert_allclose(magenta_centre(raised)[0], 47.5, atol=1.0)
    assert magenta_centre(raised)[1] < 45.0


def test_own_camera_may_look_straight_down():
    scene, states = episode("soccer-v3")
    ball = states[0][BALL].astype(float)
    camera = CameraSettings(position=tuple(ball + np.array([0.0, 0.0, 0.6])), look_at=tuple(ball))
    centred, ahead = draw(ball_task(camera), scene, np.stack([states[0], moved(states[0], [0.0, 0.05, 0.0])]))
    np.testing.assert_allclose(magenta_centre(centred), [47.5, 47.5], atol=1.0)
    assert magenta_centre(ahead)[1] < 43.0


def test_wider_view_shows_things_smaller():
    scene, states = episode("drawer-close-v3")
    areas = []
    for fovy_deg in (30.0, 60.0):
        camera = GENERAL_VIEW.model_copy(update={"fovy_deg": fovy_deg})
        frame = draw(make_task(camera=camera, object_colours={"drawer": MAGENTA}), scene, states[:1])[0].astype(int)
        areas.append(np.count_nonzero((frame[..., 0] > 60) & (frame[..., 1] < 20) & (frame[..., 2] > 60)))
    assert areas[0] > 2.0 * areas[1] > 0


LIVE_FRAMES = """
import sys
import mujoco, numpy as np
from actors.worlds.metaworld.environment import TaskEnvironment
from actors.worlds.metaworld.settings import MetaWorldTask

found = {}
for env_id in sys.argv[2:]:
    env = TaskEnvironment(MetaWorldTask(name="t", env_id=env_id, instruction="i", focus="f", episode_env_steps=20))
    model = env.simulator.model
    model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
    model.site_rgba[:, 3] = 0.0
    renderer = mujoco.Renderer(model, 96, 96)
    env.reset(0)
    frames, states = [], []
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 4)):
        renderer.update_scene(env.simulator.data, "corner3")
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        frames.append(renderer.render()[::-1, ::-1])
        states.append(env.frame_state())
        env.step(action)
    renderer.close()
    found |= {f"{env_id} frames": np.stack(frames), f"{env_id} states": np.stack(states)}
    found |= {f"{env_id} {name}": array for name, array in env.scene().arrays.items()}
np.savez(sys.argv[1], **found)
"""


def check_against_live_frames(env_ids, archive):
    """Compare frames drawn here from states with those that MuJoCo's own renderer drew live in another process."""
    environment = dict(os.environ, MUJOCO_GL=opengl.chosen_backend())
    subprocess.run([sys.executable, "-W", "ignore", "-c", LIVE_FRAMES, archive, *env_ids], env=environment, check=True)
    live = np.load(archive)
    for env_id in env_ids:
        renderer = FrameRenderer(make_task(env_id, camera="corner3"))
        scene = Scene({name: live[f"{env_id} {name}"] for name in ("body_pos", "site_pos")})
        frames = renderer.render(scene, live[f"{env_id} states"])
        renderer.close()
        np.testing.assert_array_equal(frames, live[f"{env_id} frames"], err_msg=env_id)
        assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) == len(frames), env_id


def test_frames_from_states_are_the_live_frames_of_another_process(tmp_path):
    check_against_live_frames(TASKS, tmp_path / "live.npz")


@pytest.mark.slow
def test_frames_from_states_are_the_live_frames_in_every_task(tmp_path):
    check_against_live_frames(META_WORLD_ENVS, tmp_path / "live.npz")


def test_frames_of_an_ended_episode_stay_what_they_were():
    task = make_task("soccer-v3")
    env, renderer = TaskEnvironment(task), FrameRenderer(task)
    env.reset(0)
    scene, state = env.scene(), env.frame_state()
    before = renderer.render(scene, state[None])
    env.reset(1)
    env.step(np.ones(4))
    other = renderer.render(env.scene(), env.frame_state()[None])
    np.testing.assert_array_equal(renderer.render(scene, state[None]), before)
    assert not np.array_equal(other, before)


def test_renderers_take_turns_without_black_frames():
    drawer, soccer = make_task(), make_task("soccer-v3", image_px=64)
    first, second = FrameRenderer(drawer), FrameRenderer(soccer)
    drawn = first.render(*episode("drawer-close-v3"))
    assert drawn.mean() > 20.0
    assert second.render(*episode("soccer-v3")).mean() > 20.0
    np.testing.assert_array_equal(first.render(*episode("drawer-close-v3")), drawn)
    second.close()
    np.testing.assert_array_equal(first.render(*episode("drawer-close-v3")), drawn)


def test_a_forgotten_renderer_takes_nothing_from_others():
    first, forgotten = FrameRenderer(make_task()), FrameRenderer(make_task())
    forgotten.render(*episode("drawer-close-v3"))
    drawn = first.render(*episode("drawer-close-v3"))
    del forgotten
    gc.collect()
    np.testing.assert_array_equal(first.render(*episode("drawer-close-v3")), drawn)


def test_closed_renderer_says_so():
    renderer = FrameRenderer(make_task())
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeError, match="the renderer is closed"):
        renderer.render(*episode("drawer-close-v3"))


def test_no_states_give_no_frames():
    scene, states = episode("drawer-close-v3")
    assert draw(make_task(), scene, states[:0]).shape == (0, 96, 96, 3)


def test_largest_frames():
    scene, states = episode("drawer-close-v3")
    frames = draw(make_task(image_px=1024), scene, states[:1])
    assert frames.shape == (1, 1024, 1024, 3)
    assert frames.dtype == np.uint8
    assert frames.mean() > 20.0


def test_hidden_robot_leaves_no_trace():
    scene, states = episode("drawer-close-v3")
    elsewhere = states[0].copy()
    elsewhere[:9] += 0.2
    pair = np.stack([states[0], elsewhere])
    hidden = draw(make_task(robot_visible=False, goal_visible=True), scene, pair)
    np.testing.assert_array_equal(hidden[0], hidden[1])
    visible = draw(make_task(), scene, pair)
    assert not np.array_equal(visible[0], visible[1])


def test_goal_marker_is_drawn_on_request_only():
    scene, states = episode("soccer-v3")
    goal = started_env("soccer-v3").simulator.model.site("goal").id
    elsewhere = Scene({name: array.copy() for name, array in scene.arrays.items()})
    elsewhere.arrays["site_pos"][goal] += [-0.2, -0.1, 0.1]
    for goal_visible in (False, True):
        task = make_task("soccer-v3", goal_visible=goal_visible)
        same = np.array_equal(draw(task, scene, states[:1]), draw(task, elsewhere, states[:1]))
        assert same is not goal_visible


def test_colours_by_body_and_by_geom():
    scene, states = episode("drawer-close-v3")
    plain = draw(make_task(), scene, states[:1])
    body = draw(make_task(object_colours={"drawer": MAGENTA}), scene, states[:1])
    geom = draw(make_task(object_colours={"objGeom": MAGENTA}), scene, states[:1])
    changed_by_body = (body != plain).any(axis=-1).sum()
    changed_by_geom = (geom != plain).any(axis=-1).sum()
    assert changed_by_body > changed_by_geom > 10


def test_unknown_object_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"object_colours: no body or geom is named 'soccer_bal'; did you mean soccer_ball"
    ):
        check_task(make_task("soccer-v3", object_colours={"soccer_bal": MAGENTA}))


def test_check_finds_a_rejected_start_and_passes_a_good_task():
    check_task(make_task())
    start = FixedStartSettings(random_vector=(0.0, 0.8, 0.03, 0.0, 0.85, 0.0))
    with pytest.raises(ValueError, match="rejects the fixed start"):
        check_task(make_task("soccer-v3", randomised_starts=False, fixed_start=start))


def test_full_quality_draws_shadows():
    scene, states = episode("drawer-close-v3")
    fast = draw(make_task(), scene, states[:1]).astype(int)
    full = draw(make_task(quality="full"), scene, states[:1]).astype(int)
    assert np.count_nonzero((full - fast).sum(axis=-1) < -60) > 50


DRAW_AND_HASH = """
import hashlib, sys
from actors.worlds.metaworld.environment import TaskEnvironment
from actors.worlds.metaworld.renderer import FrameRenderer
from actors.worlds.metaworld.settings import MetaWorldTask

task = MetaWorldTask.model_validate_json(sys.argv[1])
env = TaskEnvironment(task)
env.reset(0)
frames = FrameRenderer(task).render(env.scene(), env.frame_state()[None])
print(frames.mean() > 20.0, hashlib.sha256(frames.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_each_backend_draws_and_ends_quietly(backend, monkeypatch):
    # This process has bound PyOpenGL to its own backend; its children should choose afresh.
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    if opengl.probe(backend) is not None:
        pytest.skip(f"{backend} is not installed")
    monkeypatch.setenv("MUJOCO_GL", backend)
    command = [sys.executable, "-c", DRAW_AND_HASH, make_task().model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    drawn, digest = done.stdout.split()
    assert drawn == "True"
    assert done.stderr.strip() == ""
    if opengl.chosen_backend() == backend:
        here = draw(make_task(), *episode("drawer-close-v3", num_steps=0))
        assert hashlib.sha256(here.tobytes()).hexdigest() == digest
