"""Episodes watched for several chains: what was done is what BabyAI's own environment says, and all skills occur."""

import numpy as np
import pytest

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.settings import BabyAISettings
from actors.babyai.watching import SKILLS, watch

KINDS = (("pickup",), ("pickup", "putnext"), ("pickup", "open", "putnext"))


@pytest.fixture(scope="module")
def environment():
    return ChainEnvironment(BabyAISettings(), 0, with_frames=False, measures=False)


@pytest.fixture(scope="module")
def watched(environment):
    """Episodes of every skill."""
    return [watch(environment, 0, ChainTask("train", index, 2, KINDS[1]), KINDS, 60) for index in range(16)]


def test_a_chain_is_done_when_the_environment_says_so(environment, watched, monkeypatch):
    index = next(index for index, one in enumerate(watched) if one.chains[0].num_done[-1] == 2)
    task, actions = ChainTask("train", index, 2, KINDS[1]), []
    from actors.babyai.level import ChainLevel

    move = ChainLevel.move
    monkeypatch.setattr(ChainLevel, "move", lambda level, action: (actions.append(action), move(level, action))[1])
    again = watch(environment, 0, task, KINDS, 60)
    monkeypatch.undo()
    assert np.array_equal(again.symbolic, watched[index].symbolic), "equal arguments, equal result"
    observation, info = environment.reset(options={"task": task})
    assert info["instruction"] == again.chains[0].instruction
    for step, action in enumerate(actions, start=1):
        observation, _, terminated, _, info = environment.step(action)
        assert info["num_completed"] == again.chains[0].num_done[step]
        assert np.array_equal(observation["symbolic"], again.symbolic[step])
    assert terminated


def test_skills_make_a_difference_and_nobody_undoes_what_is_done(watched):
    by_skill = {skill: [one for one in watched if one.skill == skill] for skill in SKILLS}
    done = {skill: np.mean([one.chains[0].num_done[-1] for one in some]) for skill, some in by_skill.items()}
    assert done["able"] > 1 > 0.5 > done["none"]
    for one in watched:
        assert len(one.symbolic) == len(one.chains[0].num_done) <= 61
        for chain in one.chains:
            assert chain.num_done[0] == 0 and np.isin(np.diff(chain.num_done), (0, 1)).all()
            assert len(chain.named) == len(chain.kinds) >= chain.num_done[-1]


def test_who_carries_something_goes_on_with_it(watched):
    """BabyAI's bot would first put down what it has just picked up."""
    one = next(one for one in watched if one.skill == "able" and one.chains[0].num_done[-1] == 2)
    done = one.chains[0].num_done
    carries = (one.symbolic[:, 0, 0] != [2, 5, 0]).any(axis=1)
    first, last = int((done == 1).argmax()), int((done == 2).argmax())
    assert last - first > 3 and carries[first:last].mean() > 0.8


def test_other_chains_are_drawn_for_the_same_level(watched):
    instructions = {chain.instruction for one in watched for chain in one.chains}
    assert len(instructions) > 2 * len(watched)
    assert any(chain.num_done[-1] > 0 for one in watched for chain in one.chains[1:])
