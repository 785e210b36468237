"""ALFRED's chains in AI2-THOR, against a scripted controller: no Unity build is needed, and none was used."""

import sys
import time
from functools import partial

import numpy as np
import pytest

from actors.thor import controller as thor_controller
from actors.thor.controller import PatientController, ThorUnavailable, check_thor, start_thor
from actors.thor.environment import REPLAYS, ThorEnvironment
from actors.thor.scene import Scene
from actors.thor.settings import ACTION_NAMES, RELEASE, ThorSettings
from actors.thor.tasks import ExpertAction, Subtask, ThorTask, Treatments, is_done, subtask_of, whole
from tests.fakes import toy_thor
from tests.fakes.toy_thor import (
    APPLE,
    FAR_MUG,
    FAUCET,
    FRIDGE,
    KNIFE,
    LAMP,
    MICROWAVE,
    MUG,
    SCENE,
    SINK,
    TABLE,
    ToyThor,
)

OBJECTS = ("", "Apple", "ButterKnife", "CounterTop", "DeskLamp", "Fridge", "Microwave", "Mug")
TAKE = Subtask("Take the mug.", "PickupObject", MUG)
SLICE = Subtask("Cut the apple.", "SliceObject", APPLE)
AHEAD = ExpertAction("MoveAhead_25")


def pair(name, thing=""):
    return ACTION_NAMES.index(name), OBJECTS.index(thing)


def environment(toy, objects=OBJECTS):
    return ThorEnvironment(ThorSettings(source="."), objects, start=lambda settings: toy)


def task(*subtasks, before=(), scene=SCENE, steps=5):
    return ThorTask("toy", scene, tuple(before), tuple(subtasks), steps)


def at(x, **scene):
    return SCENE | {"init_action": SCENE["init_action"] | {"x": x}} | scene


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


# ------------------------------------------------------------------------------------------------ ends of sub-tasks


def state_after(*actions, x=0.5):
    toy = ToyThor()
    scene = Scene(toy)
    scene.load(at(x))
    for name, thing in actions:
        assert scene.act(name, thing), (name, thing)
    return scene


def done(subtask, scene):
    return is_done(subtask, scene.metadata, scene.treatments)


def test_any_slice_counts_and_another_object_of_the_class_does_not():
    scene = state_after(("PickupObject", KNIFE))
    cut = Subtask("", "SliceObject", APPLE)
    assert not done(cut, scene)
    scene.act("SliceObject", APPLE)
    assert done(cut, scene)
    scene.act("PutObject", TABLE)
    scene.act("PickupObject", f"{APPLE}|AppleSliced_1")
    assert done(Subtask("", "PickupObject", APPLE), scene)
    assert done(Subtask("", "PickupObject", f"{APPLE}|AppleSliced_0"), scene)
    assert not done(TAKE, state_after(("PickupObject", FAR_MUG)))
    assert whole(SINK) == SINK and whole(f"{APPLE}|AppleSliced_1") == APPLE


def test_cleaning_needs_the_basin_below_the_faucet_and_the_object_in_hand():
    washed = [("PickupObject", MUG), ("PutObject", SINK), ("ToggleObjectOn", FAUCET)]
    clean = Subtask("", "CleanObject", MUG)
    scene = state_after(*washed)
    assert not done(clean, scene) and scene.treatments.cleaned == {MUG}
    scene.act("ToggleObjectOff", FAUCET)
    scene.act("PickupObject", MUG)
    assert done(clean, scene)
    other = state_after(("PickupObject", MUG), ("PutObject", toy_thor.FAR_SINK), ("ToggleObjectOn", FAUCET))
    assert other.treatments.cleaned == set()
    # A new scene remembers nothing.
    scene.load(SCENE)
    assert scene.treatments == Treatments(set(), set(), set())


def test_cooling_is_closing_the_fridge_on_it_and_heating_is_switching_the_microwave_on():
    into = [("PickupObject", MUG), ("OpenObject", FRIDGE), ("PutObject", FRIDGE)]
    cool = Subtask("", "CoolObject", MUG)
    taken = state_after(*into, ("PickupObject", MUG))
    assert not done(cool, taken)
    assert done(cool, state_after(*into, ("CloseObject", FRIDGE), ("OpenObject", FRIDGE), ("PickupObject", MUG)))
    into = [("PickupObject", MUG), ("OpenObject", MICROWAVE), ("PutObject", MICROWAVE), ("CloseObject", MICROWAVE)]
    heat = Subtask("", "HeatObject", MUG)
    assert not done(heat, state_after(*into, ("PickupObject", MUG)))
    assert done(heat, state_after(*into, ("ToggleObjectOn", MICROWAVE), ("PickupObject", MUG)))


