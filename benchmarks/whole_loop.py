"""`likert run` on the demo's work, from command to prompt, beside a plain script that does it in one process.

    python benchmarks/whole_loop.py [--rounds 5] [--env-steps 12000]

The script is `plain_script.py`: Stable-Baselines3, vLLM's `LLM`, the same rater with the same words about pictures of
the same size, the same reward networks, and as many environment steps, ratings (750), policy updates (5,000) and
members. What is fair about it, and what is not:

- Likert also stores every rating, tracks the run in MLflow, writes checkpoints and figures, and can be killed at any
  moment. None of it is switched off, but evaluation is cut to the one episode that a run cannot do without.
- Both put all questions of a session to the engine at once.
- Each side draws its own batches and actions, so epochs of the reward model differ by a few in a hundred.
- Both have one torch thread a process, software OpenGL, and an empty rating store.

Rounds are interleaved, in turn the one and the other first. Processor time is of all processes that a side started,
and memory theirs together, pages that processes share counted once; both are looked at twice a second, so what a
process does in its last half second is not seen. The loop of either side is from its first environment step to its
last; ours by the times in `metrics.jsonl`. The last line holds medians: how many times as fast as the script the whole
command and the loop are, our processor time over the script's, and our peak of memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from actors.rating.engine.environment import engine_environment

REPOSITORY = Path(__file__).resolve().parents[1]
LOOK_EVERY_S = 0.5
LIKERT = "from orchestrator.cli.main import main; main()"
"""The command, of this repository and not of what is installed."""


@dataclass(frozen=True)
class Measured:
    """One side of one round."""

    whole_s: float
    loop_s: float
    processor_s: float
    peak_gb: float


class Watch(threading.Thread):
    """Processor time and memory of a process and all that it starts, also of what outlives its parent."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._known = {root: psutil.Process(root)}
        self._seconds: dict[int, float] = {}
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            self._look()

    def finish(self) -> float:
        """Processor seconds of all of them."""
        self._done.set()
        self.join()
        return sum(self._seconds.values())

    def _look(self) -> None:
        for process in list(self._known.values()):
            try:
                self._known |= {child.pid: child for child in process.children(recursive=True)}
            except psutil.NoSuchProcess:
                continue
        held = 0
        for pid, process in list(self._known.items()):
            try:
                times = process.cpu_times()
                self._seconds[pid] = times.user + times.system
                held += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                self._known.pop(pid)
        self.peak_bytes = max(self.peak_bytes, held)


def measured(command: list[str], environment: dict[str, str], folder: Path, loop_s) -> Measured:
    """Run a side to its end; `loop_s` reads its loop's seconds from what it printed. Ends the program if it fails."""
    started = time.monotonic()
    with (folder / "printed.txt").open("w+") as printed:
        side = subprocess.Popen(command, env=environment, cwd=folder, stdout=printed, stderr=subprocess.STDOUT)
        watch = Watch(side.pid)
        watch.start()
        status = side.wait()
        whole_s = time.monotonic() - started
        processor_s = watch.finish()
        printed.seek(0)
        text = printed.read()
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{text[-4000:]}")
    return Measured(whole_s, loop_s(text), processor_s, watch.peak_bytes / 2**30)


def ours(env_steps: int, seed: int) -> Measured:
    """`likert run` with the demo's file, in an empty folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def loop_s(_: str) -> float:
            rows = (folder / f"runs/demo-seed{seed}/metrics.jsonl").read_text().splitlines()
            acted = [json.loads(row) for row in rows if "rollout/env_reward" in row]
            return acted[-1]["time"] - acted[0]["time"]

        command = [sys.executable, "-c", LIKERT, "run", str(REPOSITORY / "tune_configs/demo.yaml"),
                   f"total_env_steps={env_steps}", f"seed={seed}", "evaluation.num_episodes=1",
                   f"evaluation.interval_env_steps={10 * env_steps}"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_worker_niceness": "0"}
        return measured(command, environment, folder, loop_s)


def scripts(env_steps: int, seed: int) -> Measured:
    """The plain script."""
    environment = {**os.environ, **engine_environment(), "OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl",
                   "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # fmt: skip
    environment["PYTHONPATH"] += f":{REPOSITORY}"
    command = [sys.executable, str(REPOSITORY / "benchmarks/plain_script.py"), "--env-steps", str(env_steps),
               "--seed", str(seed)]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        return measured(command, environment, Path(name), lambda text: json.loads(text.splitlines()[-1])["loop_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--env-steps", type=int, default=12_000)
    arguments = parser.parse_args()
    both: list[tuple[Measured, Measured]] = []
    for number in range(arguments.rounds):
        sides = (ours, scripts) if number % 2 else (scripts, ours)
        found = {side: side(arguments.env_steps, number) for side in sides}
        both.append((found[ours], found[scripts]))
        for name, one in zip(("likert", "script"), both[-1], strict=True):
            print(
                f"round {number + 1} {name}: whole {one.whole_s:6.1f} s   loop {one.loop_s:6.1f} s   "
                f"processor {one.processor_s:6.1f} s   peak {one.peak_gb:4.2f} GB",
                flush=True,
            )
    ratios = {
        "whole": [script.whole_s / likert.whole_s for likert, script in both],
        "loop": [script.loop_s / likert.loop_s for likert, script in both],
        "processor": [likert.processor_s / script.processor_s for likert, script in both],
        "memory_gb": [likert.peak_gb for likert, _ in both],
    }
    for name, values in ratios.items():
        print(f"{name}: {min(values):.2f} to {max(values):.2f}")
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    print(" ".join(f"{name}={value:.{1 if name == 'memory_gb' else 2}f}" for name, value in medians.items()))


if __name__ == "__main__":
    main()
