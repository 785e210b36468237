"""The levels of a scale as tokens of a model, and their probabilities among themselves."""

import math
from collections.abc import Sequence
from typing import Any

from actors.rating.backend import Unparsable


def label_tokens(tokenizer: Any, labels: tuple[str, ...]) -> dict[str, int]:
    """The token of each answer label.

    Raises ValueError unless every label is a single token and no two share one: only then does one step tell the
    probability of each level.
    """
    tokens = {label: tokenizer.encode(label, add_special_tokens=False) for label in labels}
    for label, ids in tokens.items():
        if len(ids) != 1:
            raise ValueError(
                f"rater.model: its tokenizer splits the answer label {label!r} into {len(ids)} tokens, but a level "
                "must be a single token; use a model whose tokenizer keeps digits whole, such as a Qwen-VL"
            )
    single = {label: ids[0] for label, ids in tokens.items()}
    if len(set(single.values())) != len(single):
        raise ValueError(
            f"rater.model: its tokenizer gives two of the answer labels {', '.join(labels)} the same token, so that "
            "levels can not be told apart; use a model with a complete vocabulary, such as a Qwen-VL"
        )
    return single


def renormalised(logprobs: Sequence[float]) -> tuple[float, ...]:
    """Probabilities over these alternatives only, sum 1. Raises Unparsable if they are not finite."""
    largest = max(logprobs)
    if not math.isfinite(largest) or any(math.isnan(value) for value in logprobs):
        raise Unparsable(f"the model's probabilities of the levels are not finite: {list(logprobs)}")
    weights = [math.exp(value - largest) for value in logprobs]
    return tuple(weight / sum(weights) for weight in weights)
