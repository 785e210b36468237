"""Environments of Gymnasium as worlds: what is seen, done and drawn, and what is said of one that cannot be had."""

import numpy as np
import pytest

from actors.worlds.families import FAMILIES, family_of
from actors.worlds.gymnasium.environment import GymnasiumWorld
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.pictures import fitted
from actors.worlds.probing import probe
from actors.worlds.world import WorldError


def make_task(factory="Line", **changes):
    path = factory if ":" in factory else f"tests.fakes.toy_envs:{factory}"
    source = {} if "env_id" in changes else {"factory": path, "episode_env_steps": 12}
    given = {"name": "line", "instruction": "go right", "focus": "the dot", "image_px": 40, **source, **changes}
    return GymnasiumTask(world="gymnasium", **given)


def make_world(factory="Line", **changes):
    return GymnasiumWorld(make_task(factory, **changes))


def play(world, action, seed=0):
    """Steps of an episode with one action."""
    world.reset(seed)
    steps = [world.step(np.array([action]))]
    while not (steps[-1].terminated or steps[-1].truncated):
        steps.append(world.step(np.array([action])))
    return steps


def test_the_family_is_found_by_the_task():
    task = make_task()
    assert family_of(task) is FAMILIES["gymnasium"] and family_of(task).known_spec(task) is None


def test_episodes_end_when_they_end():
    world = make_world()
    right, left = play(world, 1.0), play(world, -1.0)
    assert (right[-1].terminated, right[-1].truncated, right[-1].env_reward) == (True, False, 1.0)
    assert len(right) < 12 == len(left) == world.spec.longest_agent_steps
    assert (left[-1].terminated, left[-1].truncated) == (False, True)
    assert not world.spec.fixed_length and not world.spec.draws_again


def test_at_its_limit_an_episode_may_end_both_ways():
    length = len(play(make_world(), 1.0))
    last = play(make_world(episode_env_steps=length), 1.0)[-1]
    assert last.terminated and last.truncated


def test_the_lower_of_two_limits_counts():
    assert make_world("Limited").spec.longest_agent_steps == 7
    assert make_world("Limited", episode_env_steps=4).spec.longest_agent_steps == 4
    assert make_world("Limited", episode_env_steps=None).spec.longest_agent_steps == 7
    assert make_world(env_id="Pendulum-v1", image_px=48).spec.longest_agent_steps == 200


def test_repeated_actions_stop_at_the_end_and_sum_rewards():
    world = make_world(action_repeat=3, kwargs={"step": 0.05})
    steps = play(world, -1.0)
    assert len(steps) == 4 == world.spec.longest_agent_steps
    assert steps[0].env_reward == pytest.approx(-0.03)
    quick = play(make_world(action_repeat=3, success="termination"), 1.0)
    assert quick[-1].success and quick[-1].env_reward <= 1.0


def test_actions_reach_both_bounds_of_the_space():
    """The line's actions lie in [-2, 0.5], and it moves by (action + 0.75) / 1.25 of a stride."""
    world = make_world(kwargs={"step": 0.1})
    for action, moved in ((1.0, 0.1), (-1.0, -0.1), (0.0, 0.0), (7.0, 0.1)):
        start = world.reset(3)[0]
        assert world.step(np.array([action])).observation[0] - start == pytest.approx(moved, abs=1e-6)


def test_bounds_of_one_leave_actions_as_they_are():
    world = make_world(env_id="HalfCheetah-v5", episode_env_steps=5, image_px=64, draw_again=False)
    action = np.random.default_rng(0).uniform(-1.0, 1.0, 6).astype(np.float32)
    np.testing.assert_array_equal(world._actions.own(action), action)
    world.close()


def test_equal_seeds_give_equal_episodes_whatever_was_before():
    fresh, used = make_world(), make_world()
    play(used, 0.3, seed=9)
    for seed in (1, 2):
        np.testing.assert_array_equal(fresh.reset(seed), used.reset(seed))
        np.testing.assert_array_equal(fresh.frame(), used.frame())
    assert not np.array_equal(fresh.reset(1), fresh.reset(2))


def test_entries_of_a_dict_are_one_vector():
    world = make_world("Entries")
    assert world.spec.observation_size == 5, "the picture is no number"
    seen = world.reset(0)
    np.testing.assert_allclose(seen, [3 * seen[4]] * 4 + [seen[4]], rtol=1e-6)
    chosen = make_world("Entries", observation_keys=("near",))
    assert chosen.reset(0).tolist() == [seen[4]]
    pictures = make_world("Entries", observation_keys=("image",))
    assert pictures.spec.observation_size == 0 == len(pictures.reset(0))


