"""What the toy raters see is what the worlds know."""

import gymnasium
import numpy as np
import pytest

from actors.worlds.babyai.environment import ChainWorld
from actors.worlds.babyai.settings import BabyAITask
from tests.fakes.looks import GRID_TILE_PX, object_reached, pendulum_upright


def test_a_pendulum_is_seen_at_its_angle():
    env = gymnasium.make("Pendulum-v1", render_mode="rgb_array")
    env.reset(seed=0)
    for angle in np.linspace(-3.0, 3.0, 7):
        env.unwrapped.state = np.array([angle, 0.0])
        assert pendulum_upright(env.render(), "") == pytest.approx(1 - abs(angle) / np.pi, abs=0.02)
    env.close()


def test_an_object_is_seen_to_be_reached_where_the_world_says_so():
    level = {"room_size": 6, "num_rows": 1, "num_cols": 1, "num_objects": 3, "subtasks": ["goto"]}
    level["tile_px"] = GRID_TILE_PX
    world = ChainWorld(BabyAITask(world="babyai", name="goto", level=level, chain=("goto",), subtask_env_steps=24))
    rng, seen = np.random.default_rng(0), []
    for seed in range(10):
        world.reset(seed)
        ended = False
        while not ended:
            step = world.step(world.spec.random_actions(rng))
            ended = step.terminated or step.truncated
            done = object_reached(world.frame(), f"The task: {world.instruction()}.")
            assert (done == 1.0) == step.success
            seen.append(done)
    assert set(seen) == {0.0, 0.5, 1.0}
