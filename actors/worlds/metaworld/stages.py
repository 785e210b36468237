"""How far a task truly is, from the simulator's observation: for audits, figures and the pocket rater's training.

No learner reads this. A task passes through five stages. The first ones say how close the hand has come to the object,
where the robot is drawn; the later ones how far the object has travelled from its start to its goal:

    drawer, handle     far | close | begun to move | mostly there | done
    button, window, door   far | near | at the object | moved | done
    robot hidden       the object alone, in four steps of its way to the goal

A packaged task's rubrics describe the same stages, so that a level of any scale is a monotone function of the stage.

The last stage says that the thing is done: it lies, stands or is pressed where it should be. In six tasks the
simulator's success flag says the same. In two it is taken back while the thing is done: `handle_press`, once the handle
is more than 2 cm below its goal, and `sweep_into`, once the cube falls from above the hole into it. So an evaluation
tells both.
"""

from dataclasses import dataclass

import numpy as np

NUM_STAGES = 5

LEVELS: dict[int, tuple[int, ...]] = {
    2: (0, 0, 0, 0, 1),
    3: (0, 0, 1, 1, 2),
    4: (0, 1, 2, 2, 3),
    5: (0, 1, 2, 3, 4),
}
"""For a scale of n levels: the level of each stage."""

_HAND = slice(0, 3)
_OBJECT = slice(4, 7)
_GOAL = slice(36, 39)

_REACH_SCALE_M = 0.5
"""The hand's way into reach is measured against this distance; the workspace is a metre wide."""
_REACH_SHARE = 0.4
"""Progress that reaching the object alone is worth."""


@dataclass(frozen=True)
class StageRule:
    """Where one task's stages begin. Distances in metres; travel is 0 at the object's start and 1 at its goal."""

    env_id: str
    """MetaWorld's environment that the distances are measured in."""
    start_m: float
    """The object's distance from its goal at the start."""
    reach_m: tuple[float, ...]
    """Distances of hand and object, falling, that the first stages end at; empty if the robot is hidden."""
    travel: tuple[float, ...]
    """Travel, rising, that the later stages begin at; from the last one on the thing is done."""
    axis: tuple[float, float, float] | None = None
    """Direction from goal to start if the object moves on a line; else its horizontal distance counts."""
    hole_depth_m: float | None = None
    """The object is done, too, once it lies no higher than this above the goal and within 10 cm: down in the hole."""

    def __post_init__(self) -> None:
        if len(self.reach_m) + len(self.travel) != NUM_STAGES - 1:
            raise ValueError(f"a rule needs {NUM_STAGES - 1} thresholds")


_NEAR_HOLE_M = 0.10

RULES: dict[str, StageRule] = {
    # The drawer's own point lies 5 cm above its goal: success at 6.5 cm is 4.2 cm along the rail.
    "drawer_close": StageRule("drawer-close-v3", 0.160, (0.15,), (0.12, 0.45, 0.740), axis=(0.0, -1.0, 0.0)),
    "handle_press": StageRule("handle-press-v3", 0.096, (0.15,), (0.12, 0.45, 0.791), axis=(0.0, 0.0, 1.0)),
    "button_press": StageRule("button-press-v3", 0.093, (0.25, 0.12), (0.12, 0.785), axis=(0.0, -1.0, 0.0)),
    "window_close": StageRule("window-close-v3", 0.210, (0.30, 0.14), (0.08, 0.762), axis=(1.0, 0.0, 0.0)),
    # The door settles by itself from 56 to 48 cm in the first steps.
    "door_close": StageRule("door-close-v3", 0.485, (0.32, 0.17), (0.12, 0.835)),
    "drawer_open": StageRule("drawer-open-v3", 0.190, (), (0.10, 0.35, 0.65, 0.842), axis=(0.0, 1.0, 0.0)),
    "sweep_into": StageRule("sweep-into-v3", 0.190, (), (0.15, 0.37, 0.56, 0.737), hole_depth_m=0.03),
    "soccer": StageRule("soccer-v3", 0.200, (), (0.15, 0.35, 0.50, 0.675)),
}
"""Rules of the packaged tasks, by task name."""

_BY_ENV = {rule.env_id: name for name, rule in RULES.items()}


def has_stages(task_name: str, env_id: str) -> bool:
    """Whether the true stages of a task are known: a packaged one's, not another environment's of that name."""
    return task_name in RULES and RULES[task_name].env_id == env_id


