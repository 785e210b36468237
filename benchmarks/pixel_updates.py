"""Milliseconds for one SAC gradient step from pictures: RatedSAC against Stable-Baselines3, in paired rounds.

    OMP_NUM_THREADS=1 python benchmarks/pixel_updates.py [--rounds 7] [--convolutions nature] [--batch 128]

Both see 84 x 84 x 9 (three frames), have the same convolutions, 50 features of them, hidden layers and two critics, one
thread and one process, and each is timed with its own replay. They take turns, so that all meet the same load of the
machine: compare the ratios, which are medians over the rounds. Beside wall time stands processor time, which tells more
where other programs run.

Stable-Baselines3 is timed as `CnnPolicy` comes, with an encoder for the actor and one for the critics, and with one for
both (`share_features_extractor`), which its actor's loss alone then trains. It moves no picture at random; RatedSAC
does, within its time.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC as StableBaselinesSAC
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from algorithms.episodes import EpisodeChunk, Scene
from algorithms.policies import build_rated_sac
from algorithms.policy_settings import SACSettings

PX, FRAME_STACK, NUM_FEATURES, ACTION_SIZE = 84, 3, 50, 4
EPISODE_STEPS, NUM_EPISODES = 100, 10
UPDATES = 4
CONVOLUTIONS = {
    "nature": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "drq": ((32, 3, 2), (32, 3, 1), (32, 3, 1), (32, 3, 1)),
}
"""Those of `CnnPolicy` (Mnih et al. 2015), and those of DrQ-v2."""

Update = Callable[[int], object]
"""Takes that many gradient steps."""


class NoTask(gymnasium.Env):
    """Spaces of pictures and of four numbers to act with, and nothing to do."""

    observation_space = gymnasium.spaces.Box(0, 255, (PX, PX, 3 * FRAME_STACK), np.uint8)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros((PX, PX, 3 * FRAME_STACK), np.uint8), {}

    def step(self, action):
        return np.zeros((PX, PX, 3 * FRAME_STACK), np.uint8), 0.0, False, False, {}


class Extractor(BaseFeaturesExtractor):
    """Stable-Baselines3's `NatureCNN` with convolutions of one's own."""

    def __init__(self, observation_space: gymnasium.spaces.Box, convolutions: tuple) -> None:
        super().__init__(observation_space, NUM_FEATURES)
        layers, channels = [], 3 * FRAME_STACK
        for out, kernel, stride in convolutions:
            layers += [nn.Conv2d(channels, out, kernel, stride), nn.ReLU()]
            channels = out
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, 3 * FRAME_STACK, PX, PX)).shape[1]
        self.linear = nn.Sequential(nn.Linear(size, NUM_FEATURES), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolutions(observations))


def random_chunks(rng: np.random.Generator) -> list[EpisodeChunk]:
    """Experience without meaning."""
    return [
        EpisodeChunk(
            episode_id=f"episode{number}",
            first_step=0,
            observations=np.zeros((EPISODE_STEPS + 1, 0), np.float32),
            actions=rng.uniform(-1, 1, size=(EPISODE_STEPS, ACTION_SIZE)).astype(np.float32),
            env_rewards=rng.normal(size=EPISODE_STEPS).astype(np.float32),
            successes=np.zeros(EPISODE_STEPS, bool),
            terminated=False,
            truncated=True,
            frame_states=np.zeros((EPISODE_STEPS + 1, 0), np.float32),
            scene=Scene({}),
            pixels=rng.integers(0, 256, (EPISODE_STEPS + 1, PX, PX, 3), dtype=np.uint8),
        )
        for number in range(NUM_EPISODES)
    ]


def rated_sac(convolutions: tuple, hidden: tuple[int, ...], batch: int, chunks: list[EpisodeChunk]) -> Update:
    """Ours."""
    policy = SACSettings(
        observation="pixels",
        image_px=PX,
        frame_stack=FRAME_STACK,
        convolutions=convolutions,
        num_features=NUM_FEATURES,
        hidden=hidden,
        batch_size=batch,
        replay_capacity=EPISODE_STEPS * NUM_EPISODES,
        target_update_interval=1,
    )
    algo = build_rated_sac(policy, 0, ACTION_SIZE, seed=0)
    for chunk in chunks:
        algo.add_chunk(chunk, chunk.env_rewards, version=1)
    return algo.update


def stable_baselines(
    convolutions: tuple, hidden: tuple[int, ...], batch: int, chunks: list[EpisodeChunk], shared: bool
) -> Update:
    """Stable-Baselines3."""
    sac = StableBaselinesSAC(
        "CnnPolicy",
        NoTask(),
        batch_size=batch,
        buffer_size=EPISODE_STEPS * NUM_EPISODES,
        policy_kwargs={
            "net_arch": list(hidden),
            "n_critics": 2,
            "share_features_extractor": shared,
            "features_extractor_class": Extractor,
            "features_extractor_kwargs": {"convolutions": convolutions},
        },
        device="cpu",
    )
    sac.set_logger(configure(None, []))
    for chunk in chunks:
        frames = chunk.pixels[np.maximum(np.arange(EPISODE_STEPS + 1)[:, None] - np.arange(FRAME_STACK)[::-1], 0)]
        seen = np.moveaxis(frames, -1, 2).reshape(-1, 1, 3 * FRAME_STACK, PX, PX)
        for t in range(EPISODE_STEPS):
            done = np.array([t == EPISODE_STEPS - 1])
            sac.replay_buffer.add(
                seen[t], seen[t + 1], chunk.actions[t], chunk.env_rewards[t], done, [{"TimeLimit.truncated": True}]
            )
    return lambda num_updates: sac.train(gradient_steps=num_updates, batch_size=batch)


def timed(update: Update, num_updates: int) -> tuple[float, float]:
    """Wall and processor milliseconds for an update."""
    wall, processor = time.perf_counter(), time.process_time()
    update(num_updates)
    return (1e3 * (time.perf_counter() - wall) / num_updates, 1e3 * (time.process_time() - processor) / num_updates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--convolutions", choices=list(CONVOLUTIONS), default="nature")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    convolutions, hidden = CONVOLUTIONS[arguments.convolutions], tuple(arguments.hidden)
    chunks = random_chunks(np.random.default_rng(0))
    contenders = {
        "RatedSAC": rated_sac(convolutions, hidden, arguments.batch, chunks),
        "Stable-Baselines3": stable_baselines(convolutions, hidden, arguments.batch, chunks, shared=False),
        "Stable-Baselines3, shared": stable_baselines(convolutions, hidden, arguments.batch, chunks, shared=True),
    }
    for update in contenders.values():
        timed(update, 1)
    rounds = [{n: timed(update, UPDATES) for n, update in contenders.items()} for _ in range(arguments.rounds)]
    first = next(iter(contenders))
    print(
        f"{PX} x {PX} x {3 * FRAME_STACK}, {arguments.convolutions}, layers {hidden}, batch {arguments.batch}", end=""
    )
    print(f", {arguments.rounds} rounds of {UPDATES} updates, medians")
    print(f"{'':28}  ms wall   ratio   ms processor   ratio")
    for name in contenders:
        wall, processor = (median(r[name][clock] for r in rounds) for clock in (0, 1))
        ratios = [median(r[name][clock] / r[first][clock] for r in rounds) for clock in (0, 1)]
        print(f"{name:28}  {wall:7.1f}  {ratios[0]:6.2f}   {processor:12.1f}  {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
