"""Chains of BabyAI sub-tasks: the same from the same seed, verified in order, with exact contributions."""

import numpy as np
import pytest
from minigrid.core.world_object import Ball
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import Demonstration, demonstrate, random_share, solvable_tasks
from actors.babyai.level import ChainLevel
from actors.babyai.settings import DROP, FORWARD, LEFT, NOTHING, PICK_UP, RIGHT, TOGGLE, BabyAISettings
from actors.babyai.view import egocentric, egocentric_shape

SMALL = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("goto", "pickup", "putnext"))
ROOMS = BabyAISettings()
AGENT = 10


def begin(settings=SMALL, seed=0, *, split="train", index=0, length=1, **options):
    environment = ChainEnvironment(settings, seed)
    observation, info = environment.reset(options={"task": ChainTask(split, index, length), **options})
    return environment, observation, info


def test_equal_tasks_are_equal_and_others_differ():
    _, first, told = begin(ROOMS, index=3, length=2)
    _, again, told_again = begin(ROOMS, index=3, length=2)
    assert told == told_again and np.array_equal(first["frame"], again["frame"])
    for change in ({"seed": 1}, {"index": 4}, {"split": "held_out"}):
        _, other, _ = begin(ROOMS, **{"index": 3, "length": 2, **change})
        assert not np.array_equal(first["symbolic"], other["symbolic"]), change


def test_observations_have_the_shapes_that_the_settings_say():
    environment, observation, _ = begin(ROOMS)
    assert observation["frame"].shape == (*ROOMS.frame_px, 3) == (84, 84, 3)
    assert observation["symbolic"].shape == ROOMS.symbolic_shape == (11, 11, 3)
    assert environment.observation_space.contains(observation)


def test_only_the_agent_moves_when_the_start_is_randomised():
    _, fixed, told = begin(ROOMS, index=5, length=3)
    starts = set()
    for start_seed in range(8):
        _, moved, told_moved = begin(ROOMS, index=5, length=3, start_seed=start_seed)
        assert told_moved["instruction"] == told["instruction"]
        differing = np.argwhere((moved["symbolic"] != fixed["symbolic"]).any(-1))
        for cell in differing:
            assert AGENT in (moved["symbolic"][*cell][0], fixed["symbolic"][*cell][0])
        starts.add(tuple(np.argwhere(moved["symbolic"][..., 0] == AGENT)[0]))
    assert len(starts) > 4


def test_in_full_rooms_another_layout_is_drawn_where_babyai_would_look_for_a_place_for_ever():
    full = ChainLevel(BabyAISettings(room_size=4, num_objects=4), 1, "train")
    # The first seed with which BabyAI's own does not end.
    full.np_random = np.random.default_rng(16)
    full.reset_level()
    assert full.grid.get(*full.agent_pos) is None
    ahead = full.grid.get(*full.front_pos)
    assert ahead is None or ahead.type == "wall"
    for x in range(full.width):
        for y in range(full.height):
            if full.grid.get(x, y) is None:
                full.grid.set(x, y, Ball("red"))
    with pytest.raises(RejectSampling, match="no place in this room"):
        full.place_agent(0, 0)
    with pytest.raises(ValueError, match=r"no place for the agent .* larger rooms or fewer objects"):
        full.move_agent(np.random.default_rng(0))


@pytest.mark.parametrize("length", [1, 3, 6])
def test_the_expert_completes_a_chain_and_only_the_last_action_is_rewarded(length):
    environment = ChainEnvironment(SMALL, 0)
    shown = next(
        found
        for index in range(20)
        if (found := demonstrate(environment, 0, Demonstration(ChainTask("train", index, length), 0.1)))
    )
    assert shown.instruction.count(", then ") == length - 1
    assert shown.sparse_rewards.tolist() == [0.0] * (len(shown) - 1) + [1.0]
    assert shown.terminated.tolist() == [False] * (len(shown) - 1) + [True]
    assert len(shown.frames) == len(shown.symbolic) == len(shown) + 1
    assert shown.audits["subtask_completed"].sum() == length
    assert (shown.audits["contribution"][shown.audits["subtask_completed"]] == 1).all()
    assert np.array_equal(np.diff(shown.audits["subtask"]), shown.audits["subtask_completed"][:-1])


