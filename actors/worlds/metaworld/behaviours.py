"""Ways to act that carry an arm through every stage of a task, good and bad, for the pocket rater's pictures.

A rater that has seen only a good policy misjudges a learning one: an early soft actor-critic presses its actions to
the corners of their range and holds the hand at the limits of its workspace. Most behaviours here are bad on purpose.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from actors.worlds.metaworld.environment import ScriptedPolicy
from actors.worlds.metaworld.settings import ACTION_SIZE, OBSERVATION_SIZE, MetaWorldTask

WORKSPACE_M = np.array([-0.5, 0.4, 0.05]), np.array([0.5, 1.0, 0.5])
"""Corners of the box that MetaWorld keeps the hand in."""

Action = np.ndarray
Behaviour = Callable[[np.ndarray], Action]
"""From an observation [39] to an action [4]; it may remember what it did before."""


@dataclass(frozen=True)
class BehaviourKind:
    """One way to act: makes a fresh behaviour for an episode of `num_steps` agent steps."""

    name: str
    make: Callable[[ScriptedPolicy, np.random.Generator, int], Behaviour]


def _expert(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    noise = rng.choice([0.0, 0.3, 0.8])
    return lambda observation: _scripted(policy, observation) + noise * rng.normal(size=ACTION_SIZE)


def _late_expert(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert, from wherever a drift has led the hand."""
    drift = rng.choice([_corners, _smooth, _network])(policy, rng, num_steps)
    return _switch(drift, _expert(policy, rng, num_steps), int(rng.integers(3, 40)))


