"""Processor time of the reward model's work, beside a loop over members as a plain script has it, in pairs.

    OMP_NUM_THREADS=1 python benchmarks/reward_model.py [--pairs 7] [--network small] [--image-px 56] [--frames 750]

The script (`Plain`) is of the same networks in PyTorch's own layout, its frames made float numbers once and kept, and
the loss written down for one size of scale. Both sides train on balanced batches, score all frames as one relabelling
does, and score the frames of one round of rollouts. `network` is the forward pass of the members alone, in batches of
64 that are numbers already: the most that relabelling could be. Each side takes its turn with every pair, so that both
meet the same load of the machine; the ratios are medians, how many times as fast as the script.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from algorithms.reward_ensemble import RewardEnsemble
from algorithms.reward_model import RewardModel
from algorithms.reward_networks import FRAME_LAYERS, as_numbers, frame_features
from algorithms.score_batches import LARGEST
from algorithms.settings import RewardModelSettings

LEVELS, BATCH, ROUND = 3, 64, 25


class Plain:
    """Three networks, an optimiser and a loop."""

    def __init__(self, settings: RewardModelSettings) -> None:
        self.members = nn.ModuleList(self._network(settings) for _ in range(settings.num_members))
        self.optimiser = torch.optim.Adam(self.members.parameters(), lr=settings.learning_rate)

    @staticmethod
    def _network(settings: RewardModelSettings) -> nn.Sequential:
        layers, channels_in = [], 3
        for channels, kernel, stride in FRAME_LAYERS[settings.network]:
            layers += [nn.Conv2d(channels_in, channels, kernel, stride), nn.ReLU()]
            channels_in = channels
        features = frame_features(settings.network, settings.image_px)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 1), nn.Tanh())

    def epoch(self, seen: torch.Tensor, ratings: torch.Tensor, rng: np.random.Generator) -> None:
        levels = [np.flatnonzero(ratings.numpy() == level) for level in range(LEVELS)]
        for _ in range(-(-max(map(len, levels)) // (BATCH // LEVELS))):
            self.optimiser.zero_grad()
            for member in self.members:
                batch = np.concatenate([rng.choice(items, BATCH // LEVELS) for items in levels])
                self._loss(member(seen[batch]).squeeze(1), ratings[batch]).backward()
            self.optimiser.step()

    @staticmethod
    def _loss(rewards: torch.Tensor, ratings: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(ratings, minlength=LEVELS)
        scaled = (rewards - rewards.min()) / (rewards.max() - rewards.min() + 1e-6)
        cuts = scaled.detach().sort().values[counts.cumsum(0)[:-1] - 1]
        bounds = torch.cat([cuts.new_zeros(1), cuts, cuts.new_ones(1)])
        logits = -30.0 * (scaled[:, None] - bounds[:-1]) * (scaled[:, None] - bounds[1:])
        return (nn.functional.one_hot(ratings, LEVELS) - logits.softmax(dim=1)).abs().sum(dim=1).mean()

    @torch.no_grad()
    def score(self, seen: torch.Tensor) -> np.ndarray:
        parts = seen.split(LARGEST)
        return torch.cat([torch.stack([member(part) for member in self.members]).mean(0) for part in parts]).numpy()


def seconds(work: Callable[[], object]) -> float:
    """Of this thread on its processor."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--network", choices=tuple(FRAME_LAYERS), default="small")
    parser.add_argument("--image-px", type=int, default=56)
    parser.add_argument("--frames", type=int, default=750)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = RewardModelSettings(
        network=arguments.network, image_px=arguments.image_px, batch_size=BATCH, min_epochs=1, max_epochs=1
    )
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (arguments.frames, settings.image_px, settings.image_px, 3), dtype=np.uint8)
    ratings = np.arange(arguments.frames) % LEVELS
    model, plain = RewardModel(settings, None, 0), Plain(settings)
    seen, told = torch.from_numpy(frames).float().div(255.0).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(ratings)
    network = RewardEnsemble(settings, None, 0).to(memory_format=torch.channels_last)
    batches = as_numbers(torch.from_numpy(frames)).split(LARGEST)

    @torch.no_grad()
    def members_alone() -> None:
        for batch in batches:
            for member in network.members:
                member(batch)

    rounds = range(0, arguments.frames, ROUND)
    # One call of `fit` is an epoch and the scores of what was rated, which the script needs besides.
    works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "training": (
            lambda: model.fit(frames, ratings, LEVELS, rng),
            lambda: (plain.epoch(seen, told, rng), plain.score(seen)),
        ),
        "relabelling": (lambda: model.score(frames), lambda: plain.score(seen)),
        "rounds": (
            lambda: [model.score(frames[start : start + ROUND]) for start in rounds],
            lambda: [plain.score(seen[start : start + ROUND]) for start in rounds],
        ),
        "network": (lambda: model.score(frames), members_alone),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for pair in range(arguments.pairs + 1):
        for name, (ours, other) in works.items():
            ours_s, other_s = seconds(ours), seconds(other)
            if pair:  # The first fills caches.
                found[name].append((ours_s, other_s))
    for name, times in found.items():
        per_frame = [1e6 * statistics.median(side) / arguments.frames for side in zip(*times, strict=True)]
        print(f"{name:12s} ours {per_frame[0]:7.1f} us a frame   other {per_frame[1]:7.1f} us a frame")
    ratios = {name: statistics.median(other / ours for ours, other in times) for name, times in found.items()}
    print(" ".join(f"{name}={ratio:.2f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
