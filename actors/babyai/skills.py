"""A demonstration of a chain as demonstrations of its sub-tasks, as SPRINT's and RG-VLM's data has them."""

from dataclasses import replace

import numpy as np

from actors.babyai.level import THEN
from algorithms.trajectories import Trajectory


def skills_of(chain: Trajectory) -> list[Trajectory]:
    """One trajectory for each sub-task, with its own instruction, from where the one before it ended.

    The demonstrator completed them in order, so each ends with the action that completed it, and terminates there.
    """
    ends = np.flatnonzero(chain.audits["subtask_completed"]) + 1
    starts = np.concatenate([[0], ends[:-1]])
    instructions = chain.instruction.split(THEN)
    if len(instructions) != len(ends) or ends[-1] != len(chain):
        raise ValueError(f"{chain.episode_id}: {len(instructions)} sub-tasks, of which {len(ends)} were completed")
    return [
        _part(chain, number, instruction, slice(int(start), int(end)))
        for number, (instruction, start, end) in enumerate(zip(instructions, starts, ends, strict=True))
    ]


def _part(chain: Trajectory, number: int, instruction: str, steps: slice) -> Trajectory:
    states = slice(steps.start, steps.stop + 1)
    last = np.arange(steps.start, steps.stop) == steps.stop - 1
    return replace(
        chain,
        episode_id=f"{chain.episode_id}-{number}",
        instruction=instruction,
        actions=chain.actions[steps],
        action_names=chain.action_names[steps],
        sparse_rewards=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(len(last), dtype=bool),
        frames=chain.frames[states],
        symbolic=None if chain.symbolic is None else chain.symbolic[states],
        audits={name: values[steps] for name, values in chain.audits.items()},
    )
