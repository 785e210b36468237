"""Sub-tasks that name what is in hand, or what was moved or opened: they can be done, and only by doing them."""

import copy

import pytest
from minigrid.envs.babyai.core import verifier
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc, OpenInstr, PickupInstr, PutNextInstr

from actors.babyai import environment as environment_module
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import Demonstration, demonstrate, random_share
from actors.babyai.level import ChainLevel
from actors.babyai.settings import DROP, FORWARD, LEFT, NOTHING, PICK_UP, RIGHT, TOGGLE, BabyAISettings

ROOMS = BabyAISettings()
ROOM = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("goto", "pickup"))
ANY_ACTION = (LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE)


def things(level, kind=None):
    """What lies about, but for doors and walls."""
    found = [cell for cell in level.grid.grid if cell is not None and cell.type in ("key", "ball", "box")]
    return [thing for thing in found if kind in (None, thing.type)]


def named(thing):
    return ObjDesc(thing.type, thing.color)


def other_than(thing, level):
    """Something of another kind and colour, so that no description fits both."""
    return next(one for one in things(level) if one.type != thing.type and one.color != thing.color)


AFTER_PICKING_UP = {
    "go to it": lambda it, level: GoToInstr(named(it)),
    "go to one of its kind": lambda it, level: GoToInstr(ObjDesc(it.type)),
    "pick it up": lambda it, level: PickupInstr(named(it)),
    "pick up one of its kind": lambda it, level: PickupInstr(ObjDesc(it.type)),
    "put it next to another": lambda it, level: PutNextInstr(named(it), named(other_than(it, level))),
    "put one of its kind next to a door": lambda it, level: PutNextInstr(ObjDesc(it.type), ObjDesc("door")),
    "put another next to it": lambda it, level: PutNextInstr(named(other_than(it, level)), named(it)),
    "put another next to one of its kind": lambda it, level: PutNextInstr(
        named(other_than(it, level)), ObjDesc(it.type)
    ),
    "open a door with full hands": lambda it, level: OpenInstr(ObjDesc("door")),
}
"""The second sub-task of a chain whose first is to pick something up."""


@pytest.fixture
def given_chain(monkeypatch):
    """Makes levels whose chain is a function of the level."""

    def give(make):
        class Given(ChainLevel):
            def _draw_chain(self):
                return make(self)

        monkeypatch.setattr(environment_module, "ChainLevel", Given)

    return give


def begun(settings, index, length=2, measures=True):
    environment = ChainEnvironment(settings, 0, with_frames=False, measures=measures)
    environment.reset(options={"task": ChainTask("train", index, length)})
    return environment


def replayed(settings, task, actions):
    """What the environment of an evaluation says of these actions."""
    environment = ChainEnvironment(settings, 0, with_frames=False, measures=False)
    _, info = environment.reset(options={"task": task})
    assert not info["success"]
    for action in actions:
        _, _, _, _, info = environment.step(int(action))
    return info


@pytest.mark.parametrize("kind", AFTER_PICKING_UP)
def test_a_subtask_may_name_what_is_in_hand(kind, given_chain):
    def chain(level):
        it = next(
            one
            for one in things(level)
            if any(two.type != one.type and two.color != one.color for two in things(level))
        )
        return [PickupInstr(named(it)), AFTER_PICKING_UP[kind](it, level)]

    given_chain(chain)
    for index in range(3):
        task = ChainTask("train", index, 2)
        environment = ChainEnvironment(ROOMS, 0, with_frames=False, measures=index == 0)
        shown = demonstrate(environment, 0, Demonstration(task, 0.0))
        assert shown is not None, environment.level.mission
        assert replayed(ROOMS, task, shown.actions)["success"]
        if index == 0:
            # With the thing in hand the way is known, and each of the bot's actions is measured.
            assert (shown.audits["distance"] > 0).all()


def carrying(given_chain, second, index):
    """An environment in which the first sub-task is done and `second`, of the thing in hand, is to be done."""
    given_chain(lambda level: [PickupInstr(named(it := things(level)[0])), second(it, level)])
    environment = begun(ROOM, index)
    shown = demonstrate(ChainEnvironment(ROOM, 0, with_frames=False), 0, Demonstration(ChainTask("train", index, 2), 0))
    for action in shown.actions:
        _, _, _, _, info = environment.step(int(action))
        if info["subtask_completed"]:
            return environment
    raise AssertionError("the first sub-task was not completed")