def _drifting_expert(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert under a push that changes now and then."""
    push = _held(lambda: rng.normal(scale=rng.choice([0.4, 1.0]), size=ACTION_SIZE), rng, 5, 30)
    return lambda observation: _scripted(policy, observation) + push(observation)


def _mistaken_expert(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert with a wrong idea of where the object and the goal are."""
    error = np.zeros(OBSERVATION_SIZE)
    error[4:7] = rng.normal(scale=0.03, size=3)
    error[36:38] = rng.normal(scale=0.08, size=2)
    return lambda observation: _scripted(policy, observation + error)


def _abandoned(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert up to a point, then something else: part of the way done, the hand elsewhere."""
    after = rng.choice([_corners, _smooth, _network])(policy, rng, num_steps)
    return _switch(_expert(policy, rng, num_steps), after, int(rng.integers(8, max(9, num_steps * 2 // 3))))


def _undone(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert up to a point, then the same turned round."""

    def reverse(observation: np.ndarray) -> Action:
        return -_scripted(policy, observation) + 0.3 * rng.normal(size=ACTION_SIZE)

    return _switch(_expert(policy, rng, num_steps), reverse, int(rng.integers(10, max(11, num_steps * 2 // 3))))


def _corners(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """Saturated actions, each held for a while."""
    return _held(lambda: rng.choice([-1.0, -1.0, 0.0, 1.0, 1.0], size=ACTION_SIZE), rng, 4, 40)


def _network(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """A random network of the observation with a steep tanh, as a policy is after a few wrong updates."""
    inner = rng.normal(size=(OBSERVATION_SIZE, 32))
    outer = rng.normal(scale=rng.choice([0.3, 1.0]), size=(32, ACTION_SIZE))
    return lambda observation: np.tanh(np.tanh(observation @ inner) @ outer) + 0.2 * rng.normal(size=ACTION_SIZE)


def _smooth(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """A slowly turning random direction."""
    state = rng.normal(size=ACTION_SIZE)

    def act(observation: np.ndarray) -> Action:
        nonlocal state
        state = 0.9 * state + 0.45 * rng.normal(size=ACTION_SIZE)
        return state

    return act


def _waypoints(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """Straight to one place after another, anywhere in the workspace and against its walls."""
    low, high = WORKSPACE_M
    margin = 0.2 * (high - low)
    return _visit(rng, lambda thing: rng.uniform(low - margin, high + margin))


def _hovering(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert for a while, then about the object without purpose, as a policy that was paid for being near."""
    spread = rng.choice([0.06, 0.12, 0.2])
    about = _visit(rng, lambda thing: thing + rng.normal(scale=spread, size=3))
    return _switch(_expert(policy, rng, num_steps), about, int(rng.integers(0, max(1, num_steps * 2 // 3))))


def _screening(camera_m: np.ndarray, policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert for a while, then between the camera and the object: what a policy finds that is paid for a picture
    which does not show the object."""

    def between(thing: np.ndarray) -> np.ndarray:
        towards = (camera_m - thing) / np.linalg.norm(camera_m - thing)
        return thing + rng.uniform(0.05, 0.4) * towards + rng.normal(scale=0.03, size=3)

    return _switch(_expert(policy, rng, num_steps), _visit(rng, between), int(rng.integers(0, num_steps * 2 // 3)))


def _random(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    return lambda observation: rng.uniform(-1.0, 1.0, size=ACTION_SIZE)


def _half_expert(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """Every few steps a coin decides between the expert and a random action that is held."""
    use_expert = _held(lambda: rng.random(1) < rng.choice([0.4, 0.8]), rng, 3, 12)
    drift = _held(lambda: rng.uniform(-1.0, 1.0, size=ACTION_SIZE), rng, 3, 12)
    return lambda observation: _scripted(policy, observation) if use_expert(observation)[0] else drift(observation)


def _circling(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """Sines of different speed in every direction, after part of the expert's way."""
    speed, phase = rng.uniform(0.05, 0.4, size=ACTION_SIZE), rng.uniform(0.0, 6.28, size=ACTION_SIZE)
    step = 0

    def act(observation: np.ndarray) -> Action:
        nonlocal step
        step += 1
        return 1.3 * np.sin(speed * step + phase)

    return _switch(_expert(policy, rng, num_steps), act, int(rng.integers(0, max(1, num_steps // 2))))


def _stale_expert(policy: ScriptedPolicy, rng: np.random.Generator, num_steps: int) -> Behaviour:
    """The expert, acting on what it saw several steps ago."""
    seen: list[np.ndarray] = []
    delay = int(rng.integers(3, 12))

    def act(observation: np.ndarray) -> Action:
        seen.append(observation)
        return _scripted(policy, seen[max(0, len(seen) - 1 - delay)])

    return act


TRAINING = (
    BehaviourKind("expert", _expert),
    BehaviourKind("late_expert", _late_expert),
    BehaviourKind("drifting_expert", _drifting_expert),
    BehaviourKind("mistaken_expert", _mistaken_expert),
    BehaviourKind("abandoned", _abandoned),
    BehaviourKind("undone", _undone),
    BehaviourKind("corners", _corners),
    BehaviourKind("network", _network),
    BehaviourKind("smooth", _smooth),
    BehaviourKind("waypoints", _waypoints),
    BehaviourKind("hovering", _hovering),
    BehaviourKind("random", _random),
)
"""What the pocket rater learns from, whatever the camera."""

HELD_OUT = (
    BehaviourKind("expert", _expert),
    BehaviourKind("half_expert", _half_expert),
    BehaviourKind("circling", _circling),
    BehaviourKind("stale_expert", _stale_expert),
    BehaviourKind("abandoned", _abandoned),
    BehaviourKind("corners", _corners),
    BehaviourKind("network", _network),
    BehaviourKind("random", _random),
)
"""What it is judged on: three kinds it never saw, and new draws of others."""


def training_kinds(task: MetaWorldTask) -> tuple[BehaviourKind, ...]:
    """What the pocket rater learns a task from: where the robot is drawn, it also gets into the camera's way."""
    if not task.robot_visible or isinstance(task.camera, str):
        return TRAINING
    return (*TRAINING, BehaviourKind("screening", partial(_screening, np.array(task.camera.position))))


def _scripted(policy: ScriptedPolicy, observation: np.ndarray) -> Action:
    return np.clip(policy.get_action(observation.astype(np.float64)), -1.0, 1.0)


def _switch(first: Behaviour, second: Behaviour, at_step: int) -> Behaviour:
    step = 0

    def act(observation: np.ndarray) -> Action:
        nonlocal step
        step += 1
        return first(observation) if step <= at_step else second(observation)

    return act


def _visit(rng: np.random.Generator, place: Callable[[np.ndarray], np.ndarray]) -> Behaviour:
    """Move the hand to one `place` after another; a place is drawn from where the object is, in metres."""
    target, left, grip = np.zeros(3), 0, 0.0

    def act(observation: np.ndarray) -> Action:
        nonlocal target, left, grip
        if left == 0:
            target, left, grip = place(observation[4:7]), int(rng.integers(6, 30)), rng.choice([-1.0, 1.0])
        left -= 1
        move = np.clip(10.0 * (target - observation[:3]), -1.0, 1.0)
        return np.append(move + 0.2 * rng.normal(size=3), grip)

    return act


def _held(draw: Callable[[], np.ndarray], rng: np.random.Generator, shortest: int, longest: int) -> Behaviour:
    value, left = draw(), int(rng.integers(shortest, longest))

    def act(observation: np.ndarray) -> Action:
        nonlocal value, left
        if left == 0:
            value, left = draw(), int(rng.integers(shortest, longest))
        left -= 1
        return value

    return act
