"""Whole episodes with the most likely actions, to judge a policy by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.rollout.sight import Actor, Sight, act
from actors.worlds.settings import SuccessCounts
from actors.worlds.world import World, WorldSpec


@dataclass(frozen=True)
class EpisodeResult:
    """How one evaluation episode went: for people to read, never for a learner."""

    success: bool | None
    """Whether the world's success flag counts, by the task's rule: as a rule at any step, the measure that MetaWorld
    and the papers use. None where success is unknown."""
    success_last: bool | None
    """The flag at the last step. Some tasks take it back while the thing is done."""
    env_return: float
    """Sum of the world's own rewards."""
    done_any: bool | None = None
    """Whether the thing was truly done at any step; None where that is not known."""
    done_last: bool | None = None
    """Whether it was done at the last step."""
    solved_at_start: bool | None = None
    """Whether the episode began with the task done; None where that is not known."""
    num_agent_steps: int = 0
    """Its length."""


def play(
    world: World,
    counts: SuccessCounts,
    actor: Actor | None,
    generator: np.random.Generator,
    sight: Sight | None = None,
) -> EpisodeResult:
    """One episode; its start, and random actions if there is no actor, are drawn from `generator`.

    `sight` is for a policy that sees pictures, and new.
    """

    def look() -> None:
        if sight is not None:
            sight.look()
        elif spec.moves_when_drawn:
            world.frame()

    spec = world.spec
    observation = world.reset(int(generator.integers(2**31)))
    solved_at_start = world.solved_at_start()
    look()
    successes, done, env_return, ended = [], [], 0.0, False
    while not ended:
        if actor is None:
            action = spec.random_actions(generator)
        else:
            action = act(actor, observation[None], [sight], None, [world.instruction()])[0]
        observation, env_reward, success, terminated, truncated = world.step(action)
        look()
        successes.append(success)
        done.append(world.done())
        env_return += env_reward
        ended = terminated or truncated
    known = spec.knows_success
    done_any, done_last = None, None
    if done[-1] is not None:
        done_any, done_last = bool(np.concatenate(done).any()), bool(done[-1][-1])
    return EpisodeResult(
        success=count_success(successes, counts) if known else None,
        success_last=successes[-1] if known else None,
        env_return=env_return,
        done_any=done_any,
        done_last=done_last,
        solved_at_start=solved_at_start,
        num_agent_steps=len(successes),
    )


def count_success(successes: Sequence[bool], counts: SuccessCounts) -> bool:
    """Whether an episode counts as a success, from the flag after each of its steps."""
    if counts == "any":
        return any(successes)
    # Held: once there, not lost again.
    since = successes.index(True) if counts == "held" and any(successes) else -1
    return all(successes[since:])


def metrics_of(results: Sequence[EpisodeResult], world: WorldSpec) -> dict[str, float]:
    """What an evaluation tells, by name: means over its episodes of what is known."""
    columns = {
        "success": [result.success for result in results],
        "success_last_step": [result.success_last for result in results],
        "env_return": [result.env_return for result in results],
        "done": [result.done_any for result in results],
        "done_last_step": [result.done_last for result in results],
    }
    metrics = {name: float(np.mean(values)) for name, values in columns.items() if None not in values}
    solved = [result.solved_at_start for result in results]
    if None not in solved and any(solved):
        metrics["solved_at_start"] = float(np.mean(solved))
    if not world.fixed_length:
        metrics["episode_agent_steps"] = float(np.mean([result.num_agent_steps for result in results]))
    return metrics
