"""Tasks in the toy kitchen, and the environment that sets them."""

from actors.thor.environment import ThorEnvironment
from actors.thor.settings import ACTION_NAMES, ThorSettings
from actors.thor.tasks import ExpertAction, Subtask, ThorTask
from tests.fakes.toy_thor import APPLE, MUG, SCENE

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