# ------------------------------------------------------------------------------------------------ success


def test_success_comes_from_where_the_task_says():
    by_key = play(make_world(success={"key": "is_success"}), 1.0)
    assert [step.success for step in by_key] == [False] * (len(by_key) - 1) + [True]
    by_end = play(make_world(success="termination"), 1.0)
    assert by_end[-1].success and not play(make_world(success="termination"), -1.0)[-1].success
    unknown = make_world()
    assert not unknown.spec.knows_success and not any(step.success for step in play(unknown, 1.0))


def test_a_start_that_is_solved_is_told_where_it_is_known():
    world = make_world("Wandering", success={"key": "success"})
    told = {bool(world.reset(seed)[0] > 0.0): world.solved_at_start() for seed in range(20)}
    assert told == {True: True, False: False}
    # Where the reset is silent, by the rule that environments with goals have.
    reaching = make_world("Reaching", success={"key": "is_success"}, observation_keys=("observation",))
    told = {bool(0.1 < reaching.reset(seed)[0] < 0.7): reaching.solved_at_start() for seed in range(20)}
    assert told == {True: True, False: False}
    silent = make_world(success={"key": "is_success"})
    silent.reset(0)
    assert silent.solved_at_start() is None


# ------------------------------------------------------------------------------------------------ pictures


def test_a_picture_is_fitted_into_the_square():
    world = make_world(image_px=56)
    world.reset(0)
    frame = world.frame()
    assert frame.shape == (56, 56, 3) and frame.dtype == np.uint8 and frame.flags.c_contiguous
    assert not frame[:14].any() and not frame[-14:].any() and frame[14:-14].all()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 12), (12, 3), (300, 7)])
def test_a_picture_keeps_its_shape_and_its_mean(height, width):
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(90, 110, (height, width, 1), dtype=np.uint8), 3, axis=2)
    square = fitted(picture, 10)
    shown = square[square.any(axis=2)]
    assert square.shape == (10, 10, 3) and abs(shown.mean() - picture.mean()) < 4.0
    scale = 10 / max(height, width)
    assert len(shown) == max(1, round(height * scale)) * max(1, round(width * scale))


def test_renderers_of_different_models_do_not_spoil_each_other():
    """Each picture is as it is when the environment is alone; also after another was closed."""
    ids = ("HalfCheetah-v5", "Reacher-v5", "HalfCheetah-v5")
    alone = []
    for env_id in ids:
        world = make_world(env_id=env_id, image_px=64, episode_env_steps=5, draw_again=False)
        world.reset(1)
        alone.append(world.frame())
        world.close()
    together = [make_world(env_id=env_id, image_px=64, episode_env_steps=5, draw_again=False) for env_id in ids]
    for _ in range(2):
        for world, frame in zip(together, alone, strict=True):
            world.reset(1)
            np.testing.assert_array_equal(world.frame(), frame)
    together.pop(1).close()
    for world, frame in zip(together, (alone[0], alone[2]), strict=True):
        np.testing.assert_array_equal(world.frame(), frame)
        world.close()
    assert not np.array_equal(alone[0], alone[1])


def test_a_free_camera_does_not_remember_the_first_episode():
    task = make_task(env_id="Reacher-v5", image_px=64, episode_env_steps=5, draw_again=False)
    first, second = GymnasiumWorld(task), GymnasiumWorld(task)
    first.reset(3)
    first.frame()
    for world in (first, second):
        world.reset(4)
    np.testing.assert_array_equal(first.frame(), second.frame())
    first.close()
    second.close()


@pytest.mark.slow
def test_car_racing_is_seen_as_a_square_and_equal_seeds_show_the_same():
    pytest.importorskip("Box2D", reason="needs the extra `worlds`")
    task = make_task(env_id="CarRacing-v3", image_px=96, episode_env_steps=30)
    first, second = GymnasiumWorld(task), GymnasiumWorld(task)
    assert first.spec.observation_size == 0 and not first.spec.knows_success and not first.spec.draws_again
    paid = []
    for world in (first, second):
        world.reset(3)
        paid.append([world.step(np.array([0.3, 0.8, 0.0])).env_reward for _ in range(30)])
    assert paid[0] == paid[1] and len(set(paid[0])) > 1
    frames = [world.frame() for world in (first, second)]
    assert frames[0].shape == (96, 96, 3) and frames[0].dtype == np.uint8 and frames[0].flags.c_contiguous
    np.testing.assert_array_equal(*frames)
    # 600 pixels wide and 400 high: fitted, with nothing cut off and the rest filled.
    assert (
        frames[0].std() > 10
        and (frames[0][:16] == frames[0][0, 0]).all()
        and (frames[0][-16:] == frames[0][0, 0]).all()
    )
    first.close()
    second.close()


