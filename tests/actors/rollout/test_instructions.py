"""Worlds whose actions are choices and whose episodes say what is to be done in them."""

import numpy as np
import torch

from actors.rollout.playing import play
from actors.rollout.trail import Trail
from actors.worlds.world import WorldSpec, WorldStep
from algorithms.episodes import Scene

SPEC = WorldSpec(
    observation_size=1, action_size=1, longest_agent_steps=3, fixed_length=True, draws_again=False, knows_success=True,
    num_actions=3, says_instruction=True,
)  # fmt: skip


class Errands:
    """Says a number; the action with that number is success."""

    spec = SPEC

    def reset(self, seed):
        self._wanted, self._step = seed % 3, 0
        return np.zeros(1, np.float32)

    def instruction(self):
        return f"choose {self._wanted}"

    def step(self, action):
        assert action.shape == (1,) and action[0] in (0, 1, 2)
        self._step += 1
        return WorldStep(np.zeros(1, np.float32), 0.0, action[0] == self._wanted, False, self._step == 3)

    def solved_at_start(self):
        return None

    def done(self):
        return None

    def frame_state(self):
        return np.zeros(0, np.float32)

    def scene(self):
        return Scene({})

    def frame(self):
        return np.full((8, 8, 3), 1 + self._step, np.uint8)


class Obedient:
    """Does what it is told."""

    frame_stack = 0

    def act(self, observations, instructions, noise=None, stacked=None):
        assert observations.shape == (len(instructions), 1)
        return torch.tensor([[float(said.split()[1])] for said in instructions])


def test_random_actions_are_numbers_of_choices_or_lie_between_their_ends():
    rng = np.random.default_rng(0)
    choices = SPEC.random_actions(rng, 1000)
    assert choices.shape == (1000, 1) and set(choices.ravel()) == {0, 1, 2}
    numbers = WorldSpec(1, 2, 3, True, False, True).random_actions(np.random.default_rng(0), 4)
    np.testing.assert_array_equal(numbers, np.random.default_rng(0).uniform(-1.0, 1.0, (4, 2)))


def test_a_policy_that_reads_is_told_what_each_episode_is_about():
    results = [play(Errands(), "end", Obedient(), np.random.default_rng(seed)) for seed in range(4)]
    assert all(result.success for result in results)
    assert not all(play(Errands(), "end", None, np.random.default_rng(seed)).success for seed in range(4))


def test_a_chunk_carries_its_episodes_instruction():
    for seed in (1, 2):
        trail = Trail(Errands(), f"episode{seed}", seed)
        trail.step(np.array([2.0], np.float32))
        chunk, _ = trail.cut()
        assert trail.instruction == chunk.instruction == f"choose {seed}"
        assert chunk.actions.tolist() == [[2.0]] and chunk.actions.dtype == np.float32
