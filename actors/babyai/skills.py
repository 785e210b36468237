"""A demonstration of a chain as demonstrations of its sub-tasks, as SPRINT's and RG-VLM's data has them."""

from dataclasses import replace

import numpy as np

from actors.babyai.level import THEN
from algorithms.trajectories import Trajectory


def skills_of(chain: Trajectory) -> list[Trajectory]:
    """One trajectory for each sub-task, with its own instruction, from where the one before it ended.

    The demonstrator completed them in order, so each ends with the action that completed it, and terminates there. Of a
    chain that failed the last is the sub-task at which it did: it is truncated.
    """
    ends = np.flatnonzero(chain.audits["subtask_completed"]) + 1
    instructions = chain.instruction.split(THEN)
    failed = bool(chain.truncated[-1])
    if failed:
        ends = np.append(ends, len(chain))
    elif len(instructions) != len(ends):
        raise ValueError(f"{chain.episode_id}: {len(instructions)} sub-tasks, of which {len(ends)} were completed")
    if len(ends) > len(instructions) or ends[-1] != len(chain) or (failed and chain.audits["subtask_completed"][-1]):
        raise ValueError(f"{chain.episode_id}: its end is not the end of a sub-task")
    starts = np.concatenate([[0], ends[:-1]])
    return [
        _part(chain, number, instruction, slice(int(start), int(end)))
        for number, (instruction, start, end) in enumerate(zip(instructions, starts, ends, strict=False))
    ]


def _part(chain: Trajectory, number: int, instruction: str, steps: slice) -> Trajectory:
    states = slice(steps.start, steps.stop + 1)
    completed = chain.audits["subtask_completed"][steps]
    return replace(
        chain,
        episode_id=f"{chain.episode_id}-{number}",
        instruction=instruction,
        actions=chain.actions[steps],
        action_names=chain.action_names[steps],
        sparse_rewards=completed.astype(np.float32),
        terminated=completed,
        truncated=chain.truncated[steps],
        frames=chain.frames[states],
        symbolic=None if chain.symbolic is None else chain.symbolic[states],
        audits={name: values[steps] for name, values in chain.audits.items()},
    )
