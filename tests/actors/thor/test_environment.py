"""ALFRED's chains in AI2-THOR, against a scripted controller: no Unity build is needed, and none was used."""

import numpy as np
import pytest

from actors.thor.environment import REPLAYS
from actors.thor.scene import Scene
from actors.thor.settings import ACTION_NAMES
from actors.thor.tasks import ExpertAction, Subtask, subtask_of
from tests.fakes import toy_thor
from tests.fakes.thor_tasks import AHEAD, OBJECTS, SLICE, TAKE, at, environment, pair, task
from tests.fakes.toy_thor import FAR_MUG, LAMP, MUG, SCENE, ToyThor


@pytest.fixture
def toy():
    return ToyThor()


# ------------------------------------------------------------------------------------------------ scenes and actions


def test_a_scene_is_loaded_as_recorded(toy):
    env = environment(toy)
    observation, info = env.reset(options={"task": task(TAKE)})
    assert toy.scenes == ["FloorPlan7"]
    assert [one["action"] for one in toy.commands] == [
        "Initialize", "SetObjectToggles", "SetObjectPoses", "TeleportFull",
    ]  # fmt: skip
    assert toy.agent["x"] == 0.5 and not toy.objects[LAMP]["isToggled"]
    assert observation["frame"].flags["C_CONTIGUOUS"] and env.observation_space.contains(observation)
    assert np.array_equal(env.render(), toy.last_event.frame)
    assert info["instruction"] == info["subtask_instruction"] == "Take the mug."
    env.reset(options={"task": task(TAKE, scene=SCENE | {"dirty_and_empty": True, "object_toggles": []})})
    assert [one.get("StateChange") for one in toy.commands[4:]] == [None, "CanBeDirty", "CanBeFilled", None, None]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("MoveAhead_25", {"x": 0.75}), ("RotateLeft_90", {"yaw": 0.0}), ("RotateRight_90", {"yaw": 180.0}),
        ("LookUp_15", {"horizon": 15.0}), ("LookDown_15", {"horizon": 45.0}),
    ],
)  # fmt: skip
def test_moving_and_looking_change_the_pose_and_nothing_else(toy, name, change):
    env = environment(toy)
    env.reset(options={"task": task(TAKE)})
    before = dict(toy.agent)
    _, reward, terminated, truncated, info = env.step(pair(name))
    assert toy.agent == before | change and (reward, terminated, truncated) == (0.0, False, False)
    assert info["action_succeeded"]


def test_looking_ends_where_thors_own_actions_end(toy):
    env = environment(toy)
    env.reset(options={"task": task(TAKE, steps=50)})
    seen = [(env.step(pair("LookUp_15"))[4]["action_succeeded"], toy.agent["horizon"]) for _ in range(6)]
    assert seen == [(True, 15), (True, 0), (True, -15), (True, -30), (False, -30), (False, -30)]
    succeeded = [env.step(pair("LookDown_15"))[4]["action_succeeded"] for _ in range(7)]
    assert succeeded == [True] * 6 + [False] and toy.agent["horizon"] == 60


def test_the_nearest_object_of_the_class_is_acted_on(toy):
    env = environment(toy)
    for x, nearest in ((0.5, MUG), (1.5, FAR_MUG)):
        env.reset(options={"task": task(TAKE, scene=at(x))})
        env.step(pair("PickupObject", "Mug"))
        assert toy.held == nearest


def test_what_cannot_be_done_changes_nothing_and_costs_a_step(toy):
    env = environment(toy)
    env.reset(options={"task": task(TAKE), "max_steps": 4})
    given = len(toy.commands)
    # Out of reach; no object named; nothing in hand to put; an object that moving is not about is ignored.
    for name, thing in (("OpenObject", "Fridge"), ("PickupObject", ""), ("PutObject", "CounterTop")):
        _, reward, _, truncated, info = env.step(pair(name, thing))
        assert (reward, truncated, info["action_succeeded"]) == (0.0, False, False)
    assert len(toy.commands) == given
    assert env.step(pair("MoveAhead_25", "Mug"))[3]


