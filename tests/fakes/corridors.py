"""A grid task that mixed data solves by reward alone: walk to the corner that the instruction names."""

import gymnasium
import numpy as np

from algorithms.instructions import Vocabulary
from algorithms.language_networks import PolicyShape
from algorithms.transitions import Transitions, join_episodes

SIDE = 5
STEPS = 16
"""An episode's steps at most; the farthest corner is 8 away."""
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
CORNERS = {"upper left": (0, 0), "upper right": (0, SIDE - 1), "lower right": (SIDE - 1, SIDE - 1)}
INSTRUCTIONS = tuple(f"go to the {name} corner" for name in CORNERS)
VOCABULARY = Vocabulary.of(INSTRUCTIONS)
ENCODED = VOCABULARY.encode(INSTRUCTIONS)
SHAPE = PolicyShape("vector", (2 * SIDE,), 0, VOCABULARY.num_ids, ENCODED.shape[1], 4, 4)
STARTS = [(row, column) for row in range(SIDE) for column in range(SIDE)]


def observe(cell):
    """float32 [2 * SIDE]: row and column, one-hot each."""
    seen = np.zeros(2 * SIDE, np.float32)
    seen[cell[0]] = seen[SIDE + cell[1]] = 1.0
    return seen


def move(cell, action):
    return tuple(int(np.clip(at + step, 0, SIDE - 1)) for at, step in zip(cell, MOVES[action], strict=True))


def towards(cell, corner, rng):
    """A random one of the moves that come closer."""
    axis = rng.choice([axis for axis in (0, 1) if cell[axis] != corner[axis]])
    step = [0, 0]
    step[axis] = int(np.sign(corner[axis] - cell[axis]))
    return MOVES.index(tuple(step))


def mixed_data(seed=0, num_episodes=600, expert_share=0.25, detour_share=0.3) -> Transitions:
    """A quarter of the episodes walks to the named corner; the rest walks to the one that comes before it, in vain."""
    rng = np.random.default_rng(seed)
    corners = list(CORNERS.values())
    episodes = []
    while len(episodes) < num_episodes:
        instruction, cell = int(rng.integers(len(corners))), STARTS[rng.integers(len(STARTS))]
        goal = corners[instruction]
        heading = goal if rng.random() < expert_share else corners[instruction - 1]
        if goal == cell:
            continue
        seen, actions, rewards = [observe(cell)], [], []
        while len(actions) < STEPS and cell != goal:
            at_rest = cell == heading or rng.random() < detour_share
            actions.append(int(rng.integers(4)) if at_rest else towards(cell, heading, rng))
            cell = move(cell, actions[-1])
            seen.append(observe(cell))
            rewards.append(float(cell == goal))
        episodes.append(
            {
                "observations": np.stack(seen),
                "actions": np.array(actions),
                "rewards": np.array(rewards),
                "terminated": cell == goal,
                "instruction": instruction,
            }
        )
    return join_episodes(episodes, ENCODED)


def success(actor) -> float:
    """Share of all starts and instructions from which the likeliest actions reach the corner in time."""
    import torch

    cells, asked = zip(*[(c, i) for i, goal in enumerate(CORNERS.values()) for c in STARTS if c != goal], strict=True)
    goals, cells = [list(CORNERS.values())[index] for index in asked], list(cells)
    done = np.zeros(len(cells), dtype=bool)
    for _ in range(STEPS):
        seen = torch.from_numpy(np.stack([observe(cell) for cell in cells]))[:, None]
        actions = actor.act(seen, torch.from_numpy(ENCODED[list(asked)]))
        cells = [c if d else move(c, int(a)) for c, a, d in zip(cells, actions, done, strict=True)]
        done |= np.array([cell == goal for cell, goal in zip(cells, goals, strict=True)])
    return float(done.mean())


class CornerEnv(gymnasium.Env):
    """The same as a Gymnasium environment, for RLlib's evaluation workers."""

    observation_space = gymnasium.spaces.Dict(
        {
            "observation": gymnasium.spaces.Box(-np.inf, np.inf, (1, 2 * SIDE), np.float32),
            "instruction": gymnasium.spaces.Box(0, VOCABULARY.num_ids - 1, (ENCODED.shape[1],), np.int32),
        }
    )
    action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.asked = int(self.np_random.integers(len(CORNERS)))
        self.goal = list(CORNERS.values())[self.asked]
        self.cell = next(c for c in self.np_random.permutation(STARTS).tolist() if tuple(c) != self.goal)
        self.steps = 0
        return self._seen(), {}

    def step(self, action):
        self.cell = move(self.cell, int(action))
        self.steps += 1
        reached = self.cell == self.goal
        return self._seen(), float(reached), reached, self.steps == STEPS and not reached, {}

    def _seen(self):
        return {"observation": observe(self.cell)[None], "instruction": ENCODED[self.asked]}