@pytest.mark.timeout(60)
def test_a_bot_that_plans_without_end_is_given_up():
    # Objects block every place where it could put down what is in its way.
    blocked = Demonstration(ChainTask("train", 22600, 5), random_share(0, 22600, (0.0, 0.3)))
    assert demonstrate(ChainEnvironment(ROOMS, 0), 0, blocked) is None


def test_a_demonstration_is_a_function_of_its_seed():
    def show(seed, share):
        shown = demonstrate(ChainEnvironment(SMALL, 0), seed, Demonstration(ChainTask("train", 1, 2), share))
        return None if shown is None else (shown.actions.tolist(), shown.frames)

    assert show(0, 0.3) == show(0, 0.3)
    assert show(0, 0.3) != show(1, 0.3)


def test_replaying_the_actions_gives_the_same_frames():
    shown = demonstrate(ChainEnvironment(SMALL, 0), 0, Demonstration(ChainTask("train", 2, 2), 0.1))
    environment, observation, _ = begin(index=2, length=2)
    states = [observation["symbolic"]]
    for action in shown.actions:
        observation, _, _, _, info = environment.step(int(action))
        states.append(observation["symbolic"])
    assert np.array_equal(np.stack(states), shown.symbolic)
    assert info["success"] and info["proportion"] == 1.0


def shortest_by_search(settings, index, split="train"):
    """Fewest actions to the end of a one-sub-task chain, by trying all sequences breadth first."""
    frontier, seen, steps = [()], set(), 0
    while frontier:
        steps += 1
        following = []
        for actions in frontier:
            for action in (LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE):
                environment, _, _ = begin(settings, index=index, split=split)
                for earlier in actions:
                    environment.step(earlier)
                observation, _, done, _, _ = environment.step(action)
                if done:
                    return steps
                state = observation["symbolic"].tobytes()
                if state not in seen:
                    seen.add(state)
                    following.append((*actions, action))
        frontier = following
    return None


def test_the_distance_is_that_of_an_exhaustive_search():
    near = [index for index in range(60) if (begin(index=index)[0].distance() or 99) <= 5]
    assert len(near) >= 3
    for index in near[:4]:
        assert begin(index=index)[0].distance() == shortest_by_search(SMALL, index)


def test_contributions_are_signed_by_the_way_that_is_left():
    environment, _, _ = begin(index=0)
    before = environment.distance()
    _, _, _, _, info = environment.step(NOTHING)
    assert info["contribution"] == 0 and environment.distance() == before
    signs = set()
    for index in range(5):
        for action in (LEFT, RIGHT, FORWARD):
            environment, _, _ = begin(index=index)
            before = environment.distance()
            _, _, done, _, info = environment.step(action)
            if not done:
                assert info["contribution"] == np.sign(before - environment.distance())
                signs.add(info["contribution"])
    assert signs == {-1, 0, 1}


def test_opening_a_door_on_the_way_contributes():
    doors = BabyAISettings(subtasks=("open",))
    environment, _, _ = begin(doors)
    shown = demonstrate(ChainEnvironment(doors, 0), 0, Demonstration(ChainTask("train", 0, 1), 0.0))
    for action in shown.actions:
        _, _, done, _, info = environment.step(int(action))
    assert done and info["contribution"] == 1 and shown.action_names[-1] == "toggle"


