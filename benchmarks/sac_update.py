"""Milliseconds for one SAC gradient step: RatedSAC against RLlib's own SAC and Stable-Baselines3, in paired rounds.

    OMP_NUM_THREADS=1 python benchmarks/sac_update.py [--rounds 15] [--hidden 256 256] [--batch 256]

All have the same layer sizes, the same number of remembered steps, one thread and one process; each is timed with its
own replay, since that is what an update costs where it is used. They take turns, so that all meet the same load of the
machine: compare the ratios, which are medians over the rounds. Beside wall time stands processor time, which tells more
where other programs run. RatedSAC is timed twice: called for many updates at once, and for a single one.

RLlib's critics are larger than the other two's: around the same hidden layers they have encoders of observation and of
action and layers that join these, in all fifteen times as many weights at 256 x 256. That is part of its time.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import TD_ERROR_KEY
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.replay_buffers.utils import update_priorities_in_episode_replay_buffer
from stable_baselines3 import SAC as StableBaselinesSAC
from stable_baselines3.common.logger import configure

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.policies import build_rated_sac
from algorithms.policy_settings import SACSettings

OBSERVATION_SIZE = 39
ACTION_SIZE = 4
EPISODE_STEPS = 100
NUM_EPISODES = 100

Update = Callable[[int], object]
"""Takes that many gradient steps."""


class NoTask(gymnasium.Env):
    """Spaces of a MetaWorld task, and nothing to do."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def __init__(self, config: object = None) -> None:
        pass

    def reset(self, *, seed=None, options=None):
        return np.zeros(OBSERVATION_SIZE, np.float32), {}

    def step(self, action):
        return np.zeros(OBSERVATION_SIZE, np.float32), 0.0, False, False, {}


def random_chunks(rng: np.random.Generator) -> list[EpisodeChunk]:
    """Experience without meaning."""
    return [
        EpisodeChunk(
            episode_id=f"episode{number}",
            first_step=0,
            observations=rng.normal(size=(EPISODE_STEPS + 1, OBSERVATION_SIZE)).astype(np.float32),
            actions=rng.uniform(-1, 1, size=(EPISODE_STEPS, ACTION_SIZE)).astype(np.float32),
            env_rewards=rng.normal(size=EPISODE_STEPS).astype(np.float32),
            successes=np.zeros(EPISODE_STEPS, bool),
            terminated=False,
            truncated=True,
            frame_states=np.zeros((EPISODE_STEPS + 1, 16), np.float32),
            scene=Scene({}),
        )
        for number in range(NUM_EPISODES)
    ]


def rated_sac(hidden: tuple[int, ...], batch: int, chunks: list[EpisodeChunk]) -> Update:
    """Ours."""
    algo = build_rated_sac(SACSettings(hidden=hidden, batch_size=batch), OBSERVATION_SIZE, ACTION_SIZE, seed=0)
    for chunk in chunks:
        algo.add_chunk(chunk, chunk.env_rewards, version=1)
    return algo.update


def rllib_sac(hidden: tuple[int, ...], batch: int, chunks: list[EpisodeChunk]) -> Update:
    """RLlib's SAC as its `training_step` has it: prioritised replay of episodes, learner connectors, priorities."""
    config = (
        SACConfig()
        .environment(NoTask)
        .training(train_batch_size_per_learner=batch)
        .rl_module(model_config={"fcnet_hiddens": list(hidden), "head_fcnet_hiddens": []})
    )
    algo = config.build_algo()
    algo.local_replay_buffer.add([_episode(chunk) for chunk in chunks])

    def update(num_updates: int) -> None:
        for _ in range(num_updates):
            episodes = algo.local_replay_buffer.sample(
                num_items=batch, n_step=1, gamma=config.gamma, beta=0.4, sample_episodes=True
            )
            results = algo.learner_group.update(episodes=episodes, timesteps={})
            errors = {
                module: {TD_ERROR_KEY: np.concatenate(convert_to_numpy(result.pop(TD_ERROR_KEY).peek()))}
                for module, result in results[0].items()
                if TD_ERROR_KEY in result
            }
            update_priorities_in_episode_replay_buffer(replay_buffer=algo.local_replay_buffer, td_errors=errors)

    return update


def _episode(chunk: EpisodeChunk) -> SingleAgentEpisode:
    return SingleAgentEpisode(
        observation_space=NoTask.observation_space,
        action_space=NoTask.action_space,
        observations=list(chunk.observations),
        actions=list(chunk.actions),
        rewards=list(chunk.env_rewards),
        infos=[{}] * (EPISODE_STEPS + 1),
        extra_model_outputs={"weights_seq_no": [0] * EPISODE_STEPS},
        truncated=True,
        len_lookback_buffer=0,
    ).to_numpy()


def stable_baselines(hidden: tuple[int, ...], batch: int, chunks: list[EpisodeChunk]) -> Update:
    """Stable-Baselines3."""
    sac = StableBaselinesSAC(
        "MlpPolicy",
        NoTask(),
        batch_size=batch,
        buffer_size=20_000,
        policy_kwargs={"net_arch": list(hidden)},
        device="cpu",
    )
    sac.set_logger(configure(None, []))
    for chunk in chunks:
        for t in range(EPISODE_STEPS):
            sac.replay_buffer.add(
                chunk.observations[t],
                chunk.observations[t + 1],
                chunk.actions[t],
                chunk.env_rewards[t],
                np.array([t == EPISODE_STEPS - 1]),
                [{"TimeLimit.truncated": True}],
            )
    return lambda num_updates: sac.train(gradient_steps=num_updates, batch_size=batch)


def timed(update: Update, num_updates: int, per_call: int) -> tuple[float, float]:
    """Wall and processor milliseconds for an update."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(num_updates // per_call):
        update(per_call)
    return (1e3 * (time.perf_counter() - wall) / num_updates, 1e3 * (time.process_time() - processor) / num_updates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    parser.add_argument("--batch", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    hidden, chunks = tuple(arguments.hidden), random_chunks(np.random.default_rng(0))
    ours = rated_sac(hidden, arguments.batch, chunks)
    contenders: dict[str, tuple[Update, int, int]] = {
        "RatedSAC, 20 updates a call": (ours, 20, 20),
        "RatedSAC, 1 update a call": (ours, 20, 1),
        "RLlib SAC": (rllib_sac(hidden, arguments.batch, chunks), 5, 5),
        "Stable-Baselines3 SAC": (stable_baselines(hidden, arguments.batch, chunks), 20, 20),
    }
    for update, _, per_call in contenders.values():
        timed(update, per_call, per_call)
    rounds = [{name: timed(*case) for name, case in contenders.items()} for _ in range(arguments.rounds)]
    first = next(iter(contenders))
    print(f"layers {hidden}, batch {arguments.batch}, {arguments.rounds} rounds, medians")
    print(f"{'':28}  ms wall   ratio   ms processor   ratio")
    for name in contenders:
        wall, processor = (median(r[name][clock] for r in rounds) for clock in (0, 1))
        ratios = [median(r[name][clock] / r[first][clock] for r in rounds) for clock in (0, 1)]
        print(f"{name:28}  {wall:7.1f}  {ratios[0]:6.1f}   {processor:12.1f}  {ratios[1]:6.1f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
