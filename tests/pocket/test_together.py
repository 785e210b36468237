"""Training in several processes."""

import os
import signal

import pytest
import torch
from torch import nn

from actors.pocket.together import ALONE, OnStep, Peers, run_together


def fit_line(peers: Peers, shard: torch.Tensor, on_step: OnStep) -> list[torch.Tensor]:
    """Three steps of gradient descent on a linear model; its weights after each."""
    torch.manual_seed(peers.rank)
    line = nn.Linear(2, 1, bias=False)
    peers.start_equal([line])
    weights = []
    for step in range(3):
        line.zero_grad()
        (line(shard[:, :2]) - shard[:, 2:]).square().mean().backward()
        peers.average_gradients(line.parameters())
        with torch.no_grad():
            line.weight -= 0.1 * line.weight.grad
        on_step("line", step + 1, 3, 0.0)
        weights.append(line.weight.detach().clone())
    return weights


def die(peers: Peers, shard: torch.Tensor, on_step: OnStep) -> list[torch.Tensor]:
    if peers.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_line(peers, shard, on_step)


DATA = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0], [1.0, 1.0, 0.5], [2.0, -1.0, 3.0]])


def test_two_processes_take_the_steps_that_one_takes_with_all_data():
    steps = []
    together = run_together(fit_line, [DATA[:2], DATA[2:]], lambda *done: steps.append(done[1]))
    alone = fit_line(ALONE, DATA, lambda *done: None)
    assert steps == [1, 2, 3]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_death_of_one_ends_the_training():
    with pytest.raises(RuntimeError):
        run_together(die, [DATA[:2], DATA[2:]], lambda *done: None)


def test_batches_are_shared():
    assert [Peers(0, size).share(48) for size in (1, 2, 3)] == [48, 24, 16]
    assert Peers(0, 4).share(2) == 1
