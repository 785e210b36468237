"""Environments of choices, grids and words: toys of every kind, and MiniGrid's own."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from minigrid.core.constants import OBJECT_TO_IDX

from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.gymnasium.environment import GymnasiumWorld
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.probing import probe
from actors.worlds.world import WorldError
from orchestrator.kinds import load_experiment

ERRANDS = {"factory": "tests.fakes.toy_envs:Errands", "episode_env_steps": 6, "grid_key": "grid"}
GO_TO = {"env_id": "minigrid:BabyAI-GoToLocal-v0", "episode_env_steps": 16, "image_px": 64}


def make_task(**changes):
    source = {} if changes.keys() & {"env_id", "factory"} else ERRANDS | {"instruction_key": "errand"}
    given = {"name": "errands", "instruction": "go to an end", "focus": "the token", "image_px": 40} | source | changes
    return GymnasiumTask(world="gymnasium", **given)


def make_world(**changes):
    return GymnasiumWorld(make_task(**changes))


def grid_of(world, vector):
    return vector.reshape(world.spec.grid_shape)


# ------------------------------------------------------------------------------------------------ choices


def test_choices_are_numbers_from_nought_whatever_the_spaces_first():
    world = make_world()
    assert (world.spec.num_actions, world.spec.action_size) == (3, 1)
    assert world.spec.action_low == world.spec.action_high == ()
    start = grid_of(world, world.reset(0))[0, :, 0].argmax()
    for action, moved in ((2, 1), (0, -1), (1, 0)):
        world.reset(0)
        step = world.step(np.array([action], np.float32))
        assert grid_of(world, step.observation)[0, :, 0].argmax() - start == moved
    for action in (3, -1, 0.5):
        with pytest.raises(ValueError, match="there are the actions 0 to 2"):
            world.step(np.array([action]))


def test_a_choice_that_is_observed_is_one_of_its_numbers_where_there_is_no_grid():
    world = make_world(observation_keys=("way",), grid_key=None)
    assert world.spec.observation_size == 2 and world.spec.grid_shape is None
    assert world.reset(0).tolist() == [1.0, 0.0]
    assert world.step(np.array([2.0])).observation.tolist() == [0.0, 1.0]


# ------------------------------------------------------------------------------------------------ grids


def test_a_grid_is_flattened_row_by_row_with_choices_as_planes():
    world = make_world()
    assert (world.spec.grid_shape, world.spec.num_categories, world.spec.observation_size) == ((1, 5, 3), 3, 15)
    world.reset(0)
    cells = grid_of(world, world.step(np.array([2.0])).observation)
    assert cells.dtype == np.float32 and cells[0, :, 0].sum() == 1
    assert cells[0, :, 1].tolist() == [2.0] * 5 and cells[0, :, 2].tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kwargs": {"high": 1}}, "the grid 'grid' holds 0 to 2, and its categories are 0 to 1"),
        ({"grid_key": "map"}, "task.grid_key 'map' is no entry of its observations"),
        ({"grid_key": "way"}, r"task.grid_key 'way' is Discrete\(2\); a grid is a Box of whole numbers"),
        ({"observation_keys": ("way",)}, "task.observation_keys leave out the grid 'grid'"),
        ({"kwargs": {"beside": Box(-1.0, 1.0, (2,))}}, "beside the grid 'grid' the observation 'beside' is Box"),
        ({"instruction_key": "order"}, "'order' is neither a text among its observations nor.*info, which has nothing"),
        ({"instruction_key": "way"}, r"task.instruction_key 'way' is Discrete\(2\), and no text"),
        ({"kwargs": {"says": "nothing"}}, "'errand' is neither a text"),
    ],
)
def test_what_is_wrong_with_a_grid_or_an_instruction_is_told(changes, message):
    with pytest.raises(WorldError, match=f"(?s){message}"):
        probe(make_task(**changes))


# ------------------------------------------------------------------------------------------------ instructions


@pytest.mark.parametrize("says", ["observation", "info"])
def test_each_episode_says_its_instruction_in_one_line(says):
    world = make_world(kwargs={"says": says})
    assert world.spec.says_instruction
    said = []
    for seed in range(8):
        world.reset(seed)
        said.append(world.instruction())
        world.step(np.array([1.0]))
        assert world.instruction() == said[-1]
    assert set(said) == {"go to the left end", "go to the right end"}


def test_without_a_mission_or_switched_off_the_tasks_instruction_counts():
    for changes in ({"instruction_key": None}, {"instruction_key": False}, GO_TO | {"instruction_key": False}):
        world = make_world(**changes)
        world.reset(0)
        assert not world.spec.says_instruction and world.instruction() == "go to an end"
    written = make_task(instruction_key=None).model_dump(mode="json")
    assert GymnasiumTask.model_validate(written) == make_task(instruction_key=None)


def test_an_empty_instruction_is_refused():
    world = make_world(env_id=None, **ERRANDS, kwargs={"says": "info"}, instruction_key="errand")
    world._env.unwrapped.errand = lambda: " "
    with pytest.raises(WorldError, match=r"the reset's info\['errand'\] is ' ', and says no instruction"):
        world.reset(0)


def test_a_worker_hands_over_instructions_and_draws_choices():
    worker = RolloutWorker(make_task(), RolloutSettings(envs_per_worker=2, chunk_agent_steps=12), seed=0)
    chunks = [chunk for _ in range(3) for chunk in worker.collect(None)[0].chunks]
    assert {chunk.instruction for chunk in chunks} == {"go to the left end", "go to the right end"}
    actions = np.concatenate([chunk.actions for chunk in chunks])
    assert actions.dtype == np.float32 and actions.shape[1:] == (1,) and set(actions.ravel()) == {0.0, 1.0, 2.0}
    assert worker.spec().says_instruction
    worker.close()


# ------------------------------------------------------------------------------------------------ MiniGrid


def test_babyai_gives_a_grid_its_direction_and_a_mission():
    world = make_world(**GO_TO)
    spec = world.spec
    assert (spec.grid_shape, spec.num_categories, spec.num_actions) == ((7, 7, 4), len(OBJECT_TO_IDX), 7)
    assert spec.says_instruction and spec.longest_agent_steps == 16
    said = set()
    for seed in range(6):
        cells = grid_of(world, world.reset(seed))
        said.add(world.instruction())
        inner = world._env.unwrapped
        assert (cells[..., 3] == inner.agent_dir).all()
        # Rows are rows: what is ahead of the agent, who stands in the middle of the last row, is above it.
        ahead = inner.grid.get(*inner.front_pos)
        assert cells[5, 3, 0] == (OBJECT_TO_IDX["empty"] if ahead is None else OBJECT_TO_IDX[ahead.type])
        turned = grid_of(world, world.step(np.array([1.0])).observation)
        assert (turned[..., 3] == inner.agent_dir).all() and not np.array_equal(turned, cells)
    assert len(said) > 2 and all(text.startswith("go to ") for text in said)


def test_minigrid_has_a_limit_and_babyai_one_for_each_level():
    assert make_world(env_id="minigrid:MiniGrid-Empty-5x5-v0").spec.longest_agent_steps == 100
    with pytest.raises(WorldError, match=r"has no time limit.*set task.episode_env_steps"):
        make_world(**GO_TO | {"episode_env_steps": None})


def test_wrappers_of_minigrid_may_show_all_or_draw():
    everything = make_world(**GO_TO, wrappers=("minigrid.wrappers:FullyObsWrapper",))
    assert everything.spec.grid_shape == (8, 8, 4)
    cells = grid_of(everything, everything.reset(3))
    x, y = everything._env.unwrapped.agent_pos
    assert cells[y, x, 0] == OBJECT_TO_IDX["agent"]
    drawn = make_world(**GO_TO, wrappers=("minigrid.wrappers:RGBImgPartialObsWrapper",))
    assert drawn.spec.grid_shape is None and drawn.spec.observation_size == 4, "the direction alone"
    with pytest.raises(WorldError, match="MiniGrid's grid alone, which looks like a picture and is none"):
        make_world(**GO_TO, wrappers=("minigrid.wrappers:ImgObsWrapper",))
    alone = make_world(**GO_TO, observation_keys=("image",))
    assert alone.spec.grid_shape == (7, 7, 3) and alone.spec.says_instruction
    numbers = make_world(**GO_TO, observation_keys=("direction",))
    assert numbers.spec.observation_size == Discrete(4).n


def test_the_frame_shows_the_whole_room_with_the_agent():
    task = GO_TO | {"kwargs": {"highlight": False, "tile_size": 8}}
    world = make_world(**task)
    world.reset(0)
    frame = world.frame()
    assert frame.shape == (64, 64, 3)
    (x, y), red = world._env.unwrapped.agent_pos, (frame == (255, 0, 0)).all(axis=-1)
    assert red[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].any()
    assert not np.array_equal(frame, make_lit(task))


def make_lit(task):
    world = make_world(**task | {"kwargs": {"tile_size": 8}})
    world.reset(0)
    return world.frame()


def test_the_packaged_file_fits_its_world():
    experiment = load_experiment(Path(__file__).parents[4] / "tune_configs" / "worlds" / "babyai_goto.yaml")
    assert experiment.misfit(GymnasiumWorld(experiment.task).spec) is None
