"""BabyAI's chains as a world: levels by seed, words, a grid, frames, and what is paid and known."""

import numpy as np
import pytest
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

from actors.babyai import level
from actors.babyai.detours import Demonstrator
from actors.babyai.settings import NO_DETOURS
from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.babyai.environment import ChainWorld
from actors.worlds.babyai.settings import NUM_CATEGORIES, BabyAITask
from actors.worlds.families import FAMILIES, family_of
from actors.worlds.probing import probe
from actors.worlds.shares import level_of
from actors.worlds.world import WorldError

ROOM = {"num_rows": 1, "num_cols": 1, "num_objects": 4, "subtasks": ["pickup", "goto"]}


def make_task(**changes):
    return BabyAITask.model_validate({"world": "babyai", "name": "chains", "level": ROOM} | changes)


def play_expertly(world, seed):
    """Steps of an episode by BabyAI's bot."""
    world.reset(seed)
    demonstrator = Demonstrator(world._env.level, NO_DETOURS, np.random.default_rng(0))
    demonstrator.begin_subtask(0)
    steps, action, completed = [], None, 0
    while not steps or not (steps[-1].terminated or steps[-1].truncated):
        action = demonstrator.act(action)
        steps.append(world.step(np.array([action], np.float32)))
        if steps[-1].env_reward and not steps[-1].terminated:
            completed += 1
            demonstrator.begin_subtask(completed)
    return steps


def test_its_settings_tell_what_it_is_like():
    task = make_task(chain_lengths=[1, 3], shows_completed=True)
    world = ChainWorld(task)
    assert family_of(task) is FAMILIES["babyai"] and family_of(task).known_spec(task) == world.spec == probe(task)
    assert (world.spec.grid_shape, world.spec.num_categories) == ((7, 7, 4), NUM_CATEGORIES)
    assert (world.spec.num_actions, world.spec.longest_agent_steps) == (7, 192)
    assert NUM_CATEGORIES == 1 + max(*OBJECT_TO_IDX.values(), *COLOR_TO_IDX.values(), *STATE_TO_IDX.values())


def test_frames_are_as_large_as_they_are_drawn_unless_it_is_said():
    assert make_task().image_px == 49 == make_task().level.frame_px[0]
    assert make_task(level=ROOM | {"tile_px": 16}).image_px == 112 and make_task(image_px=60).image_px == 60
    assert make_task(level={}).image_px == 84 == BabyAITask.model_fields["image_px"].default
    written = make_task().model_dump(mode="json")
    assert BabyAITask.model_validate(written) == make_task()
    world = ChainWorld(make_task())
    world.reset(0)
    np.testing.assert_array_equal(world.frame(), world._env.render())
    with pytest.raises(ValueError, match=r"level.tile_px"):
        make_task(level=ROOM | {"tile_px": 2})


def test_an_expert_is_paid_the_share_of_its_chain():
    world = ChainWorld(make_task(chain_lengths=[2], shows_completed=True))
    for seed in range(3):
        steps = play_expertly(world, seed)
        assert sum(step.env_reward for step in steps) == pytest.approx(1.0)
        assert [step.env_reward for step in steps if step.env_reward] == [0.5, 0.5]
        assert steps[-1].terminated and steps[-1].success and not any(step.success for step in steps[:-1])
        assert ", then " in world.instruction()
        grid = steps[-1].observation.reshape(world.spec.grid_shape)
        assert (grid[..., 3] == 2).all() and grid.max() < NUM_CATEGORIES
        first = steps[0].observation.reshape(world.spec.grid_shape)
        assert (first[..., 3] == (steps[0].env_reward > 0)).all()


def test_an_episode_follows_from_its_seed_and_levels_come_again():
    world, other = ChainWorld(make_task(num_levels=3)), ChainWorld(make_task(num_levels=3))
    starts = {}
    for seed in range(12):
        start = world.reset(seed)
        np.testing.assert_array_equal(other.reset(seed), start)
        np.testing.assert_array_equal(other.frame(), world.frame())
        starts.setdefault(world.instruction(), []).append(start.tobytes())
    assert 1 < len(starts) <= 3 and any(len(set(seen)) > 1 for seen in starts.values())
    fixed = ChainWorld(make_task(num_levels=1, randomised_starts=False))
    assert len({fixed.reset(seed).tobytes() for seed in range(4)}) == 1
    judged = ChainWorld(make_task(num_levels=1, randomised_starts=False).judged_from(True))
    assert len({judged.reset(seed).tobytes() for seed in range(4)}) > 1
    new = ChainWorld(make_task())
    assert len({new.reset(seed).tobytes() for seed in range(6)}) == 6


