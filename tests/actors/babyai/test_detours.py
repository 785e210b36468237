"""Demonstrators that first go to something else, and those that fail."""

from dataclasses import replace

import numpy as np
import pytest
from minigrid.core.constants import DIR_TO_VEC, OBJECT_TO_IDX

from actors.babyai.detours import Detour
from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import Demonstration, demonstrate
from actors.babyai.settings import BabyAISettings, DetourSettings
from actors.babyai.skills import skills_of

ROOM = BabyAISettings(room_size=8, num_rows=1, num_cols=1, num_objects=7, subtasks=("goto", "pickup"))
ALWAYS = DetourSettings(probability=1.0)


def environment():
    return ChainEnvironment(ROOM, 0, with_frames=False)


def facing(symbolic):
    """Kind of what the agent looks at in a state, as MiniGrid numbers it."""
    ((y, x),) = np.argwhere(symbolic[..., 0] == OBJECT_TO_IDX["agent"])
    dx, dy = DIR_TO_VEC[symbolic[y, x, 2]]
    return symbolic[y + dy, x + dx, 0]


def shown(**how):
    """Demonstrations of some chains of two."""
    tasks = [ChainTask("train", index, 2) for index in range(12)]
    return [one for task in tasks if (one := demonstrate(environment(), 0, Demonstration(task, 0.0, **how)))]


def test_each_subtask_is_completed_after_the_demonstrator_faced_a_ball():
    chains, direct = shown(detours=ALWAYS), shown()
    assert len(chains) >= 10
    for chain in chains:
        assert chain.terminated[-1] and chain.sparse_rewards[-1] == 1 and not chain.truncated.any()
        for part in skills_of(chain):
            has_ball = (part.symbolic[0, ..., 0] == OBJECT_TO_IDX["ball"]).any()
            assert OBJECT_TO_IDX["ball"] in map(facing, part.symbolic) or not has_ball
    away = [np.mean(np.concatenate([one.audits["contribution"] for one in found]) < 0) for found in (chains, direct)]
    assert away[0] > 0.1 > away[1]


def test_a_detour_ends_after_so_many_actions_and_where_there_is_no_such_thing():
    room = environment()
    room.reset(options={"task": ChainTask("train", 0, 2)})
    detour = Detour(room.level, DetourSettings(kind="ball", max_actions=2))
    taken = []
    while (action := detour.act(taken[-1] if taken else None)) is not None:
        taken.append(action)
        room.step(6)
    assert len(taken) == 2
    assert Detour(room.level, DetourSettings(kind="door")).act(None) is None


@pytest.mark.parametrize("fails_at", [0, 1])
def test_a_failure_is_truncated_and_earns_nothing(fails_at):
    chains = shown(detours=DetourSettings(kind="box"), fails_at=fails_at)
    assert len(chains) >= 3
    for chain in chains:
        assert chain.truncated.tolist() == [False] * (len(chain) - 1) + [True]
        assert not chain.terminated.any() and not chain.sparse_rewards.any()
        parts = skills_of(chain)
        assert len(parts) == fails_at + 1 and sum(map(len, parts)) == len(chain)
        for part in parts[:-1]:
            assert part.terminated[-1] and part.sparse_rewards[-1] == 1 and not part.truncated.any()
        assert parts[-1].truncated[-1] and not parts[-1].terminated.any() and not parts[-1].sparse_rewards.any()
        assert facing(parts[-1].symbolic[-1]) == OBJECT_TO_IDX["box"]


def test_detours_disturb_no_other_draw():
    seldom = DetourSettings(probability=0.5)
    for one, other in zip(shown(), shown(detours=seldom.model_copy(update={"probability": 0.0})), strict=True):
        assert one.actions.tolist() == other.actions.tolist()
    lengths = [[len(one) for one in shown(detours=settings)] for settings in (seldom, seldom, ALWAYS)]
    assert lengths[0] == lengths[1] != lengths[2]


def test_a_chain_that_ends_in_the_middle_is_not_cut():
    chain = shown()[0]
    with pytest.raises(ValueError, match="its end is not the end of a sub-task"):
        skills_of(replace(chain, truncated=chain.terminated))