def test_held_out_pairs_are_never_seen_in_training_and_always_named_in_their_own_split():
    held_out = {f"{colour} {kind}" for colour, kind in ROOMS.held_out_pairs}
    kinds = {"key": 5, "ball": 6, "box": 7}
    colours = {"red": 0, "green": 1, "blue": 2, "purple": 3, "yellow": 4, "grey": 5}
    codes = {(kinds[kind], colours[colour]) for colour, kind in ROOMS.held_out_pairs}
    for index in range(15):
        for split in ("train", "held_out"):
            _, seen, told = begin(ROOMS, split=split, index=index, length=2)
            assert not codes & set(map(tuple, seen["symbolic"][..., :2].reshape(-1, 2).tolist()))
        _, _, told = begin(ROOMS, split="held_out_pairs", index=index, length=2)
        assert any(pair in told["instruction"] for pair in held_out)


def test_an_episode_is_cut_at_its_budget():
    environment, _, _ = begin(index=0, length=6, max_steps=2)
    assert environment.step(NOTHING)[2:4] == (False, False)
    assert environment.step(NOTHING)[2:4] == (False, True)


def test_what_is_carried_is_seen():
    settings = BabyAISettings(room_size=7, num_rows=1, num_cols=1, num_objects=5, subtasks=("pickup",))
    environment, first, _ = begin(settings, length=2)
    shown = next(
        found
        for index in range(9)
        if (found := demonstrate(environment, 0, Demonstration(ChainTask("train", index, 2), 0)))
    )
    carrying = int(np.flatnonzero(shown.audits["subtask_completed"])[0]) + 1
    assert shown.symbolic[carrying][0, 0, 0] in (5, 6, 7) and shown.symbolic[0][0, 0, 0] == 2
    assert not first["frame"][:7].any()


def test_solvable_tasks_come_with_the_experts_steps():
    tasks = (ChainTask("held_out", index, 2) for index in range(100))
    found = solvable_tasks(SMALL, 0, tasks, 3)
    assert len(found) == 3 and all(steps >= 2 for _, steps in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_rows": 1, "num_cols": 1}, "one room has no door"),
        ({"held_out_pairs": (("pink", "box"),)}, "held_out_pairs has"),
        ({"num_objects": 60}, "above a third"),
        ({"subtasks": ()}, "subtasks is empty"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BabyAISettings(**change)


def test_without_measuring_a_chain_is_the_same_but_for_what_helps():
    task = ChainTask("train", 2, 2)
    shown, plain = (
        demonstrate(ChainEnvironment(SMALL, 0, measures=measures), 0, Demonstration(task, 0.2))
        for measures in (True, False)
    )
    assert shown.actions.tolist() == plain.actions.tolist() and shown.frames == plain.frames
    assert set(shown.audits) - set(plain.audits) == {"contribution", "distance"}
    np.testing.assert_array_equal(shown.audits["subtask_completed"], plain.audits["subtask_completed"])


def test_the_egocentric_view_moves_and_turns_the_level_around_the_agent():
    wall, empty, agent, ball = (2, 5, 0), (1, 0, 0), AGENT, (6, 0, 0)
    cells = np.full((5, 7, 3), wall, dtype=np.uint8)
    cells[1:4, 1:6] = empty
    cells[2, 2] = (agent, 0, 0)
    cells[2, 4] = ball
    seen = egocentric(cells)
    assert seen.shape == egocentric_shape(cells.shape) == (7, 7, 3)
    # It looks to the right, where the ball lies two cells off: two cells ahead, which is up.
    assert tuple(seen[1, 3]) == ball and tuple(seen[3, 3]) == empty
    cells[2, 2, 2] = 1
    # Looking down, it has the ball on its left.
    assert tuple(egocentric(cells)[3, 1]) == ball
    cells[0, 0] = ball
    carrying = egocentric(cells)
    assert tuple(carrying[3, 3]) == ball and (carrying[..., 0] == 6).sum() == 2


def test_one_way_leads_to_one_view_wherever_the_agent_turns():
    environment, observation, _ = begin(ROOMS, index=3)
    assert environment.observation_space["egocentric"].shape == observation["egocentric"].shape
    before = observation["egocentric"]
    turned = environment.step(RIGHT)[0]["egocentric"]
    assert np.array_equal(turned, np.rot90(before)) and not np.array_equal(turned, before)
