"""Learning curves on Pendulum-v1: RatedSAC against RLlib's own SAC, with equal hyper-parameters.

    OMP_NUM_THREADS=1 python benchmarks/pendulum_curve.py [--seeds 0 1 2] [--env-steps 8000] [--output curves.json]

Both sample with RLlib's env runner, one step and then one gradient step, from a uniform replay, with the Huber loss
that RLlib's SAC has. What remains different is inside: RLlib's critics are larger (see sac_update.py), and its Gaussian
clips the log deviation where ours squashes it into the same range. A run ends with 20 episodes of its most likely
actions. Printed are means over seeds with 95 % intervals (Student's t).
"""

import argparse
import json
import logging
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.sac import SACConfig
from scipy import stats

from algorithms.policies import RatedSACConfig

LEARNING_RATE = 1e-3
HIDDEN = (64, 64)
REPLAY_CAPACITY = 100_000
SHARED = {
    "actor_lr": LEARNING_RATE,
    "critic_lr": LEARNING_RATE,
    "alpha_lr": LEARNING_RATE,
    "initial_alpha": 1.0,
    "gamma": 0.95,
    "tau": 0.005,
    "train_batch_size_per_learner": 128,
    "num_steps_sampled_before_learning_starts": 500,
}
"""Every hyper-parameter that both have."""
POINT_STEPS = 1_000
"""Environment steps between two points of a curve: five episodes."""
EVALUATION_EPISODES = 20


def rated_sac() -> Any:
    """Settings of ours."""
    return RatedSACConfig().training(**SHARED, hidden=HIDDEN, critic_loss="huber", replay_capacity=REPLAY_CAPACITY)


def rllib_sac() -> Any:
    """Settings of RLlib's."""
    replay = {"type": "EpisodeReplayBuffer", "capacity": REPLAY_CAPACITY}
    model = {"fcnet_hiddens": list(HIDDEN), "head_fcnet_hiddens": []}
    return SACConfig().training(**SHARED, replay_buffer_config=replay).rl_module(model_config=model)


def run(config: Any, seed: int, env_steps: int) -> dict[str, Any]:
    """Train once; the curve's points are mean returns of the training episodes that ended since the last point."""
    config = (
        config.environment("Pendulum-v1")
        .env_runners(num_env_runners=0, rollout_fragment_length=1)
        .reporting(
            min_time_s_per_iteration=0,
            min_sample_timesteps_per_iteration=POINT_STEPS,
            metrics_num_episodes_for_smoothing=POINT_STEPS // 200,
        )
        .debugging(seed=seed, log_level="ERROR")
    )
    algo = config.build_algo()
    started, curve = time.process_time(), []
    for _ in range(env_steps // POINT_STEPS):
        curve.append(float(algo.train()["env_runners"]["episode_return_mean"]))
    training_s = time.process_time() - started
    episodes = algo.env_runner.sample(num_episodes=EVALUATION_EPISODES, explore=False)
    algo.stop()
    final = fmean(float(episode.get_return()) for episode in episodes)
    return {"seed": seed, "curve": curve, "final": final, "processor_s": training_s}


def interval(values: list[float]) -> str:
    """Mean and half the width of its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{fmean(values):.0f} ± {half:.0f}"


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table: a row for each point, the final evaluation, and the processor time."""
    names = list(runs)
    lines = ["| environment steps | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    num_points = len(runs[names[0]][0]["curve"])
    for point in range(num_points):
        cells = [interval([each["curve"][point] for each in runs[name]]) for name in names]
        lines.append(f"| {(point + 1) * POINT_STEPS:,} | " + " | ".join(cells) + " |")
    finals = [interval([each["final"] for each in runs[name]]) for name in names]
    lines.append("| **final, most likely actions** | " + " | ".join(finals) + " |")
    each_seed = [", ".join(f"{each['final']:.0f}" for each in runs[name]) for name in names]
    lines.append("| final, each seed | " + " | ".join(each_seed) + " |")
    seconds = [f"{fmean(each['processor_s'] for each in runs[name]):.0f} s" for name in names]
    lines.append("| processor time of a run | " + " | ".join(seconds) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--env-steps", type=int, default=8_000)
    parser.add_argument("--output", type=Path, help="write all curves as JSON; what it already holds is not run again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    runs: dict[str, list[dict[str, Any]]] = {"RatedSAC": [], "RLlib SAC": []}
    if arguments.output and arguments.output.exists():
        runs = json.loads(arguments.output.read_text())
    for seed in arguments.seeds:
        for name, settings in (("RatedSAC", rated_sac), ("RLlib SAC", rllib_sac)):
            if any(done["seed"] == seed for done in runs[name]):
                continue
            runs[name].append(run(settings(), seed, arguments.env_steps))
            last = runs[name][-1]
            print(f"{name}, seed {seed}: final {last['final']:.0f}, {last['processor_s']:.0f} s", flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(runs, indent=1) + "\n")
    ray.shutdown()
    print(table(runs))


if __name__ == "__main__":
    main()
