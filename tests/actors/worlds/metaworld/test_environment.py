"""Environments: what an episode is, and that it depends on its seed alone."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from actors.worlds.metaworld.environment import TaskEnvironment, scripted_policy
from actors.worlds.metaworld.settings import FixedStartSettings, MetaWorldTask


def make_task(env_id="drawer-close-v3", **changes):
    settings = {"episode_env_steps": 20, **changes}
    return MetaWorldTask(name="task", env_id=env_id, instruction="do it", focus="the thing", **settings)


@functools.cache
def make_env(env_id="drawer-close-v3", **changes):
    """An environment that tests share: a reset leaves nothing of what was before."""
    return TaskEnvironment(make_task(env_id, **changes))


def play_randomly(env, seed, num_steps=10):
    observations = [env.reset(seed)]
    for action in np.random.default_rng(seed).uniform(-1, 1, (num_steps, 4)):
        observations.append(env.step(action).observation)
    return np.stack(observations)


@pytest.mark.parametrize("env_id", ["drawer-close-v3", "sweep-into-v3", "soccer-v3", "window-close-v3"])
def test_an_episode_depends_on_its_seed_alone(env_id):
    fresh, used = TaskEnvironment(make_task(env_id)), make_env(env_id)
    play_randomly(used, 3, num_steps=20)
    np.testing.assert_array_equal(play_randomly(fresh, 7), play_randomly(used, 7))
    np.testing.assert_array_equal(fresh.frame_state(), used.frame_state())
    for name, array in fresh.scene().arrays.items():
        np.testing.assert_array_equal(array, used.scene().arrays[name])


def test_other_seeds_give_other_starts():
    env = make_env()
    assert not np.array_equal(env.reset(0), env.reset(1))


def test_global_random_numbers_are_left_alone():
    np.random.seed(5)
    expected = np.random.RandomState(5).uniform()
    TaskEnvironment(make_task()).reset(0)
    assert np.random.uniform() == expected


def test_observation_holds_now_before_and_goal():
    env = make_env()
    first = env.reset(0)
    second = env.step(np.array([1.0, 1.0, 0.0, 0.0])).observation
    assert first.dtype == second.dtype == np.float32
    assert first.shape == second.shape == (39,)
    np.testing.assert_array_equal(first[18:36], first[:18])
    np.testing.assert_array_equal(second[18:36], first[:18])
    np.testing.assert_allclose(second[36:], env.goal_position(), rtol=1e-6)


@pytest.mark.parametrize("env_id", ["drawer-open-v3", "window-close-v3"])
def test_first_observation_shows_things_where_they_are(env_id):
    # MetaWorld's own first observation of these tasks shows the object where the episode before had it.
    env = make_env(env_id)
    env.reset(0)
    observed = env.reset(1)[4:7]
    still = env.step(np.zeros(4)).observation[4:7]
    np.testing.assert_allclose(observed, still, atol=2e-3)


def test_reset_measures_the_start_that_it_keeps():
    # The window's handle is measured before the simulator has moved the window to its new place.
    env = make_env("window-close-v3")
    env.reset(0)
    env.reset(1)
    np.testing.assert_allclose(env.simulator.window_handle_pos_init, env.object_position(), atol=1e-6)


def test_success_does_not_end_an_episode():
    env = make_env(episode_env_steps=150)
    expert, observation, successes = scripted_policy("drawer-close-v3"), env.reset(0), []
    for _ in range(150):
        observation, _, success, terminated, truncated = env.step(expert.get_action(observation))
        successes.append(success)
        assert not terminated
    assert any(successes[:100])
    assert truncated


def test_episode_is_truncated_at_its_length_and_then_over():
    env = make_env(episode_env_steps=6, action_repeat=2)
    env.reset(0)
    assert [env.step(np.zeros(4)).truncated for _ in range(3)] == [False, False, True]
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(np.zeros(4))
    env.reset(1)
    assert not env.step(np.zeros(4)).truncated


def test_longest_episode_is_metaworlds_own():
    env = make_env(episode_env_steps=500, action_repeat=50)
    env.reset(0)
    assert [env.step(np.zeros(4)).truncated for _ in range(10)] == [False] * 9 + [True]


def test_action_repeat_sums_rewards():
    single, double = make_env(), make_env(action_repeat=2)
    single.reset(0)
    double.reset(0)
    action = np.array([0.3, 1.0, -0.5, 0.1])
    steps = [single.step(action), single.step(action)]
    repeated = double.step(action)
    assert repeated.env_reward == pytest.approx(steps[0].env_reward + steps[1].env_reward)
    np.testing.assert_array_equal(repeated.observation, steps[1].observation)


def test_success_at_any_repeated_action_counts(monkeypatch):
    env = make_env(action_repeat=2)
    env.reset(0)
    flags, simulate = iter([1.0, 0.0]), env.simulator.step

    def step(action):
        observation, reward, terminated, truncated, info = simulate(action)
        return observation, reward, terminated, truncated, {**info, "success": next(flags)}

    monkeypatch.setattr(env.simulator, "step", step)
    assert env.step(np.zeros(4)).success is True


def test_actions_outside_the_range_are_clipped():
    env, observations = make_env(), []
    for action in (np.ones(4), np.full(4, 9.0)):
        env.reset(0)
        observations.append(env.step(action).observation)
    np.testing.assert_array_equal(*observations)


def test_facts_of_the_last_step():
    env = make_env(episode_env_steps=150)
    expert, observation = scripted_policy("drawer-close-v3"), env.reset(0)
    assert env.info == {}
    observation = env.step(expert.get_action(observation)).observation
    start = env.info["obj_to_target"]
    for _ in range(140):
        observation = env.step(expert.get_action(observation)).observation
    assert env.info["success"] == 1.0
    assert env.info["obj_to_target"] < 0.3 * start
    np.testing.assert_allclose(env.object_position(), observation[4:7], atol=1e-6)
    np.testing.assert_allclose(env.hand_position(), observation[:3], atol=0.06)


def test_fixed_starts_ignore_the_seed():
    env = make_env(randomised_starts=False)
    np.testing.assert_array_equal(env.reset(0), env.reset(1))


def test_fixed_start_puts_object_and_hand_where_asked():
    start = FixedStartSettings(random_vector=(0.06, 0.9, 0.0), hand=(0.1, 0.6, 0.25))
    env = make_env(randomised_starts=False, fixed_start=start)
    observation = env.reset(0)
    body = env.simulator.model.body("drawer").id
    np.testing.assert_allclose(env.scene().arrays["body_pos"][body], [0.06, 0.9, 0.0])
    np.testing.assert_allclose(observation[:3], [0.1, 0.6, 0.25], atol=0.03)


def test_fixed_start_of_wrong_length_says_what_is_needed():
    with pytest.raises(ValueError, match=r"random_vector has 2 numbers; soccer-v3 needs 6"):
        make_env("soccer-v3", randomised_starts=False, fixed_start=FixedStartSettings(random_vector=(0.0, 0.6)))


def test_fixed_start_that_the_task_rejects_says_so():
    on_the_goal = FixedStartSettings(random_vector=(0.0, 0.8, 0.03, 0.0, 0.85, 0.0))
    env = make_env("soccer-v3", randomised_starts=False, fixed_start=on_the_goal)
    with pytest.raises(ValueError, match=r"too close to its goal; change fixed_start\.random_vector"):
        env.reset(0)


def test_scripted_policy_of_unknown_task():
    with pytest.raises(ValueError, match="did you mean soccer-v3"):
        scripted_policy("socer-v3")


def test_environments_need_no_opengl():
    code = (
        "import sys, numpy as np\n"
        "from actors.worlds.metaworld.settings import MetaWorldTask\n"
        "from actors.worlds.metaworld.environment import TaskEnvironment\n"
        "env = TaskEnvironment(MetaWorldTask(name='t', env_id='reach-v3', instruction='reach', focus='the hand'))\n"
        "env.reset(0), env.step(np.zeros(4)), env.frame_state(), env.scene()\n"
        "maps = open('/proc/self/maps').read()\n"
        "print([library for library in ('libGL', 'libEGL', 'libOSMesa') if library in maps])\n"
    )
    environment = dict(os.environ, MUJOCO_GL="disabled")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_starts_around_the_fixed_one_are_drawn_within_the_spread():
    fixed = make_env("soccer-v3", randomised_starts=False)
    anywhere = make_env("soccer-v3", randomised_starts=True)
    near = make_env("soccer-v3", randomised_starts=False, start_spread=0.2)
    middle = fixed.reset(0)
    assert np.array_equal(fixed.reset(1), middle)
    starts = np.stack([near.reset(seed) for seed in range(8)])
    assert np.array_equal(near.reset(3), starts[3]) and len(np.unique(starts, axis=0)) == 8
    widest = np.abs(np.stack([anywhere.reset(seed) for seed in range(30)]) - middle).max(axis=0)
    # The ball and the goal move; where the hand is may differ by what the simulator makes of it.
    assert (np.abs(starts - middle)[:, 4:7] <= 0.2 * widest[4:7] + 0.02).all()
    assert np.abs(starts - middle)[:, 4:7].max() > 0.005
