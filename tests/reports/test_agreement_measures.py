"""Weighted kappa and alpha against published examples, by hand, and where they are not defined."""

import warnings

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from orchestrator.reports.agreement.measures import NO_LEVEL, Measure, against, alphas_of, among, kappas_of
from orchestrator.reports.intervals import sums_interval, wilson_interval

# 4 observers and 12 units: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section D.
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
) - 1  # fmt: skip
# The first two raters of `anxiety`: the example `kappa2(anxiety[,1:2], "squared")` of R's package irr (Gamer et al.).
ANXIETY = np.array(
    [
        [3, 3, 3, 4, 5, 5, 2, 3, 5, 2, 2, 6, 1, 5, 2, 2, 1, 2, 4, 3],
        [3, 6, 4, 6, 2, 4, 2, 4, 3, 3, 2, 3, 3, 3, 2, 2, 1, 3, 3, 4],
    ]
) - 1  # fmt: skip


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_alpha_of_krippendorffs_example():
    found = among(FOUR_OBSERVERS, 5)
    assert found.alpha.interval.mean == pytest.approx(0.815, abs=5e-4)
    assert found.alpha.interval.low < 0.815 < found.alpha.interval.high
    # The unit that one observer alone has looked at says nothing of agreement.
    assert found.num_items == 11
    shown = np.where(FOUR_OBSERVERS == NO_LEVEL, np.nan, FOUR_OBSERVERS)
    told = {kind: krippendorff.alpha(shown, level_of_measurement=kind) for kind in ("nominal", "interval")}
    assert told == pytest.approx({"nominal": 0.743, "interval": 0.849}, abs=5e-4)


@pytest.mark.parametrize("found", [among(ANXIETY, 6), against(ANXIETY[:1], ANXIETY[1], 6)])
def test_kappa_of_the_example_of_irr(found):
    assert found.kappa.interval.mean == pytest.approx(0.297, abs=5e-4)
    assert found.num_items == 20 and found.kappa.interval.low < 0.297 < found.kappa.interval.high


def test_by_hand():
    """Of four items two are the same, and the others one and two levels apart."""
    people, model = np.array([[0, 1, 2, 0]]), np.array([0, 1, 1, 2])
    found = against(people, model, 3)
    assert found.table.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    # Squared distances 1 + 4 in 4 items. Expected of 2, 1, 1 and 1, 2, 1: 2 * 2 + 2 * 4 + 1 + 1 + 1 * 4 + 2 = 20 of 16.
    assert found.kappa.interval.mean == pytest.approx(1 - (5 / 4) / (20 / 16))
    # Levels 3, 3, 2 times lie 3, 2.5 and 5.5 apart. Observed 2 (2.5^2 + 5.5^2), expected over 8 - 1
    # 2 (3 * 3 * 9 + 3 * 2 * 2.5^2 + 3 * 2 * 5.5^2).
    assert found.alpha.interval.mean == pytest.approx(1 - 73 / (600 / 7))
    assert (found.num_items, found.num_pairs, found.same.mean) == (4, 4, 0.5)
    assert [found.same_of(level) and found.same_of(level).mean for level in range(3)] == [0.5, 1.0, 0.0]


def test_a_table_of_people_counts_each_pair_both_ways():
    found = among(np.array([[0, 1, NO_LEVEL], [1, 1, 0]]), 2)
    assert found.table.tolist() == [[0, 1], [1, 2]] and found.num_items == found.num_pairs == 2
    assert (found.same.mean, found.same.high) == (0.5, wilson_interval(1, 2).high)


def test_of_three_raters_kappa_is_the_mean_over_pairs():
    levels = np.array([[0, 1, 2, 2, 0], [0, 1, 2, 1, 0], [1, 1, 2, 0, 0]])
    pairs = [
        cohen_kappa_score(levels[one], levels[other], weights="quadratic") for one, other in ((0, 1), (0, 2), (1, 2))
    ]
    assert among(levels, 3).kappa.interval.mean == pytest.approx(np.mean(pairs))


def test_against_several_people_what_they_say_of_one_another_does_not_count():
    people, model = np.array([[0, 0, 1, 1], [1, 1, 0, 0]]), np.array([0, 0, 1, 1])
    found = against(people, model, 2)
    assert found.table.tolist() == [[2, 2], [2, 2]] and found.kappa.interval.mean == 0.0
    assert (found.num_items, found.num_pairs) == (4, 8)


