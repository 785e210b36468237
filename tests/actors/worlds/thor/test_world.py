"""ALFRED's chains in AI2-THOR as a world, on a toy with the face of its controller."""

from pathlib import Path

import numpy as np
import pytest

from actors.thor.settings import ACTION_NAMES
from actors.worlds.families import FAMILIES, family_of
from actors.worlds.probing import probe
from actors.worlds.thor.environment import ThorWorld
from actors.worlds.thor.settings import ThorTaskSettings
from actors.worlds.thor.tasks import INTERACTIONS, objects_of, pairs_of, tasks_of
from actors.worlds.world import WorldError
from orchestrator.errors import SettingsError
from orchestrator.kinds import load_experiment
from tests.fakes.toy_thor import HEATED, ToyThor, write_demonstration

CONFIGS = Path(__file__).parents[4] / "tune_configs" / "erl_vlm_language"


@pytest.fixture(scope="module")
def alfred(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alfred")
    for name in "abc":
        write_demonstration(folder / name, px=30)
    (folder / "broken").mkdir()
    (folder / "broken" / "traj_data.json").write_text("{")
    return folder


def make_task(source, **changes):
    given = {
        "world": "thor",
        "name": "heat",
        "alfred": {"source": str(source)},
        "chain": ["PickupObject", "HeatObject"],
    }
    given |= {"rubrics": {2: ["not done", "done"]}}
    return ThorTaskSettings.model_validate(given | {"num_tasks": 2, "image_px": 60} | changes)


def make_world(source, **changes):
    return ThorWorld(make_task(source, **changes), start=lambda settings: ToyThor())


def expert(world):
    """What the expert did in pickup and heat, as choices."""
    objects = objects_of(world._task, world._tasks)
    for _, _, actions in HEATED[:4]:
        for name, thing, receptacle in actions:
            kind = (receptacle or thing).split("|")[0]
            yield world._pairs.index((ACTION_NAMES.index(name), objects.index(kind)))


def test_choices_are_actions_with_the_objects_that_experts_act_on(alfred):
    world = make_world(alfred)
    objects = objects_of(world._task, world._tasks)
    assert objects == ("", "Microwave", "Mug") and len(INTERACTIONS) == 7
    assert world.spec.num_actions == 5 + 7 * 2 == len(pairs_of(objects))
    assert (world.spec.observation_size, world.spec.says_instruction) == (0, True)
    assert world.spec.longest_agent_steps == 2 * (3 + 14)
    named = make_world(alfred, objects=["Mug", "Microwave", "Fridge"])
    assert named.spec.num_actions == 5 + 7 * 3
    assert family_of(world._task) is FAMILIES["thor"] and FAMILIES["thor"].known_spec(world._task) is None


def test_the_experts_choices_do_the_chain_and_are_paid_for_it(alfred):
    world = make_world(alfred)
    for seed in range(2):
        assert world.reset(seed).shape == (0,)
        assert world.instruction() == "take the mug, then heat it"
        first = world.frame()
        assert first.shape == (60, 60, 3) and first.any() and world.solved_at_start() is False
        steps = [world.step(np.array([choice], np.float32)) for choice in expert(world)]
        assert [step.env_reward for step in steps if step.env_reward] == [0.5, 0.5]
        assert steps[-1].terminated and steps[-1].success and not steps[-1].truncated
        assert not np.array_equal(world.frame(), first)


def test_an_episode_follows_from_its_seed_and_is_cut(alfred):
    world, other = (make_world(alfred, randomised_starts=True, step_budget=1.0) for _ in range(2))
    frames = set()
    for seed in range(5):
        world.reset(seed), other.reset(seed)
        np.testing.assert_array_equal(world.frame(), other.frame())
        frames.add(world.frame().tobytes())
    assert len(frames) > 1
    turn = world._pairs.index((ACTION_NAMES.index("RotateLeft_90"), 0))
    steps = [world.step(np.array([turn])) for _ in range(17)]
    assert steps[-1].truncated and not any(step.truncated for step in steps[:-1]) and not steps[-1].success
    fixed = make_task(alfred)
    assert fixed.judged_from(True).randomised_starts and not fixed.judged_from(False).randomised_starts


def test_tasks_are_of_the_kinds_and_rooms_that_are_asked_for(alfred):
    heated = tasks_of(make_task(alfred, num_tasks=3).model_dump_json())
    assert len({task.name.split("/")[0] for task in heated}) == 3
    assert {tuple(one.kind for one in task.subtasks) for task in heated} == {("PickupObject", "HeatObject")}
    assert tasks_of(make_task(alfred, floor_plans=[1, 7]).model_dump_json())
    for changes, message in (
        ({"num_tasks": 4}, "has 3 demonstrations with PickupObject, HeatObject one after the other; lower num_tasks"),
        ({"chain": ["PickupObject", "CoolObject"]}, "has 0 demonstrations with PickupObject, CoolObject"),
        ({"floor_plans": [8, 30]}, "has 0 demonstrations with .* in floor plans 8 to 30"),
        ({"alfred": {"source": str(alfred / "nowhere")}}, r"no traj_data\.json in it or below"),
    ):
        with pytest.raises(WorldError, match=message):
            make_world(alfred, **changes)


def test_without_ai2thor_one_message_says_what_to_do(alfred):
    with pytest.raises(WorldError, match=r"likert-rl\[thor\]|is no program.*task.alfred.build|DISPLAY"):
        probe(make_task(alfred))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chain": []}, "at least 1 item"),
        ({"chain": ["GotoLocation"]}, "PickupObject"),
        ({"action_repeat": 2}, "action_repeat 2"),
        ({"floor_plans": [9, 3]}, r"floor_plans \[9, 3\]: the first is behind the last"),
        ({"objects": ["Mug", "Mug"]}, "a class is named twice"),
    ],
)
def test_settings_that_name_no_tasks(alfred, changes, message):
    with pytest.raises(ValueError, match=message):
        make_task(alfred, **changes)


def test_what_is_wrong_with_a_block_is_told_where_it_stands(tmp_path):
    file = tmp_path / "thor.yaml"
    file.write_text(
        "base: {}\ntask: {{chain: [GotoLocation], alfred: {{sauce: x}}}}\n".format(CONFIGS / "thor_put.yaml")
    )
    with pytest.raises(SettingsError) as caught:
        load_experiment(file)
    assert "task.chain.0 = 'GotoLocation': must be one of 'PickupObject'" in str(caught.value)
    assert "task.alfred.sauce: there is no such setting; did you mean 'source'?" in str(caught.value)


@pytest.mark.parametrize("kind", ["pickup", "put", "cool", "clean"])
def test_the_packaged_files_fit_such_a_world(alfred, kind):
    assert load_experiment(CONFIGS / f"thor_{kind}.yaml").misfit(make_world(alfred).spec) is None
