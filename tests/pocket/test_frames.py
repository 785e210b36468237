"""Frames of known stage."""

import numpy as np
import pytest

from actors.worlds.metaworld.behaviours import HELD_OUT, TRAINING, training_kinds
from actors.worlds.metaworld.environment import TaskEnvironment, scripted_policy
from actors.worlds.metaworld.progress_frames import _fill, collect
from actors.worlds.metaworld.settings import OBSERVATION_SIZE
from orchestrator.pocket.frames import packaged_task


def test_shares_are_as_equal_as_the_groups_allow():
    assert _fill([10, 10, 10], 9) == [3, 3, 3]
    assert _fill([1, 10, 10], 9) == [1, 4, 4]
    assert _fill([10, 0, 2], 9) == [7, 0, 2]
    assert _fill([1, 1], 9) == [1, 1]


@pytest.mark.parametrize("kind", [*TRAINING, *HELD_OUT], ids=lambda kind: kind.name)
def test_every_behaviour_acts_from_its_generator_alone(kind):
    def actions() -> np.ndarray:
        act = kind.make(scripted_policy("drawer-close-v3"), np.random.default_rng(3), 20)
        seen = np.random.default_rng(4).normal(size=(20, OBSERVATION_SIZE))
        return np.array([act(observation) for observation in seen])

    first = actions()
    assert first.shape == (20, 4)
    assert np.isfinite(first).all()
    assert np.array_equal(first, actions())


def test_one_behaviour_holds_the_hand_between_camera_and_object():
    task = packaged_task("button_press")
    kinds = {kind.name: kind for kind in training_kinds(task)}
    environment, camera = TaskEnvironment(task), np.array(task.camera.position)

    def nearest_m(name: str) -> float:
        """How near the hand comes to the line of sight, on its camera's side of the object."""
        act = kinds[name].make(scripted_policy(task.env_id), np.random.default_rng(5), 60)
        observation, distances = environment.reset(7), []
        for _ in range(60):
            observation = environment.step(act(observation)).observation
            hand, thing = observation[:3], observation[4:7]
            sight = (camera - thing) / np.linalg.norm(camera - thing)
            along = (hand - thing) @ sight
            if along > 0.05:
                distances.append(np.linalg.norm(hand - thing - along * sight))
        return min(distances)

    assert nearest_m("screening") < 0.03
    assert nearest_m("random") > 0.08
    environment.close()


def test_nothing_can_screen_where_the_robot_is_hidden():
    assert training_kinds(packaged_task("sweep_into")) == TRAINING


@pytest.fixture(scope="module")
def frames():
    return collect(packaged_task("drawer_close"), num_frames=60, image_px=56, seed=1)


def test_frames_spread_over_the_stages(frames):
    assert frames.images.shape == (60, 56, 56, 3)
    assert frames.images.dtype == np.uint8
    assert np.bincount(frames.stages, minlength=5).min() >= 4
    assert frames.images.std() > 20


def test_equal_arguments_give_equal_frames(frames):
    again = collect(packaged_task("drawer_close"), num_frames=60, image_px=56, seed=1)
    assert np.array_equal(again.images, frames.images)
    assert np.array_equal(again.stages, frames.stages)


def test_held_out_frames_come_from_other_starts(frames):
    held_out = collect(packaged_task("drawer_close"), num_frames=60, image_px=56, seed=1, held_out=True)
    # The goal is where the drawer stands, which the start draws.
    assert not set(held_out.observations[:, 36].tolist()) & set(frames.observations[:, 36].tolist())


def test_a_fixed_start_is_varied_for_half_of_the_episodes():
    frames = collect(packaged_task("sweep_into"), num_frames=40, image_px=56, seed=0)
    assert len(frames) == 40
    assert len(set(frames.stages.tolist())) >= 4
