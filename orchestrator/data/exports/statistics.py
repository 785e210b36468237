"""Statistics as LeRobot keeps them: of each feature in each episode, and of all episodes together."""

from collections.abc import Mapping, Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
PICTURES = 20
"""Pictures of an episode that are looked at, evenly apart."""

Statistics = dict[str, np.ndarray]
"""min, max, mean, std, quantiles and count of a feature."""


def of_values(values: np.ndarray) -> Statistics:
    """Of values [rows, ...], entry by entry; those that are NaN are labels that were not given, and do not count."""
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    values = values[~np.isnan(values).any(axis=1)]
    if not len(values):
        return {}
    return _statistics(values, values.shape[1:], len(values))


def of_pictures(pictures: Sequence[np.ndarray]) -> Statistics:
    """Of pictures uint8 [height, width, 3], colour by colour, from 0 to 1; count is that of pictures."""
    values = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255
    return _statistics(values, (3, 1, 1), len(pictures))


def sampled(number: int) -> list[int]:
    """Which of so many pictures are looked at."""
    return np.unique(np.linspace(0, number - 1, min(number, PICTURES)).round().astype(int)).tolist()


def together(each: Sequence[Statistics]) -> Statistics:
    """Of all episodes. Quantiles are the mean of theirs, weighted by count, as LeRobot has them."""
    each = [one for one in each if one]
    if not each:
        return {}
    counts = np.array([one["count"][0] for one in each], dtype=np.float64)
    weights = (counts / counts.sum()).reshape(-1, *[1] * each[0]["mean"].ndim)

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        return (weights * np.stack(values)).sum(axis=0)

    centre = mean([one["mean"] for one in each])
    spread = mean([one["std"] ** 2 + (one["mean"] - centre) ** 2 for one in each])
    found = {
        "min": np.min([one["min"] for one in each], axis=0),
        "max": np.max([one["max"] for one in each], axis=0),
        "mean": centre,
        "std": np.sqrt(spread),
        "count": np.array([int(counts.sum())]),
    }
    return found | {name: mean([one[name] for one in each]) for name in QUANTILES}


def as_lists(statistics: Mapping[str, np.ndarray]) -> dict[str, list]:
    """For JSON and Parquet."""
    return {name: value.tolist() for name, value in statistics.items()}


def _statistics(values: np.ndarray, shape: tuple[int, ...], count: int) -> Statistics:
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
    }
    found |= dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))
    return {name: value.reshape(shape) for name, value in found.items()} | {"count": np.array([count])}