def test_the_draws_are_reckoned_as_the_libraries_do():
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = int(rng.integers(2, 6))
        levels = rng.integers(n, size=(2, 12))
        levels[:, :2] = 0, n - 1
        table = np.zeros((n, n))
        np.add.at(table, tuple(levels), 1.0)
        kappa = cohen_kappa_score(*levels, labels=np.arange(n), weights="quadratic")
        alpha = krippendorff.alpha(levels, value_domain=np.arange(n), level_of_measurement="ordinal")
        assert kappas_of(table[None, None])[0] == pytest.approx(kappa)
        assert alphas_of((table + table.T)[None])[0] == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("levels", "number", "reason"),
    [
        (np.zeros((0, 4), dtype=np.int64), 0, "there is no rater"),
        (np.array([[0, 1, 2]]), 0, "there is one rater alone"),
        (np.array([[0, 1, -1], [-1, -1, 2]]), 0, "there is no item that two of them rated"),
        (np.array([[0, 1], [2, -1]]), 1, "there is one item alone"),
        (np.array([[1, 1, 1], [1, 1, -1]]), 2, "every level said is the same one"),
        (np.zeros((2, 0), dtype=np.int64), 0, "there is no item that two of them rated"),
    ],
)
def test_where_it_is_not_defined(levels, number, reason):
    found = among(levels, 3)
    assert found.kappa == found.alpha == Measure(None, reason) and found.num_items == number
    assert str(found.kappa) == f"not defined: {reason}"
    if len(levels) == 2:
        assert against(levels[:1], levels[1], 3).alpha == Measure(None, reason)


def test_nobody_and_a_model():
    found = against(np.zeros((0, 3), dtype=np.int64), np.array([0, 1, 2]), 3)
    assert found.kappa.reason == "there is no item that two of them rated" and found.same is None


def test_one_of_two_raters_used_one_level_only():
    found = among(np.array([[1, 1, 1, 1], [0, 1, 1, 2]]), 3)
    assert found.kappa.interval.mean == 0.0 and found.alpha.interval.mean == pytest.approx(0.125)


def test_pairs_of_raters_of_which_kappa_is_not_defined():
    # The first two agree on level 0 of their items, the others on level 1 of theirs.
    found = among(np.array([[0, 0, -1, -1], [0, 0, -1, -1], [-1, -1, 1, 1], [-1, -1, 1, 1]]), 2)
    assert found.kappa == Measure(None, "each pair of raters said one and the same level of all items")
    assert found.alpha.interval.mean == 1.0


def test_the_interval_is_over_items():
    # Of 100 items half agree and half are opposite: kappa is 0, with the deviation of a mean of 100 values +-1.
    found = among(np.array([[0, 1] * 50, [0, 1] * 25 + [1, 0] * 25]), 2)
    interval = found.kappa.interval
    assert interval.mean == 0.0
    assert (interval.low, interval.high) == pytest.approx((-0.196, 0.196), abs=0.03)
    # Eight people who say the same of them are no more items.
    eight = np.repeat(np.array([[0, 1] * 50]), 8, axis=0)
    again = against(eight, np.array([0, 1] * 25 + [1, 0] * 25), 2).kappa.interval
    assert (again.low, again.high) == pytest.approx((-0.196, 0.196), abs=0.03)


def test_sums_interval_by_hand():
    # Items 0 and 1: of two draws both are 0 in a quarter of cases, more than the tail.
    found = sums_interval(np.array([[0.0], [1.0]]), lambda sums: sums[:, 0] / 2, 0.5)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="at least one item"):
        sums_interval(np.zeros((0, 1)), lambda sums: sums[:, 0], 0.0)
    with pytest.raises(ValueError, match="of no draw"):
        sums_interval(np.ones((2, 1)), lambda sums: np.full(len(sums), np.nan), 0.0)


def test_other_levels_are_refused():
    for wrong in (3, -2):
        with pytest.raises(ValueError, match="levels must be from 0 to 2"):
            among(np.array([[0, wrong], [0, 1]]), 3)
