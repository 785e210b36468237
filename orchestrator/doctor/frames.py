"""Frames: which OpenGL draws them, how fast, and whether they show what they should.

They are drawn by processes of their own, several at a time as rollout workers do: a broken driver may end a process,
and Mesa does not go together with all that this one loads.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from actors.worlds.families import family_of
from actors.worlds.metaworld.settings import CameraSettings, MetaWorldTask
from actors.worlds.opengl import PACKAGES, chosen_backend
from actors.worlds.settings import TaskSettings
from algorithms.images import encode_png
from orchestrator.doctor.findings import Unfit

NUM_PROCESSES = 2
MAX_ENVS = 4
"""Environments drawn in turn in each process, at most."""
MEASURED_S = 1.0
SLOW_FPS = 10.0
DARKEST = 3.0
LEAST_CONTRAST = 5.0
"""Standard deviation of a frame's values, 0 to 255. The bare sky, which is shaded, has 2.2; tables have 26 and more."""
TIMEOUT_S = 120.0
_MARK = (1.0, 0.0, 1.0, 1.0)
_BALL_X, _BALL_Z = 9, 11
"""Entries of the frame state that hold the ball's place."""


@dataclass(frozen=True)
class FrameReport:
    """What one process saw."""

    backend: str
    frames_per_s: float
    brightness: float
    """Mean of the darkest environment's first frame, 0 to 255."""
    contrast: float
    """Lowest standard deviation of an environment's first frame."""
    distinct: bool
    """Environments that took turns drew what each draws alone."""
    up: float
    """Pixels that a ball goes up in the picture when it is lifted; negative: the picture is upside down."""
    right: float
    """Pixels that it goes to the right when it moves to the camera's right; negative: mirrored."""


Draw = Callable[[MetaWorldTask, int, int], FrameReport]


def check_frames(task: MetaWorldTask, num_envs: int, draw: Draw | None = None) -> str:
    """Backend and speed, if frames are what they should be."""
    try:
        backend = chosen_backend()
    except RuntimeError as error:
        raise Unfit(str(error), f"apt-get install -y --no-install-recommends {PACKAGES}") from None
    num_envs = min(num_envs, MAX_ENVS) if num_envs > 1 else 2
    reports = _draw_at_once(draw or draw_frames, task, num_envs, backend)
    for report in reports:
        judge(report)
    speed = sum(report.frames_per_s for report in reports)
    if speed < SLOW_FPS:
        raise Unfit(
            f"{backend}, only {speed:.1f} frames/s of {task.image_px} px",
            "lower task.image_px, set task.quality=fast, or use a machine with a GPU or more processors",
            warning=True,
        )
    return (
        f"{backend}, upright, {speed:.0f} frames/s of {task.image_px} px from {len(reports)} processes with "
        f"{num_envs} environments each"
    )


def draw_frames(task: MetaWorldTask, num_envs: int, seed: int) -> FrameReport:
    """Draw `num_envs` environments of the task in turn, and the ball that shows which way is up."""
    from actors.worlds.metaworld.environment import TaskEnvironment
    from actors.worlds.metaworld.renderer import FrameRenderer

    environments = [TaskEnvironment(task) for _ in range(num_envs)]
    renderers = [FrameRenderer(task) for _ in environments]
    for index, environment in enumerate(environments):
        environment.reset(num_envs * seed + index)
    scenes = [environment.scene() for environment in environments]
    states = [environment.frame_state()[None] for environment in environments]
    alone = renderers[0].render(scenes[0], states[0])
    pictures = [renderer.render(*seen) for renderer, *seen in zip(renderers, scenes, states, strict=True)]
    started, num_frames = time.monotonic(), 0
    while time.monotonic() - started < MEASURED_S:
        index = num_frames % num_envs
        again = renderers[index].render(scenes[index], states[index])
        num_frames += 1
    frames_per_s = num_frames / (time.monotonic() - started)
    distinct = np.array_equal(alone, pictures[0]) and np.array_equal(again, pictures[index])
    up, right = _ball_moves()
    return FrameReport(
        chosen_backend(),
        frames_per_s,
        min(float(picture.mean()) for picture in pictures),
        min(float(picture.std()) for picture in pictures),
        distinct,
        up,
        right,
    )