def test_an_action_that_thor_calls_invalid_has_failed(toy):
    scene = Scene(toy)
    scene.load(SCENE)
    assert not scene.act("SliceObject", MUG)
    with pytest.raises(ValueError, match="'Jump' is no action"):
        scene.act("Jump")


def test_possible_pairs_follow_reach_state_and_hands(toy):
    env = environment(toy)

    def possible(info):
        pairs = {(ACTION_NAMES[a], OBJECTS[o]) for a, o in np.argwhere(info["possible"])}
        moves = {(name, "") for name in ("LookDown_15", "LookUp_15", "MoveAhead_25", "RotateLeft_90", "RotateRight_90")}
        assert moves <= pairs
        return pairs - moves

    _, info = env.reset(options={"task": task(SLICE, TAKE)})
    take = {("PickupObject", name) for name in ("Mug", "Apple", "ButterKnife")}
    assert possible(info) == take
    holding = possible(env.step(pair("PickupObject", "ButterKnife"))[4])
    assert holding == {("PutObject", "CounterTop"), ("SliceObject", "Apple")}
    sliced = possible(env.step(pair("SliceObject", "Apple"))[4])
    assert sliced == {("PutObject", "CounterTop")}
    # Doors, at the microwave: put into it only when it is open.
    _, info = env.reset(options={"task": task(SLICE, before=[ExpertAction("PickupObject", MUG)] + [AHEAD] * 9)})
    assert possible(info) == {
        ("OpenObject", "Microwave"),
        ("ToggleObjectOn", "Microwave"),
        ("ToggleObjectOn", "DeskLamp"),
    }
    opened = possible(env.step(pair("OpenObject", "Microwave"))[4])
    assert {("PutObject", "Microwave"), ("CloseObject", "Microwave")} <= opened
    assert ("ToggleObjectOff", "DeskLamp") in possible(env.step(pair("ToggleObjectOn", "DeskLamp"))[4])
    # Classes that the policy does not know are not offered.
    _, info = environment(ToyThor(), ("", "Mug")).reset(options={"task": task(TAKE)})
    assert info["possible"].shape == (12, 2) and info["possible"][:, 1].sum() == 1


# ------------------------------------------------------------------------------------------------ chains


def chain_of_the_kitchen():
    before, actions = [], []
    subtasks = []
    for kind, text, steps in toy_thor.HEATED[:-1]:
        actions += [ExpertAction(*one) for one in steps]
        if text:
            subtasks.append((subtask_of(kind, text, actions[len(before) :]), actions[len(before) :]))
            before = list(actions)
    return subtasks


def test_the_expert_s_own_actions_earn_one_for_each_subtask(toy):
    parts = chain_of_the_kitchen()
    number = sum(len(actions) for _, actions in parts)
    env = environment(toy)
    _, info = env.reset(options={"task": task(*(one for one, _ in parts), steps=number)})
    rewards, told = [], []
    for _, actions in parts:
        for action in actions:
            told.append(info["subtask_instruction"])
            name = (action.receptacle_id or action.object_id).split("|")[0]
            _, reward, terminated, truncated, info = env.step(pair(action.name, name))
            rewards.append(reward)
    ends = np.cumsum([len(actions) for _, actions in parts]) - 1
    assert np.flatnonzero(rewards).tolist() == ends.tolist() and sum(rewards) == 3.0
    assert terminated and not truncated and info["success"] and info["proportion"] == 1.0
    assert list(dict.fromkeys(told)) == ["Take the mug.", "Heat it.", "Put it into the fridge."]
    assert info["instruction"] == "Take the mug. Heat it. Put it into the fridge."


