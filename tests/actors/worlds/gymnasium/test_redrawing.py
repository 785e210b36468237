"""Frames of MuJoCo environments drawn again from state: equal to the bit, or the world says that it cannot."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.gymnasium import redrawing
from actors.worlds.gymnasium.environment import GymnasiumWorld
from actors.worlds.gymnasium.redrawing import StateDrawer, state_drawer
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.world import WorldError
from algorithms.replay import ColumnarReplay

TOYS = "tests.fakes.toy_mujoco"
"""Named only, and imported by the world: whoever imports MuJoCo first chooses its OpenGL for all."""
ENV_IDS = (
    "HalfCheetah-v5", "Reacher-v5", "Pusher-v5", "Ant-v5", "Humanoid-v5", "InvertedPendulum-v5",
    "gymnasium_robotics:FetchReach-v4",
    "gymnasium_robotics:FetchPush-v4", "gymnasium_robotics:FetchPickAndPlace-v4",
    "gymnasium_robotics:AdroitHandDoor-v1", "gymnasium_robotics:AdroitHandPen-v1", "gymnasium_robotics:HandReach-v3",
    "gymnasium_robotics:HandManipulateBlock-v1", "gymnasium_robotics:PointMaze_UMaze-v3",
    "gymnasium_robotics:AntMaze_UMaze-v4",
)  # fmt: skip


def make_task(env_id="Reacher-v5", **changes):
    source = {} if "factory" in changes else {"env_id": env_id}
    given = {"name": "drawn", "instruction": "go", "focus": "it", "image_px": 48, "episode_env_steps": 20, **changes}
    return GymnasiumTask(world="gymnasium", **source, **given)


def seen_by(world, num_steps=6):
    """Scene, state and frame at each moment of two episodes."""
    rng, seen = np.random.default_rng(0), []
    for seed in (11, 12):
        world.reset(seed)
        for _ in range(num_steps):
            seen.append((world.scene(), world.frame_state(), world.frame()))
            world.step(rng.uniform(-1.0, 1.0, world.spec.action_size))
    return seen


def draw(task, scenes, states):
    drawer = state_drawer(task)
    frames = [drawer.render(scene, state[None])[0] for scene, state in zip(scenes, states, strict=True)]
    drawer.close()
    return frames


def draw_elsewhere(task, scenes, states):
    """In a process that has seen nothing of this."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(draw, task, scenes, states).result()


def check_drawn_again(task, drawn_by):
    world = GymnasiumWorld(task)
    assert world.spec.draws_again and not world.spec.moves_when_drawn
    scenes, states, frames = zip(*reversed(seen_by(world)), strict=True)
    world.close()
    for frame, again in zip(frames, drawn_by(task, scenes, states), strict=True):
        np.testing.assert_array_equal(again, frame)
    assert any((frame != frames[0]).any() for frame in frames)


def test_frames_drawn_again_are_those_that_were_seen():
    check_drawn_again(make_task(), draw)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ENV_IDS)
def test_frames_drawn_again_in_another_process_are_those_that_were_seen(env_id):
    package, _, _ = env_id.rpartition(":")
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    check_drawn_again(make_task(env_id, image_px=224), draw_elsewhere)


def test_a_worker_keeps_states_and_draws_from_the_replay():
    task = make_task()
    worker = RolloutWorker(task, RolloutSettings(chunk_agent_steps=10), seed=0)
    replay, seen = ColumnarReplay(100, 10, 2), []
    for _ in range(4):
        share, frames = worker.collect(None, render_px=48)
        assert [chunk.frames for chunk in share.chunks] == [None]
        replay.add(share.chunks[0], np.zeros(10), version=0)
        seen += frames
    restored = ColumnarReplay(100, 10, 2)
    restored.set_state(replay.state())
    other = RolloutWorker(task, RolloutSettings(), seed=5)
    episodes = restored.recent_episodes(10)
    assert [len(episode) for episode in episodes] == [20, 20]
    again = [other.render_reduced(*restored.frames_of(episode.indices), 48) for episode in episodes]
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(seen))
    worker.close()
    other.close()


def test_drawing_changes_nothing_of_what_happens():
    taken, kept = GymnasiumWorld(make_task(draw_again=False)), GymnasiumWorld(make_task())
    for world in (taken, kept):
        world.reset(3)
    for action in np.random.default_rng(0).uniform(-1.0, 1.0, (10, 2)):
        np.testing.assert_array_equal(taken.step(action).observation, kept.step(action).observation)
        taken.frame()
        kept.frame_state()
    taken.close()
    kept.close()


@pytest.mark.parametrize(
    ("changes", "draws_again"),
    [
        ({"draw_again": False}, False),
        ({"wrappers": [f"{TOYS}:Stamped"]}, False),
        ({"wrappers": [f"{TOYS}:Stamped", f"{TOYS}:Plain"]}, False),
        ({"wrappers": [f"{TOYS}:Plain"]}, True),
        ({"factory": f"{TOYS}:OwnReacher"}, False),
        ({"env_id": "Pendulum-v1"}, False),
    ],
    ids=["by setting", "drawn over", "drawn over within", "plain wrapper", "of one's own", "no MuJoCo"],
)
def test_which_worlds_draw_again(changes, draws_again):
    world = GymnasiumWorld(make_task(**changes))
    assert world.spec.draws_again == draws_again
    world.reset(0)
    assert (world.frame_state().size > 0) == draws_again
    assert world.frame().shape == (48, 48, 3)
    world.close()


def test_an_environment_that_fails_the_test_is_not_drawn_again(monkeypatch):
    monkeypatch.setattr(redrawing, "FAMILIES", ("gymnasium.envs.mujoco.", TOYS))
    world = GymnasiumWorld(make_task(factory=f"{TOYS}:CountingReacher"))
    assert not world.spec.draws_again
    world.close()


def test_a_model_that_changes_within_an_episode_is_told(monkeypatch):
    monkeypatch.setattr(redrawing, "FAMILIES", ("gymnasium.envs.mujoco.", TOYS))
    world = GymnasiumWorld(make_task(factory=f"{TOYS}:Repainted"))
    world.reset(0)
    world.step(np.zeros(2))
    with pytest.raises(WorldError, match=r"geom_rgba of its model changes within an episode.*task.draw_again to false"):
        world.scene()
    world.close()


def test_a_closed_drawer_is_closed_once():
    drawer = StateDrawer(make_task())
    drawer.close()
    drawer.close()


def test_a_task_with_rubrics_draws_again_too():
    """Tasks go through JSON, which turns the numbers of levels into words."""
    task = GymnasiumTask(
        world="gymnasium", name="reach", env_id="Reacher-v5", instruction="reach", focus="the ball", image_px=64,
        rubrics={3: ("far", "near", "there")},
    )  # fmt: skip
    world = GymnasiumWorld(task)
    assert world.spec.draws_again
    world.close()
