"""When a sub-task of ALFRED is done, and how it is read off the expert's actions."""

import pytest

from actors.thor.scene import Scene
from actors.thor.tasks import ExpertAction, Subtask, Treatments, is_done, subtask_of, whole
from tests.fakes import toy_thor
from tests.fakes.thor_tasks import AHEAD, TAKE, at
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