# ------------------------------------------------------------------------------------------------ bad worlds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "nowhere_to_be_found:Dot"}, r"'nowhere_to_be_found:Dot' cannot be imported.*start the run in its"),
        ({"factory": "tests.fakes.toy_envs:Absent"}, "'tests.fakes.toy_envs:Absent' cannot be imported"),
        ({"factory": "tests.fakes.toy_envs:number"}, "gives int, which is no environment"),
        ({"env_id": "FetchPsh-v4"}, "cannot be made: NameNotFound.*write package:Id"),
        ({"env_id": "no_such_package:Fetch-v1"}, "No module named 'no_such_package'.*Install it in"),
        ({"env_id": "Pendulum-v1", "kwargs": {"colour": 1}}, "unexpected keyword argument.*task.kwargs: colour"),
        (
            {"wrappers": ("tests.fakes.toy_envs:number",)},
            "task.wrappers: tests.fakes.toy_envs:number failed: TypeError",
        ),
        ({"episode_env_steps": None}, "has no time limit of its own.*set task.episode_env_steps"),
        ({"success": {"key": "done"}}, "'done' was in no step's info, which has at, is_success"),
        ({"success": {"key": "at"}, "observation_keys": ("near",)}, "observation_keys name entries of a Dict"),
        ("NoPicture", "draws no pictures.*'rgb_array'"),
        ("Pictureless", r"render\(\) gives nothing"),
        ("Floats", r"render\(\) gives an array float64 \[20, 40, 3\]"),
        ("Black", "all black"),
        ("Still", "all pictures of 12 random actions are equal"),
        ("Nan", "an observation holds NaN"),
        ("NanReward", "the reward nan"),
        ("Wide", r"is float32 \[3\], and its space says \[1\]"),
        ("Nested", "observation 'arm' holds others within it.*observation_keys"),
        ("Choices", r"the action space MultiDiscrete\(\[4 2\]\) is one of several choices at once; a policy acts by"),
        ("Endless", "has no finite bounds"),
        ("Uninformed", r"step\(\) gives an info of type NoneType; it must be a dictionary"),
        ("UninformedStart", r"reset\(\) gives an info of type NoneType; it must be a dictionary"),
        ("OldStep", r"step\(\) gives 4 values; Gymnasium's gives observation, reward, .*older Gym"),
        ("OldReset", r"reset\(\) gives ndarray, no tuple; Gymnasium's gives observation, info.*older Gym"),
        ("Leaving", r"step\(\) failed: SystemExit: bye \(in .*toy_envs.py, line \d+\)"),
        (
            {"factory": "tests.fakes.toy_envs:Doubtful", "success": {"key": "is_success"}},
            r"info\['is_success'\] is nan; task.success.key names an entry that is true or false",
        ),
        ("Broken", r"step\(\) failed: ZeroDivisionError: the motor is off \(in .*toy_envs.py, line \d+\)"),
    ],
)
def test_what_is_wrong_with_a_world_is_told(changes, message):
    task = make_task(changes) if isinstance(changes, str) else make_task(**changes)
    with pytest.raises(WorldError, match=f"(?s){message}"):
        probe(task)


def test_a_good_world_is_told_all_about():
    spec = probe(make_task(success={"key": "is_success"}))
    assert (spec.observation_size, spec.action_size, spec.longest_agent_steps, spec.knows_success) == (1, 1, 12, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": "A-v0", "factory": "a:b"}, "give env_id or factory"),
        ({}, "give env_id or factory"),
        ({"env_id": "A-v0", "kwargs": {"render_mode": "human"}}, "kwargs.render_mode: leave it out"),
        ({"factory": "no colon"}, "match pattern"),
        ({"env_id": "A-v0", "episode_env_steps": 5, "action_repeat": 2}, "not a multiple of action_repeat 2"),
    ],
)
def test_settings_that_name_no_world(changes, message):
    with pytest.raises(ValueError, match=message):
        GymnasiumTask(world="gymnasium", name="a", instruction="b", focus="c", **changes)