def draw_one(task: TaskSettings) -> bytes:
    """A frame of the task's start as a PNG file."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return encode_png(pool.submit(_first_frame, task).result(TIMEOUT_S))


def _first_frame(task: TaskSettings) -> np.ndarray:
    family = family_of(task)
    world = family.make(task)
    world.reset(0)
    if not world.spec.draws_again:
        return world.frame()
    return family.drawer(task).render(world.scene(), world.frame_state()[None])[0]


def _ball_moves() -> tuple[float, float]:
    from actors.worlds.metaworld.environment import TaskEnvironment
    from actors.worlds.metaworld.renderer import FrameRenderer

    # Seen from the front: the camera's right is the world's x.
    task = MetaWorldTask(
        name="ball",
        env_id="soccer-v3",
        instruction="score",
        focus="the ball",
        image_px=96,
        camera=CameraSettings(position=(0.0, 0.0, 0.4), look_at=(0.0, 0.7, 0.1)),
        robot_visible=False,
        object_colours={"soccer_ball": _MARK},
    )
    environment = TaskEnvironment(task)
    environment.reset(0)
    states = np.repeat(environment.frame_state()[None], 3, axis=0)
    states[1, _BALL_Z] += 0.1
    states[2, _BALL_X] += 0.1
    places = [_marked(frame) for frame in FrameRenderer(task).render(environment.scene(), states)]
    return float(places[0][0] - places[1][0]), float(places[2][1] - places[0][1])


def _marked(frame: np.ndarray) -> np.ndarray:
    """Mean row and column of what is painted in the mark's colour; nan where nothing is."""
    red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
    places = np.argwhere((red > 60) & (blue > 60) & (green < 0.3 * red))
    return places.mean(axis=0) if len(places) else np.full(2, np.nan)


def _draw_at_once(draw: Draw, task: MetaWorldTask, num_envs: int, backend: str) -> list[FrameReport]:
    # Found once here, so that the processes need not try again.
    os.environ["MUJOCO_GL"] = backend
    with ProcessPoolExecutor(NUM_PROCESSES, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(draw, task, num_envs, seed) for seed in range(NUM_PROCESSES)]
        try:
            return [future.result(TIMEOUT_S) for future in futures]
        except BrokenProcessPool:
            raise Unfit(
                f"{backend}: a process that draws was killed, by its driver or for its memory",
                "set MUJOCO_GL=osmesa to draw in software; see dmesg for a lack of memory",
            ) from None
        except TimeoutError:
            for process in list(pool._processes.values()):
                process.kill()
            raise Unfit(
                f"{backend}: nothing was drawn within {TIMEOUT_S:.0f} s", "set MUJOCO_GL=osmesa to draw in software"
            ) from None
        except (ValueError, RuntimeError) as error:
            raise Unfit(f"{backend}: {error}", "correct the block task of the settings, or the OpenGL driver") from None


def judge(report: FrameReport) -> None:
    """Raise Unfit if what a process saw is not what it should be."""
    software = "another OpenGL may do: set MUJOCO_GL=osmesa (or egl)"
    if report.brightness < DARKEST or report.contrast < LEAST_CONTRAST:
        raise Unfit(f"{report.backend}: frames are black or of one colour", f"{software}; check task.camera")
    if not report.distinct:
        raise Unfit(f"{report.backend}: environments that take turns draw over one another", software)
    if not report.up > 0.0:
        raise Unfit(f"{report.backend}: frames are upside down", software)
    if not report.right > 0.0:
        raise Unfit(f"{report.backend}: frames are mirrored", software)