def test_a_policy_may_be_judged_in_levels_that_it_does_not_learn_in():
    task = make_task(num_levels=2, evaluation_split="held_out", levels_seed=3)
    judged = task.judged_from(False)
    assert (task.split, judged.split, judged.levels_seed) == ("train", "held_out", 3)
    said = [{(world.reset(seed).tobytes()) for seed in range(9)} for world in (ChainWorld(task), ChainWorld(judged))]
    assert not said[0] & said[1]


def test_kinds_in_order_put_next_what_was_picked_up():
    rooms = {"num_rows": 1, "num_cols": 2, "num_objects": 6}
    world = ChainWorld(make_task(level=rooms, chain=["open", "pickup", "goto", "putnext"]))
    for seed in range(3):
        world.reset(seed)
        opens, picks, goes, puts = world.instruction().split(", then ")
        assert opens.startswith("open ") and goes.startswith("go to ")
        named = picks.removeprefix("pick up ")
        assert puts.startswith(f"put {named} next to ")
    assert world.spec.longest_agent_steps == 4 * 64
    assert sum(step.env_reward for step in play_expertly(world, 0)) == pytest.approx(1.0)


def test_a_worker_collects_whole_episodes_with_their_instructions_and_frames():
    task = make_task(subtask_env_steps=5, image_px=48)
    worker = RolloutWorker(task, RolloutSettings(chunk_agent_steps=12), seed=0)
    share, frames = worker.collect(None, render_px=24)
    assert all(chunk.instruction and chunk.frames for chunk in share.chunks)
    assert {len(chunk) for chunk in share.chunks} <= {1, 2, 3, 4, 5} and frames[0].shape[1:] == (24, 24, 3)
    (result,) = worker.evaluate(None, 1, seed=1)
    assert result.env_return in (0.0, 1.0) and result.solved_at_start is False
    worker.close()


@pytest.mark.parametrize(
    ("num_ratings", "levels"),
    [
        (2, [0, 0, 0, 0, 1]),
        (3, [0, 1, 1, 1, 2]),
        (4, [0, 1, 1, 2, 3]),
        (5, [0, 1, 2, 3, 4]),
    ],
)
def test_levels_go_by_the_share_of_sub_tasks_done(num_ratings, levels):
    shares = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)
    assert level_of(shares, num_ratings).tolist() == levels
    thirds = np.cumsum(np.full(3, 1 / 3, np.float32))
    assert level_of(thirds, 4).tolist() == [1, 2, 3]
    family, task = FAMILIES["babyai"], make_task()
    unknown = np.array([np.nan, 1.0], np.float32)
    assert family.levels(task, np.zeros((2, 1)), unknown, num_ratings).tolist() == [-1, num_ratings - 1]
    np.testing.assert_array_equal(family.progress(task, np.zeros((2, 1)), unknown), unknown)


def test_a_level_that_cannot_be_drawn_is_told(monkeypatch):
    monkeypatch.setattr(level, "MAX_LAYOUTS", 3)
    with pytest.raises(WorldError, match=r"task.level: no chain of 6 sub-tasks was found in 3 layouts"):
        probe(make_task(level=ROOM | {"num_objects": 1, "subtasks": ["goto"]}, chain_lengths=[6]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_repeat": 2}, "action_repeat 2: a repeated choice is another one"),
        ({"chain_lengths": [7]}, "less than or equal to 6"),
        ({"chain_lengths": []}, "chain_lengths is empty"),
        ({"chain": ["open"]}, "chain has 'open', but one room has no door"),
        ({"chain": ["goto", "pickup"], "chain_lengths": [1]}, "`chain` has 2 sub-tasks itself"),
        ({"chain": ["pickup"] * 7}, "chain has 7 sub-tasks; at most 6"),
    ],
)
def test_settings_that_name_no_levels(changes, message):
    with pytest.raises(ValueError, match=message):
        make_task(**changes)