def can_tell_done(env_id: str) -> bool:
    """Whether it is known when the task of an environment is done."""
    return env_id in _BY_ENV


def is_done(env_id: str, observations: np.ndarray) -> np.ndarray:
    """Whether the thing is done, bool [N], in observations [N, 39] of an environment: the last stage.

    That is the object's place alone, however it is seen and whatever the task is called. Raises ValueError if it is not
    known.
    """
    if env_id not in _BY_ENV:
        raise ValueError(f"when {env_id!r} is done is unknown; known are {', '.join(sorted(_BY_ENV))}")
    name = _BY_ENV[env_id]
    return object_state_of(name, observations) == len(RULES[name].travel)


def stage_of(task_name: str, observations: np.ndarray) -> np.ndarray:
    """True stages, int64 [N] in [0, 5), of observations [N, 39]."""
    by_object = object_state_of(task_name, observations)
    num_reach = len(_rule(task_name).reach_m)
    return np.where(by_object > 0, num_reach + by_object, hand_state_of(task_name, observations))


def hand_state_of(task_name: str, observations: np.ndarray) -> np.ndarray:
    """How many of the task's reach limits the hand is within, int64 [N]; 0 throughout if the robot is hidden."""
    distances = hand_distance_m(observations)
    limits = np.array(_rule(task_name).reach_m).reshape(1, -1)
    return (distances[:, None] <= limits).sum(axis=1)


def object_state_of(task_name: str, observations: np.ndarray) -> np.ndarray:
    """How many of the task's travel thresholds the object has passed, int64 [N]."""
    rule = _rule(task_name)
    passed = (travel_of(task_name, observations)[:, None] >= np.array(rule.travel)).sum(axis=1)
    return np.where(_in_hole(rule, observations), len(rule.travel), passed)


def progress_of(task_name: str, observations: np.ndarray) -> np.ndarray:
    """True progress, float32 [N] in [0, 1]: 1 is done.

    The object's travel counts in full; while it has not arrived, a hand within reach is worth up to 0.4 of the rest.
    """
    rule = _rule(task_name)
    moved = np.clip(travel_of(task_name, observations) / rule.travel[-1], 0.0, 1.0)
    moved = np.where(object_state_of(task_name, observations) == len(rule.travel), 1.0, moved)
    if not rule.reach_m:
        return moved.astype(np.float32)
    beyond = np.maximum(hand_distance_m(observations) - rule.reach_m[-1], 0.0)
    reach = np.clip(1.0 - beyond / _REACH_SCALE_M, 0.0, 1.0)
    return (moved + (1.0 - moved) * _REACH_SHARE * reach).astype(np.float32)


def travel_of(task_name: str, observations: np.ndarray) -> np.ndarray:
    """The object's way from start (0) to goal (1), float64 [N]; below 0 if it moved away, above 1 if it overshot."""
    rule = _rule(task_name)
    offset = _offset(observations)
    left = np.linalg.norm(offset[:, :2], axis=1) if rule.axis is None else offset @ np.array(rule.axis)
    return 1.0 - left / rule.start_m


def hand_distance_m(observations: np.ndarray) -> np.ndarray:
    """Distance of hand and object, float64 [N] in metres."""
    observations = np.asarray(observations, dtype=np.float64)
    return np.linalg.norm(observations[:, _HAND] - observations[:, _OBJECT], axis=1)


def level_of(stages: np.ndarray, num_ratings: int) -> np.ndarray:
    """The level, int64 [N] in [0, num_ratings), that each stage has on a scale of `num_ratings`."""
    if num_ratings not in LEVELS:
        raise ValueError(f"num_ratings {num_ratings}: the scales have 2, 3, 4 or 5 levels")
    return np.array(LEVELS[num_ratings], dtype=np.int64)[stages]


def _rule(task_name: str) -> StageRule:
    if task_name not in RULES:
        raise ValueError(f"the true stages of task {task_name!r} are unknown; known are {', '.join(sorted(RULES))}")
    return RULES[task_name]


def _offset(observations: np.ndarray) -> np.ndarray:
    observations = np.asarray(observations, dtype=np.float64)
    return observations[:, _OBJECT] - observations[:, _GOAL]


def _in_hole(rule: StageRule, observations: np.ndarray) -> np.ndarray:
    if rule.hole_depth_m is None:
        return np.zeros(len(observations), dtype=bool)
    offset = _offset(observations)
    return (offset[:, 2] <= rule.hole_depth_m) & (np.linalg.norm(offset[:, :2], axis=1) <= _NEAR_HOLE_M)
