"""An environment before its first run: what two processes that played it found, and what to do about it."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from actors.rollout.playing import count_success
from actors.worlds.examining import MOST_AGENT_STEPS, Examined, Played, examine_apart
from actors.worlds.settings import TaskSettings
from actors.worlds.world import WorldError
from algorithms.instructions import split
from orchestrator.doctor.findings import Check, Unfit

DARKEST = 3.0
"""Mean of a frame's values, 0 to 255."""
LEAST_CONTRAST = 2.0
"""Standard deviation of a frame's values."""
FEWEST_CHANGED_PX = 6.0
"""Pixels that a step should change in what the reward model sees."""
SLOW_FPS = 10.0
SHOWN_INSTRUCTIONS = 3
_PAGE = "docs/your_environment.md"


@dataclass(frozen=True)
class Looked:
    """A task, and what two processes found of its world."""

    task: TaskSettings
    seen_px: int
    """Side of the frames that the reward model sees, or of those that are rated if it sees none."""
    one: Examined
    other: Examined

    @property
    def episodes(self) -> tuple[Played, ...]:
        return self.one.episodes


def look_at(task: TaskSettings, reward_px: int | None) -> Looked:
    """Play the task's world in two processes. Raises Unfit if it cannot be had, or gives what no run can use.

    `reward_px`: side of the frames that the reward model sees; None if it sees none.
    """
    try:
        return Looked(task, reward_px or task.image_px, *examine_apart(task))
    except WorldError as error:
        raise Unfit(str(error), f"correct the block task; {_PAGE} says what an environment must have") from None


def world_checks(look: Callable[[], Looked]) -> Iterator[tuple[str, Check]]:
    """Name and check, in the order in which they are made; all but the first need it to be well."""
    looked = functools.cache(look)
    for name, check in _CHECKS.items():
        yield name, lambda check=check: check(looked())


def check_spaces(looked: Looked) -> str:
    """What a policy sees, and how it acts."""
    spec = looked.one.spec
    seen = f"{spec.observation_size} numbers seen" if spec.observation_size else "pictures alone seen"
    if spec.grid_shape is not None:
        height, width, planes = spec.grid_shape
        seen = f"a grid of {height} x {width} cells seen, {planes} planes of {spec.num_categories} categories"
    if spec.num_actions:
        return f"{seen}, an action is one of {spec.num_actions} choices"
    low, high = min(spec.action_low, default=-1.0), max(spec.action_high, default=1.0)
    return f"{seen}, actions of {spec.action_size} numbers from {low:g} to {high:g}"


def check_words(looked: Looked) -> str:
    """What episodes are about."""
    said = looked.one.instructions
    if not looked.one.spec.says_instruction:
        return f"all episodes: {looked.task.instruction!r}"
    distinct, longest = sorted(set(said)), max(said, key=lambda text: len(split(text)))
    shown = ", ".join(map(repr, distinct[:SHOWN_INSTRUCTIONS]))
    return (
        f"{len(said)} episodes say {len(distinct)} different instructions, the longest in {len(split(longest))} words: "
        f"{shown}{', ...' if len(distinct) > SHOWN_INSTRUCTIONS else ''}"
    )


def check_seeds(looked: Looked) -> str:
    """Equal seeds and actions give equal episodes, also after another episode and in another process."""
    first, again, other = looked.episodes
    same = [one.digest for one in looked.episodes] == [one.digest for one in looked.other.episodes]
    if first.start_digest != again.start_digest:
        raise Unfit(
            "two resets by one seed in one process give different starts: a run cannot be repeated or resumed exactly",
            "draw all chance in reset() from self.np_random, after super().reset(seed=seed)",
            warning=True,
        )
    if first.digest != again.digest or not same:
        where = "in one process" if first.digest != again.digest else "in two processes"
        raise Unfit(
            f"equal seeds and actions give different episodes {where}: a run cannot be repeated or resumed exactly",
            "look for state that outlives reset(), for chance that is not self.np_random's, for clocks and threads",
            warning=True,
        )
    if first.start_digest == other.start_digest:
        return "equal seeds give equal episodes, also in another process; all seeds give one start"
    return "equal seeds give equal episodes, also in another process; different seeds give different starts"


