"""What makes a pocket rater of either kind: a tokenizer for its texts, weights, and a folder that holds both."""

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

    from actors.pocket.model import PocketModel
    from actors.pocket.together import OnStep, Peers
    from actors.pocket.training import Trainer

Shard = TypeVar("Shard")
NewTrainer = Callable[["Qwen2Tokenizer", Any, int, "OnStep", "Peers"], "Trainer"]
"""Makes the trainer of one process: from the tokenizer, what is the process's own of the data, the seed, and whom to
tell of steps. It draws the weights from torch's global generator."""

NUM_PROCESSES = 2
"""Processes that draw, and processes that judge."""
VOCABULARY = 1000
"""At most; the questions of either kind need about half."""


def fresh_processes() -> ProcessPoolExecutor:
    """Processes that begin anew, and so import no more than what they run."""
    return ProcessPoolExecutor(NUM_PROCESSES, mp_context=multiprocessing.get_context("spawn"))


def make(
    out_folder: Path,
    texts: Iterable[str],
    picture_px: int,
    new_trainer: NewTrainer,
    shards: list[Shard],
    seed: int,
    on_step: "OnStep",
) -> None:
    """Train tokenizer and weights, with a process for each of `shards`, and write the checkpoint.

    `new_trainer` and shards are pickled.
    """
    from actors.pocket import checkpoint
    from actors.pocket.together import run_together
    from actors.pocket.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(texts, VOCABULARY)
    model = run_together(partial(_fit, new_trainer, tokenizer, seed), shards, on_step)
    checkpoint.save(model, tokenizer, out_folder, picture_px)


def _fit(
    new_trainer: NewTrainer, tokenizer: "Qwen2Tokenizer", seed: int, peers: "Peers", shard: Any, on_step: "OnStep"
) -> "PocketModel":
    """The trained model; every one of the processes that train it together runs this."""
    import torch

    torch.manual_seed(seed + peers.rank)
    trainer = new_trainer(tokenizer, shard, seed, on_step, peers)
    trainer.fit()
    return trainer.model
