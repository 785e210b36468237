"""How a pass over the ratings is cut into batches, when some levels are rare."""

from typing import Literal

import numpy as np


def rating_batches(
    ratings: np.ndarray,
    batch_size: int,
    mode: Literal["off", "balanced", "proportional"],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Index arrays int64 of one epoch's batches over `ratings` int64 [N], N >= 1. Every item is in at least one batch.

    `off`: a random partition. `proportional`: a random partition in which every batch has its share of each level, to
    the nearest item. In both there are ceil(N / batch_size) batches, whose sizes differ by one at most.

    `balanced`: every batch holds each level that occurs equally often, and all batches are of one size, at most
    `batch_size`. The largest level sets the epoch's length, ceil(its count / its places in a batch) batches; rarer
    levels are repeated, all of their items once more before any a second time. Raises ValueError if `batch_size` is
    below the number of levels that occur.
    """
    if mode == "balanced":
        return _balanced(ratings, batch_size, rng)
    order = rng.permutation(len(ratings))
    num_batches = -(-len(ratings) // batch_size)
    if mode == "off":
        return np.array_split(order, num_batches)
    # Dealing out the items level by level, like cards, gives every batch its share of each. ERL-VLM's code tops up
    # batches from the most frequent level until it runs dry, which leaves a last batch without that level.
    by_level = order[np.argsort(ratings[order], kind="stable")]
    return [rng.permutation(by_level[number::num_batches]) for number in range(num_batches)]


def _balanced(ratings: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    levels = [np.flatnonzero(ratings == level) for level in np.unique(ratings)]
    most_places = batch_size // len(levels)
    if most_places == 0:
        raise ValueError(
            f"reward_model.batch_size {batch_size}: balanced batches need a place for each of {len(levels)} levels; "
            "raise it, or set stratified to 'off' or 'proportional'"
        )
    largest = max(len(items) for items in levels)
    num_batches = -(-largest // most_places)
    places = -(-largest // num_batches)
    columns = [_repeated(items, num_batches * places, rng).reshape(num_batches, places) for items in levels]
    return [rng.permutation(batch) for batch in np.concatenate(columns, axis=1)]


def _repeated(items: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` draws from `items`, shuffled anew for each repetition."""
    repetitions = -(-count // len(items))
    return np.concatenate([rng.permutation(items) for _ in range(repetitions)])[:count]
