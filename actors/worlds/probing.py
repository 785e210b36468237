"""Tries a world for one episode before anything depends on it: what is wrong with it is told at once."""

import numpy as np

from actors.worlds.apart import apart
from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings
from actors.worlds.world import WorldError, WorldSpec

DRAWN_STEPS = 20
"""Agent steps after which a frame is taken, the first ones; a frame may cost more than the step."""
SEED = 0


def probe_apart(task: TaskSettings) -> WorldSpec:
    """`probe` in a process of its own, which is started anew: what a simulator does to its process stays there.

    Raises WorldError.
    """
    return apart(probe, task)


def probe(task: TaskSettings) -> WorldSpec:
    """Make a world, play an episode of random actions, and look at what it gives. Raises WorldError."""
    family = family_of(task)
    world = family.make(task)
    try:
        spec = world.spec
        rng = np.random.default_rng(SEED)
        observations, frames, ended = [world.reset(SEED)], [world.frame()], False
        while not ended:
            step = world.step(spec.random_actions(rng))
            observations.append(step.observation)
            if len(frames) <= DRAWN_STEPS:
                frames.append(world.frame())
            ended = step.terminated or step.truncated
        family.check_played(task, world)
        if _differ(observations[: len(frames)]) and not _differ(frames):
            raise WorldError(
                f"task {task.name!r}: all pictures of {len(frames) - 1} random actions are equal, while observations "
                "change: they do not show the task. Choose another view (task.kwargs), or a wrapper that draws"
            )
        return spec
    finally:
        world.close()


def _differ(arrays: list[np.ndarray]) -> bool:
    return any(not np.array_equal(arrays[0], other) for other in arrays[1:])