def test_a_chain_begins_where_the_expert_came_to(toy):
    (_, first), (heat, second), (put, _) = chain_of_the_kitchen()
    env = environment(toy)
    _, info = env.reset(options={"task": task(put, before=first + second)})
    assert toy.held == MUG and toy.agent["x"] == 2.5 and info["num_completed"] == 0
    env.reset(options={"task": task(heat, put, before=first)})
    # A door left open is not what the expert left.
    for action in second[:-1]:
        info = env.step(pair(action.name, (action.receptacle_id or action.object_id).split("|")[0]))[4]
    assert toy.held == MUG and info["num_completed"] == 0
    assert env.step(pair("CloseObject", "Microwave"))[1] == 1.0


def test_the_budget_is_twice_the_experts_steps_unless_told(toy):
    env = environment(toy)
    for options, number in (({}, 6), ({"max_steps": 2}, 2)):
        env.reset(options={"task": task(TAKE, steps=3), **options})
        ends = [env.step(pair("RotateLeft_90"))[2:4] for _ in range(number)]
        assert ends == [(False, False)] * (number - 1) + [(False, True)]


def test_a_chain_is_not_passed_by_standing_still(toy):
    # The lamp is off already; only an interaction can complete a sub-task.
    off = Subtask("Switch the lamp off.", "ToggleObject", LAMP, on=False)
    env = environment(toy)
    env.reset(options={"task": task(off)})
    assert env.step(pair("RotateLeft_90"))[1] == 0.0


def test_a_replay_that_fails_is_tried_again_and_then_named():
    before = [ExpertAction("PickupObject", MUG)]
    toy = ToyThor(slippery=["PickupObject"])
    environment(toy).reset(options={"task": task(TAKE, before=before)})
    assert toy.held == MUG and len(toy.scenes) == 2
    toy = ToyThor(slippery=["PickupObject"] * REPLAYS)
    with pytest.raises(RuntimeError, match=r"toy: PickupObject Mug.* failed 3 times"):
        environment(toy).reset(options={"task": task(TAKE, before=before)})


def test_a_randomised_start_moves_the_agent_and_nothing_else(toy):
    env = environment(toy)
    places = []
    for start in (None, 3, 3, 4):
        env.reset(options={"task": task(TAKE, before=[ExpertAction("PickupObject", MUG)]), "start_seed": start})
        places.append((toy.agent["x"], toy.agent["yaw"], toy.agent["horizon"]))
        assert toy.held == MUG
    assert places[0] == (0.5, 90.0, 30.0) and places[1] == places[2] and len(set(places)) == 3
    drawn = set()
    for start in range(40):
        env.reset(options={"task": task(TAKE), "start_seed": start})
        drawn.add((toy.agent["yaw"], toy.agent["horizon"]))
    assert {yaw for yaw, _ in drawn} == {0.0, 90.0, 180.0, 270.0} and {one for _, one in drawn} == {30.0, 45.0, 60.0}


def test_a_place_that_is_refused_is_followed_by_another(toy):
    scene = Scene(toy)
    scene.load(SCENE)
    toy.slippery = ["TeleportFull"] * 3
    scene.move_agent(np.random.default_rng(0))
    assert [one["action"] for one in toy.commands[-5:]] == ["GetReachablePositions"] + ["TeleportFull"] * 4
    toy.slippery = ["TeleportFull"] * 1000
    with pytest.raises(RuntimeError, match="can be put nowhere"):
        scene.move_agent(np.random.default_rng(0))


def test_wrong_use_is_named(toy):
    with pytest.raises(ValueError, match="class 0 must be ''"):
        environment(toy, ("Mug",))
    env = environment(toy)
    with pytest.raises(RuntimeError, match="reset the environment first"):
        env.step((0, 0))
    with pytest.raises(ValueError, match=r"options\['task'\] is missing"):
        env.reset()
    env.reset(options={"task": task(TAKE)})
    assert env.step(pair("PickupObject", "Mug"))[2]
    with pytest.raises(RuntimeError, match="the chain is done"):
        env.step(pair("RotateLeft_90"))
    env.close()
    assert toy.commands[-1] == "stop"
