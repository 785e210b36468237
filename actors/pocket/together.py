"""Training one small model in several processes: each draws its share of every batch, and gradients are averaged.

Products of networks this small are too short to gain from threads; whole shares of a batch are not.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Shard = TypeVar("Shard")
Result = TypeVar("Result")
OnStep = Callable[[str, int, int, float], None]
"""Phase, step done, steps in the phase, loss."""


@dataclass(frozen=True)
class Peers:
    """The processes that train one model, as one of them sees it."""

    rank: int = 0
    size: int = 1

    def share(self, count: int) -> int:
        """How much of `count` each of them draws."""
        return max(1, count // self.size)

    def start_equal(self, modules: Iterable[nn.Module]) -> None:
        """Give everyone the first one's weights."""
        if self.size > 1:
            for module in modules:
                for weight in module.parameters():
                    dist.broadcast(weight.data, src=0)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over all."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(mean)
        mean /= self.size
        for gradient, part in zip(gradients, mean.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


ALONE = Peers()

Job = Callable[[Peers, Shard, OnStep], Result]


def run_together(job: Job[Shard, Result], shards: list[Shard], on_step: OnStep) -> Result:
    """Run `job` with each shard in a process of its own, on one thread each; the result of the first, which runs here.

    `job` and shards are pickled. Raises what the job raises here, and RuntimeError if another process died.
    """
    size = len(shards)
    if size == 1:
        return job(ALONE, shards[0], on_step)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        others = [
            context.Process(target=_join, args=(job, shards[rank], Peers(rank, size), meeting), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            with _joined(Peers(0, size), meeting):
                return job(Peers(0, size), shards[0], on_step)
        finally:
            for process in others:
                process.join(timeout=10)
                process.kill()


def _join(job: Job, shard, peers: Peers, meeting: Path) -> None:
    with _joined(peers, meeting):
        job(peers, shard, lambda *done: None)


@contextmanager
def _joined(peers: Peers, meeting: Path) -> Iterator[None]:
    # They are on one machine, whatever its name resolves to.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=peers.rank, world_size=peers.size)
    try:
        yield
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)
