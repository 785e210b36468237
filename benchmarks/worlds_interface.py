"""What the interface of worlds costs: MetaWorld's rollouts over it, beside the same rollouts before there was one.

    python benchmarks/worlds_interface.py [--pairs 5] [--rounds 16] [--before COMMIT]

Both are whole rollout workers with the demo's settings: they act with a policy, step MetaWorld, put chunks together,
and draw and reduce the frame of every step. The worker of before is taken from the repository's history (27f2230^ by
default), so it needs a clone with that. Pairs run one after the other, in turn the one and the other first, each in a
process of its own on one core; what counts is processor time. Their chunks are compared, number by number. Prints the
ratio of the median pair; ends with status 1 if anything differs, or if it is above 1.03.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LARGEST_RATIO = 1.03
BEFORE = "27f2230^"
REPOSITORY = Path(__file__).resolve().parents[1]

WORKER = """
import hashlib, json, sys, time
import numpy as np, torch
torch.set_num_threads(1)
from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from algorithms.actor_network import SquashedGaussianActor
try:
    from actors.worlds.metaworld.settings import MetaWorldTask as Task
except ImportError:
    from actors.rollout.settings import TaskSettings as Task

facts, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
worker = RolloutWorker(Task.model_validate(facts), RolloutSettings(chunk_agent_steps=25), seed=0)
torch.manual_seed(0)
actor = SquashedGaussianActor(39, 4, (128, 128))
weights = {name: tensor.numpy() for name, tensor in actor.state_dict().items()}
seen = hashlib.sha256()

def collect():
    shared, frames = worker.collect(weights, 56)
    for chunk in getattr(shared, "chunks", shared):
        for column in (chunk.observations, chunk.actions, chunk.env_rewards, chunk.frame_states):
            seen.update(np.ascontiguousarray(column).tobytes())
    for drawn in frames:
        seen.update(drawn.tobytes())

collect()  # imports, simulators, OpenGL
started = time.process_time()
for _ in range(rounds):
    collect()
print(json.dumps({"seconds": time.process_time() - started, "seen": seen.hexdigest()}))
"""

TASK = {
    "name": "drawer_close",
    "env_id": "drawer-close-v3",
    "instruction": "close the drawer",
    "focus": "the drawer",
    "image_px": 112,
    "action_repeat": 2,
    "episode_env_steps": 200,
}


def measured(tree: Path, rounds: int) -> dict[str, float | str]:
    """Processor seconds of so many rounds with the code of a tree, and a digest of what came of them."""
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(TASK), str(rounds)],
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"the worker of {tree} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=16, help="of 25 agent steps each")
    parser.add_argument("--before", default=BEFORE, help="commit whose worker is the other one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder)
        archive = subprocess.run(
            ["git", "-C", str(REPOSITORY), "archive", arguments.before], capture_output=True, check=False
        )
        if archive.returncode:
            sys.exit(f"{arguments.before} is not in this repository's history: clone it whole, or name --before")
        subprocess.run(["tar", "-x", "-C", str(before)], input=archive.stdout, check=True)
        ratios, differs = [], False
        for pair in range(arguments.pairs):
            trees = [("before", before), ("now", REPOSITORY)]
            found = {name: measured(tree, arguments.rounds) for name, tree in (trees if pair % 2 else trees[::-1])}
            differs |= found["before"]["seen"] != found["now"]["seen"]
            ratios.append(found["now"]["seconds"] / found["before"]["seconds"])
            print(
                f"pair {pair + 1}: before {found['before']['seconds']:.2f} s, now {found['now']['seconds']:.2f} s, "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
    ratio = statistics.median(ratios)
    print(f"now / before: {ratio:.3f}, of {arguments.rounds * 25} agent steps with frames; at most {LARGEST_RATIO}")
    print("what came of them differs" if differs else "what came of them is equal, to the last bit")
    sys.exit(ratio > LARGEST_RATIO or differs)


if __name__ == "__main__":
    main()