def check_episodes(looked: Looked) -> str:
    """How long they were, and how they ended."""
    lengths = [one.num_agent_steps for one in looked.episodes]
    ended = sum(one.terminated for one in looked.episodes)
    cut = sum(one.truncated and not one.terminated for one in looked.episodes)
    left = len(lengths) - ended - cut
    parts = [f"{ended} ended by themselves", f"{cut} were cut by the time limit"]
    if left:
        parts.append(f"{left} were left after {MOST_AGENT_STEPS} steps, as this check does")
    limit = looked.one.spec.longest_agent_steps
    returns = np.array([one.env_return for one in looked.episodes])
    text = (
        f"{min(lengths)} to {max(lengths)} agent steps of at most {limit}, by random actions: {', '.join(parts)}; "
        f"the environment's own return {returns.min():.4g} to {returns.max():.4g}"
    )
    if max(lengths) < 2:
        raise Unfit(f"{text}: nothing can be seen to change", "look at why it ends at once", warning=True)
    return text


def check_success(looked: Looked) -> str:
    """Whether and how it is known."""
    if not looked.one.spec.knows_success:
        return "unknown: returns are shown, and nothing makes a success up. task.success says where it can be read"
    counts = looked.task.success_counts
    flags = [one.successes or () for one in looked.episodes]
    solved = [one.solved_at_start for one in looked.episodes]
    text = (
        f"told; by random actions {sum(any(one) for one in flags)} of {len(flags)} episodes had it at some step, "
        f"{sum(bool(one) and one[-1] for one in flags)} at the last, "
        f"{sum(bool(one) and count_success(one, counts) for one in flags)} count by the rule {counts!r}"
    )
    if any(solved):
        raise Unfit(
            f"{text}; {sum(map(bool, solved))} began with the task done",
            "random actions score by such starts: compare with the control of random actions, or move the starts",
            warning=True,
        )
    return text if None in solved else f"{text}; none began with the task done"


def check_pictures(looked: Looked) -> str:
    """Whether they can be looked at."""
    one, task = looked.one, looked.task
    if one.brightness < DARKEST or one.contrast < LEAST_CONTRAST:
        raise Unfit(
            f"some frames are black or of one colour (mean {one.brightness:.1f}, deviation {one.contrast:.1f} of 255)",
            "look at the contact sheet; choose another camera or view by task.kwargs, or draw by a wrapper",
        )
    if one.upright is False:
        raise Unfit(
            "the camera stands upside down: up in the world is down in the picture",
            "choose another camera by task.kwargs (camera_name), or turn pictures by a wrapper",
        )
    parts = ["drawn again from state" if one.spec.draws_again else f"kept, {one.kept_bytes:,.0f} bytes a step"]
    parts.append("upright" if one.upright else "look at the contact sheet whether they are upright")
    if one.picture_note:
        parts.append(one.picture_note)
    if one.picture_px is not None:
        height, width = one.picture_px
        parts.append(f"{width} x {height} pixels, fitted into {task.image_px} x {task.image_px}")
        if max(one.picture_px) < task.image_px:
            raise Unfit(
                f"{', '.join(parts)}: they are enlarged, which shows nothing more",
                "let the environment draw larger (task.kwargs, task.level.tile_px), or set "
                f"task.image_px={max(28, *one.picture_px)}",
                warning=True,
            )
    return ", ".join(parts)


def check_change(looked: Looked) -> str:
    """Whether what happens can be seen, also where the reward model looks."""
    changed = np.concatenate([np.array(one.changed) for one in looked.episodes])
    still = float((changed == 0).mean()) if len(changed) else 1.0
    pixels = float(np.median(changed[changed > 0])) * looked.seen_px**2 if still < 1.0 else 0.0
    if still == 1.0:
        raise Unfit(
            "no picture ever changed, whatever was done", "choose a view that shows the task, or draw by a wrapper"
        )
    text = f"a step changes {pixels:.0f} of {looked.seen_px}^2 pixels (median), and nothing in {still:.0%} of the steps"
    if pixels < FEWEST_CHANGED_PX:
        raise Unfit(
            f"{text}: too little to learn from",
            "move the camera closer, mark what matters by a wrapper, or raise reward_model.image_px and task.image_px",
            warning=True,
        )
    return text


def check_speed(looked: Looked) -> str:
    """Steps and frames a second of one process."""
    one = looked.one
    text = f"{one.agent_steps_per_s:,.0f} steps/s without pictures, {one.frames_per_s:,.0f} pictures/s, one process"
    if one.frames_per_s < SLOW_FPS:
        raise Unfit(text, "let it draw smaller (task.kwargs: width, height), or roll out by more workers", warning=True)
    return text


_CHECKS: dict[str, Callable[[Looked], str]] = {
    "world": check_spaces,
    "words": check_words,
    "seeds": check_seeds,
    "episodes": check_episodes,
    "success": check_success,
    "pictures": check_pictures,
    "change": check_change,
    "speed": check_speed,
}
NEEDED = {name: ("world",) for name in list(_CHECKS)[1:]}
"""Checks that are not made where one of these has failed, and what is then said of it."""
LACKING = {"world": "the environment cannot be had"}