def test_a_failed_action_treats_nothing():
    toy = ToyThor()
    scene = Scene(toy)
    scene.load(SCENE)
    for name, thing in [("PickupObject", MUG), ("OpenObject", FRIDGE), ("PutObject", FRIDGE)]:
        scene.act(name, thing)
    toy.slippery = ["CloseObject"]
    assert not scene.act("CloseObject", FRIDGE) and scene.treatments.cooled == set()


def test_a_subtask_is_read_off_the_experts_actions():
    put = [ExpertAction("OpenObject", FRIDGE), ExpertAction("PutObject", MUG, FRIDGE)]
    assert subtask_of("PutObject", "t", put) == Subtask("t", "PutObject", MUG, FRIDGE)
    closed = subtask_of("PutObject", "t", [*put, ExpertAction("CloseObject", FRIDGE)])
    assert closed.closed == (FRIDGE,)
    again = subtask_of("PutObject", "t", [ExpertAction("CloseObject", FRIDGE), *put])
    assert again.closed == ()
    assert not subtask_of("ToggleObject", "t", [AHEAD, ExpertAction("ToggleObjectOff", LAMP)]).on
    with pytest.raises(ValueError, match="'GotoLocation' cannot be told"):
        subtask_of("GotoLocation", "t", [AHEAD])
    with pytest.raises(ValueError, match="'HeatObject' without PickupObject"):
        subtask_of("HeatObject", "t", [AHEAD])


# ------------------------------------------------------------------------------------------------ what is missing


@pytest.fixture
def installed(monkeypatch):
    """As if the extra were there."""
    monkeypatch.setattr(thor_controller.importlib.util, "find_spec", lambda name: object())


def program(path, mode=0o755):
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_without_the_extra_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai2thor", None)
    monkeypatch.setattr(thor_controller.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ThorUnavailable, match=r"pip install 'likert-rl\[thor\]'"):
        start_thor(ThorSettings(source=tmp_path))


def test_without_a_build_it_is_said_where_one_belongs(installed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    where = tmp_path / ".ai2thor" / "releases" / RELEASE / RELEASE
    with pytest.raises(ThorUnavailable, match=f"{where} is no program: place.*evaluation.thor.build.*docs/alfred.md"):
        check_thor(ThorSettings(source=tmp_path))
    plain = program(tmp_path / "plain", mode=0o644)
    with pytest.raises(ThorUnavailable, match=r"plain is no program.*chmod \+x"):
        check_thor(ThorSettings(source=tmp_path, build=plain))
    monkeypatch.setenv("DISPLAY", ":0")
    where.parent.mkdir(parents=True)
    program(where)
    check_thor(ThorSettings(source=tmp_path))
    check_thor(ThorSettings(source=tmp_path, build=program(tmp_path / "mine")))
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(ThorUnavailable, match="DISPLAY is not set"):
        check_thor(ThorSettings(source=tmp_path))


def test_the_build_is_started_by_its_name_so_that_nothing_is_downloaded(installed, monkeypatch, tmp_path):
    started = []

    class Unity(ToyThor):
        local_executable_path = None

        def start(self, **size):
            started.append((self.local_executable_path, size))

    module = type(sys)("ai2thor.controller")
    module.Controller = Unity
    monkeypatch.setitem(sys.modules, "ai2thor", type(sys)("ai2thor"))
    monkeypatch.setitem(sys.modules, "ai2thor.controller", module)
    monkeypatch.setenv("DISPLAY", ":0")
    build = program(tmp_path / "thor")
    env = ThorEnvironment(ThorSettings(source=tmp_path, build=build), OBJECTS)
    assert started == [(str(build), {"player_screen_width": 300, "player_screen_height": 300})]
    env.reset(options={"task": task(TAKE)})
    assert env.step(pair("PickupObject", "Mug"))[1] == 1.0


def test_a_build_that_died_is_given_up_on_and_errors_come_through(toy):
    class Dead(ToyThor):
        def step(self, command):
            time.sleep(60)

    begun = time.monotonic()
    with pytest.raises(ThorUnavailable, match=r"not answered for 0\.2 s.*evaluation.thor.timeout_s"):
        PatientController(Dead(), 0.2).step({"action": "Pass"})
    assert time.monotonic() - begun < 10
    patient = PatientController(toy, 30.0)
    patient.reset("FloorPlan1")
    assert patient.last_event is toy.last_event
    with pytest.raises(ValueError, match="cannot be sliced"):
        patient.step({"action": "SliceObject", "objectId": MUG})


def test_environments_can_be_sent_to_another_process():
    import pickle

    make = partial(ThorEnvironment, ThorSettings(source="."), OBJECTS)
    assert pickle.loads(pickle.dumps(make)).args == make.args
