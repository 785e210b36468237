"""Agreement of raters on levels: weighted kappa, Krippendorff's alpha, shares by level, and the tables behind them.

What is told is the libraries' own; draws of the bootstrap, of which there are thousands, are reckoned together here by
the same formulas.
"""

from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score

from orchestrator.reports.intervals import Interval, sums_interval, wilson_interval

NO_LEVEL = -1
"""In tables of levels: this rater said no level of this item."""


@dataclass(frozen=True)
class Measure:
    """A measure of agreement, or why there is none."""

    interval: Interval | None
    """1 where all agree, 0 where they do no more than by chance, below where less; None if it is not defined."""
    reason: str = ""
    """Why it is not defined."""

    def __str__(self) -> str:
        return f"not defined: {self.reason}" if self.interval is None else str(self.interval)


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on items."""

    num_items: int
    """Items of which there are two levels to compare."""
    table: np.ndarray
    """[n, n] int64: pairs of levels, one of either side, over all items; each pair twice if neither side is first."""
    num_pairs: int
    """Pairs of levels."""
    kappa: Measure
    """Cohen's kappa with quadratic weights (Cohen 1968); of more than two raters the mean over their pairs (Light
    1971)."""
    alpha: Measure
    """Krippendorff's alpha for ordered levels (Krippendorff 2011)."""

    @property
    def same(self) -> Interval | None:
        """Share of pairs with the same level, with Wilson's interval; None of no pair."""
        if not self.num_pairs:
            return None
        return wilson_interval(int(np.trace(self.table)) * self.num_pairs // int(self.table.sum()), self.num_pairs)

    def same_of(self, level: int) -> Interval | None:
        """The same of pairs whose first level is this one, where one side is first; None if there is none."""
        number = int(self.table[level].sum())
        return wilson_interval(int(self.table[level, level]), number) if number else None


def among(levels: np.ndarray, num_levels: int) -> Agreement:
    """How far raters agree with one another: `levels` int64 [raters, N] in [0, num_levels), or NO_LEVEL.

    The table counts each pair both ways, since none of two raters comes first. Raises ValueError for other levels.
    """
    _check(levels, num_levels)
    if len(levels) < 2:
        reason = "there is one rater alone" if len(levels) else "there is no rater"
        return _undefined(0, 0, np.zeros((num_levels, num_levels), dtype=np.int64), reason)
    pairs = [_tables(levels[one], levels[other], num_levels) for one, other in combinations(range(len(levels)), 2)]
    tables = np.stack(pairs, axis=1)
    counts = (levels[:, :, None] == np.arange(num_levels)).sum(axis=0)
    table = tables.sum(axis=(0, 1))
    return _agreement(tables, np.maximum(counts.sum(axis=1) - 1, 1), counts, table + table.T)


def against(references: np.ndarray, levels: np.ndarray, num_levels: int) -> Agreement:
    """How far `levels` int64 [N], of one rater, agree with each of others, `references` int64 [others, N].

    Each pair of a reference and this rater counts; what the references say of one another does not. Rows of the table
    are the references'. Raises ValueError for levels outside of [0, num_levels) other than NO_LEVEL.
    """
    _check(references, num_levels)
    _check(levels, num_levels)
    tables = np.zeros((len(levels), num_levels, num_levels), dtype=np.int64)
    for one in references:
        tables += _tables(one, levels, num_levels)
    table = tables.sum(axis=0)
    # Each pair is a unit of its own.
    places = np.repeat(np.argwhere(table), table[table > 0], axis=0)
    counts = (places[:, :, None] == np.arange(num_levels)).sum(axis=1)
    return _agreement(tables[:, None], np.ones(len(levels)), counts, table)


def _agreement(tables: np.ndarray, others: np.ndarray, counts: np.ndarray, table: np.ndarray) -> Agreement:
    """`tables` int64 [N, pairs, n, n] are of each item and pair of raters, `others` [N] with how many each level of an
    item is compared, `counts` int64 [units, n] the levels of each unit of alpha, and `table` what is shown."""
    rated = tables.any(axis=(1, 2, 3))
    tables, others, number = tables[rated], others[rated], int(rated.sum())
    num_pairs = int(tables.sum())
    if not number:
        return _undefined(0, 0, table, "there is no item that two of them rated")
    if number == 1:
        return _undefined(1, num_pairs, table, "there is one item alone")
    if _is_of_one_level(table):
        return _undefined(number, num_pairs, table, "every level said is the same one")
    kappas = [_kappa(one) for one in tables.sum(axis=0) if one.any() and not _is_of_one_level(one)]
    kappa = Measure(None, "each pair of raters said one and the same level of all items")
    if kappas:
        kappa = Measure(sums_interval(tables, kappas_of, float(np.mean(kappas))))
    alpha = float(krippendorff.alpha(value_counts=counts, level_of_measurement="ordinal"))
    either_way = tables.sum(axis=1) + tables.sum(axis=1).swapaxes(1, 2)
    interval = sums_interval(either_way / others[:, None, None], alphas_of, alpha)
    return Agreement(number, table, num_pairs, kappa, Measure(interval))


def _undefined(num_items: int, num_pairs: int, table: np.ndarray, reason: str) -> Agreement:
    return Agreement(num_items, table, num_pairs, Measure(None, reason), Measure(None, reason))


def _kappa(table: np.ndarray) -> float:
    levels = np.arange(len(table))
    first, second = np.meshgrid(levels, levels, indexing="ij")
    weights = table.ravel()
    return float(
        cohen_kappa_score(first.ravel(), second.ravel(), labels=levels, weights="quadratic", sample_weight=weights)
    )


def kappas_of(tables: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights, float64 [samples], mean over those pairs of `tables` [samples, pairs, n, n]
    of which it is defined; NaN where it is of none."""
    levels = np.arange(tables.shape[-1])
    weights = (levels[:, None] - levels) ** 2
    total = tables.sum(axis=(-2, -1))
    expected = tables.sum(axis=-1)[..., :, None] * tables.sum(axis=-2)[..., None, :]
    kappas = 1.0 - _ratio((weights * tables).sum(axis=(-2, -1)) * total, (weights * expected).sum(axis=(-2, -1)))
    defined = ~np.isnan(kappas)
    return _ratio(np.where(defined, kappas, 0.0).sum(axis=-1), defined.sum(axis=-1))


def alphas_of(coincidences: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha for ordered levels, float64 [samples], of matrices [samples, n, n]; NaN where all levels are
    one."""
    number = coincidences.sum(axis=-1)
    # The distance of two levels is the number of those between them, with half of either.
    middles = number.cumsum(axis=-1) - number / 2
    distances = (middles[..., :, None] - middles[..., None, :]) ** 2
    observed = (coincidences * distances).sum(axis=(-2, -1)) * (number.sum(axis=-1) - 1)
    return 1.0 - _ratio(observed, (number[..., :, None] * number[..., None, :] * distances).sum(axis=(-2, -1)))


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """float64, NaN where the lower is 0."""
    return np.divide(over, under, out=np.full(np.shape(under), np.nan), where=under != 0)


def _tables(first: np.ndarray, second: np.ndarray, num_levels: int) -> np.ndarray:
    """int64 [N, n, n]: 1 at the two levels of each item that has both."""
    both = np.nonzero((first != NO_LEVEL) & (second != NO_LEVEL))[0]
    tables = np.zeros((len(first), num_levels, num_levels), dtype=np.int64)
    tables[both, first[both], second[both]] = 1
    return tables


def _is_of_one_level(table: np.ndarray) -> bool:
    """Whether both sides said one and the same level throughout."""
    return np.count_nonzero(table.sum(axis=0) + table.sum(axis=1)) == 1


def _check(levels: np.ndarray, num_levels: int) -> None:
    if levels.size and not NO_LEVEL <= levels.min() <= levels.max() < num_levels:
        raise ValueError(f"levels must be from 0 to {num_levels - 1}, or {NO_LEVEL} for none")