def test_the_place_where_it_lay_is_no_longer_where_it_is(given_chain):
    environment = carrying(given_chain, AFTER_PICKING_UP["go to it"], 0)
    for action in (NOTHING, LEFT, LEFT, LEFT, LEFT, NOTHING):
        assert not environment.step(action)[4]["subtask_completed"]
    assert environment.step(DROP)[4]["success"]


def test_what_is_in_hand_is_not_picked_up_by_holding_it(given_chain):
    environment = carrying(given_chain, AFTER_PICKING_UP["pick it up"], 0)
    for action in (NOTHING, PICK_UP, DROP):
        assert not environment.step(action)[4]["subtask_completed"]
    assert environment.step(PICK_UP)[4]["success"]


def test_an_opened_box_is_nowhere(given_chain):
    def chain(level):
        return [GoToInstr(ObjDesc("box")), GoToInstr(named(things(level, "box")[0]))]

    given_chain(chain)
    index = next(index for index in range(40) if len(things(begun(ROOM, index).level, "box")) == 1)
    task = ChainTask("train", index, 2)
    shown = demonstrate(ChainEnvironment(ROOM, 0, with_frames=False), 0, Demonstration(task, 0.0))
    environment = begun(ROOM, index)
    for action in shown.actions[:-1]:
        info = environment.step(int(action))[4]
    assert info["subtask_completed"] and info["num_completed"] == 1
    # It stands before the box, so that anything would do, but for making the box vanish.
    assert not environment.step(TOGGLE)[4]["subtask_completed"]
    assert environment.distance() is None and not environment.step(NOTHING)[4]["subtask_completed"]


def shortest(environment, most):
    """Fewest actions to the end, by trying all breadth first; None if they are more than `most`."""
    frontier, seen = [environment], set()
    for steps in range(1, most + 1):
        following = []
        for state in frontier:
            for action in ANY_ACTION:
                after = copy.deepcopy(state)
                observation, _, done, _, _ = after.step(action)
                if done:
                    return steps
                key = observation["symbolic"].tobytes()
                if key not in seen:
                    seen.add(key)
                    following.append(after)
        frontier = following
    return None


@pytest.mark.parametrize(
    ("kind", "index", "most"),
    [("go to it", 1, 3), ("pick up one of its kind", 2, 4), ("put it next to another", 3, 5)],
)
def test_the_distance_with_full_hands_is_that_of_an_exhaustive_search(given_chain, kind, index, most):
    environment = carrying(given_chain, AFTER_PICKING_UP[kind], index)
    environment.measures = False
    assert environment.distance() == shortest(environment, most)


def test_the_distance_where_what_is_in_hand_is_put_down_first(given_chain):
    """Each action that the distance calls a step on the way is one, down to the last."""
    environment = carrying(given_chain, AFTER_PICKING_UP["put another next to it"], 0)
    left = environment.distance()
    while left:
        tried = [(action, copy.deepcopy(environment)) for action in ANY_ACTION]
        infos = [(after.step(action)[4], after) for action, after in tried]
        best = next(((info, after) for info, after in infos if info["contribution"] == 1), None)
        assert best is not None, f"{left} to go, and nothing shortens it"
        info, environment = best
        if info["success"]:
            return
        assert environment.distance() < left
        left = environment.distance()


def test_waiting_for_done_actions_is_nobodys_business_here(monkeypatch):
    # As with BABYAI_DONE_ACTIONS in the environment, also as "0".
    monkeypatch.setattr(verifier, "use_done_actions", "0")
    environment = ChainEnvironment(ROOMS, 0, with_frames=False, measures=False)
    assert all(demonstrate(environment, 0, Demonstration(ChainTask("train", n, 2), 0.0)) for n in range(4))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nearly_all_chains_are_demonstrated_and_each_of_these_is_completed_in_an_evaluation():
    environment = ChainEnvironment(ROOMS, 0, with_frames=False, measures=False)
    tasks = [ChainTask("train", index, 1 + index % 6) for index in range(1_500)]
    shown = {task: demonstrate(environment, 0, Demonstration(task, 0.0)) for task in tasks}
    completed = {task: one for task, one in shown.items() if one is not None}
    assert len(completed) >= 0.99 * len(tasks), [task for task in tasks if task not in completed]
    for task, one in completed.items():
        assert replayed(ROOMS, task, one.actions)["success"], task
    # And with an expert that is interrupted, as data sets have it.
    for task in tasks[::15]:
        if (
            one := demonstrate(environment, 0, Demonstration(task, random_share(0, task.index, (0.0, 0.3))))
        ) is not None:
            assert replayed(ROOMS, task, one.actions)["success"], task
