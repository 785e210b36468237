"""Relabelling, reward training and drawing on a GPU against one core of the processor, and the ratios.

    python benchmarks/gpu.py [--seconds 10]

Torch and MuJoCo alone: no Ray, no vLLM. Each measurement is a process of its own that computes on one thread, as an
actor does, and repeats its work for about `--seconds`; the median counts. Relabelling scores frames as the reward
learner does, training is one epoch over rated frames, and drawing is MuJoCo's of a MetaWorld
scene, by EGL on a GPU and by OSMesa on the processor. Without a GPU that torch can use, or where EGL draws in software,
it says so and measures the processor's side alone.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import numpy as np

NETWORKS = (("published", 224), ("small", 56))
"""Frame networks, and the side of the images that they are for."""
SCORED = 256
RATED = 128
DRAWN_PX = (224, 112)
DRAWN = 20
TIMEOUT_S = 30.0
"""For one measurement, of fourteen at most: seven minutes."""
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swr")

Measure = Callable[[str], Any]
"""Given 'cpu' or 'cuda', 'osmesa' or 'egl': frames a second."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement, 20 at most")
    seconds = min(20.0, max(0.1, parser.parse_args().seconds))
    began = time.monotonic()
    gpu, drawer = alone(gpu_name), alone(renderer_of, "egl")
    draws = bool(drawer) and not any(name in drawer.lower() for name in SOFTWARE)
    print(f"torch: {gpu or 'sees no GPU; the processor is measured alone'}")
    print(f"EGL:   {drawer or 'does not start'}{'' if draws else '; the processor draws alone'}\n")
    print(f"{'frames a second':<34}{'processor':>12}{'GPU':>12}{'ratio':>9}")
    for network, px in NETWORKS:
        compare(f"scored, {network}, {px} px", partial(scored, network, px, seconds), "cpu", gpu and "cuda")
        compare(f"trained on, {network}, {px} px", partial(trained_on, network, px, seconds), "cpu", gpu and "cuda")
    for px in DRAWN_PX:
        compare(f"drawn, {px} px", partial(drawn, px, seconds), "osmesa", "egl" if draws else "")
    print(f"\n{time.monotonic() - began:.0f} s in all")


def compare(what: str, measure: Measure, processor: str, gpu: str | None) -> None:
    """Measure on the processor, and on the GPU if there is one; print a row."""
    slow, fast = alone(measure, processor), alone(measure, gpu) if gpu else None
    cells = [f"{rate:,.0f}" if rate else "-" for rate in (slow, fast)]
    ratio = f"{fast / slow:.1f}" if slow and fast else "-"
    print(f"{what:<34}{cells[0]:>12}{cells[1]:>12}{ratio:>9}", flush=True)


def alone(measure: Callable[..., Any], *arguments: str) -> Any:
    """What it returns in a process of its own; None, told why, if it fails, dies or takes too long."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    if arguments and arguments[0] in ("egl", "osmesa"):
        os.environ["MUJOCO_GL"] = arguments[0]
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(sender, measure, arguments))
    process.start()
    sender.close()
    try:
        if receiver.poll(TIMEOUT_S):
            return receiver.recv()
        print(f"  not measured: {' '.join(arguments)} took more than {TIMEOUT_S:.0f} s")
    except EOFError:
        print(f"  not measured: {' '.join(arguments)} failed, as told above")
    finally:
        process.kill()
        process.join()
    return None


def send_result(sender: Connection, measure: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """In the process: an error is printed, and then there is no result."""
    sender.send(measure(*arguments))


def gpu_name() -> str:
    """The GPU that torch sees; empty without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def renderer_of(backend: str) -> str:
    """Who draws for this backend, as OpenGL names it; empty if it does not start."""
    from actors.worlds.opengl import create_context, probe

    if probe(backend) is not None:
        return ""
    context = create_context(16, 16)
    context.make_current()
    # Only now: imported before the context, PyOpenGL takes another library.
    from OpenGL import GL

    return GL.glGetString(GL.GL_RENDERER).decode()


def scored(network: str, px: int, seconds: float, device: str) -> float:
    """Frames that the reward learner scores in a second."""
    learner, frames, _ = reward_learner(network, px, device)
    return SCORED / repeated(lambda: learner.score(frames[:SCORED]), seconds)


def trained_on(network: str, px: int, seconds: float, device: str) -> float:
    """Rated frames that it trains on in a second, of all members together, as often as an epoch shows them."""
    learner, frames, ratings = reward_learner(network, px, device)
    learner.add_ratings(frames, ratings)
    return RATED / repeated(learner.train, seconds)


def reward_learner(network: str, px: int, device: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A reward learner with the published ensemble, one epoch a session, and frames uint8 [RATED, px, px, 3]."""
    from actors.reward.learner import RewardLearner
    from algorithms.settings import RewardModelSettings

    settings = RewardModelSettings(
        network=network, image_px=px, min_epochs=1, max_epochs=1, num_gpus=1.0 if device == "cuda" else 0.0
    )
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(RATED, px, px, 3), dtype=np.uint8)
    return RewardLearner(settings, 3, None, seed=0), frames, rng.integers(3, size=RATED)


def drawn(px: int, seconds: float, backend: str) -> float:
    """Frames of a MetaWorld scene that are drawn in a second."""
    from actors.worlds.metaworld.environment import TaskEnvironment
    from actors.worlds.metaworld.renderer import FrameRenderer
    from actors.worlds.metaworld.settings import MetaWorldTask

    task = MetaWorldTask(
        name="drawer", env_id="drawer-open-v3", instruction="open the drawer", focus="the drawer", image_px=px
    )
    environment = TaskEnvironment(task)
    environment.reset(0)
    states = np.repeat(environment.frame_state()[None], DRAWN, axis=0)
    renderer, scene = FrameRenderer(task), environment.scene()
    return DRAWN / repeated(lambda: renderer.render(scene, states), seconds)


def repeated(work: Callable[[], Any], seconds: float) -> float:
    """Seconds that it takes, the median over so many seconds, once it is warm."""
    work()
    taken, began = [], time.perf_counter()
    while not taken or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken)


if __name__ == "__main__":
    main()
