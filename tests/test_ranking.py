"""Orders, ranks and their agreement: by hand, and with scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from ftft.dynamics import ranking


def test_order_by_hand():
    uids, scores = ["d", "b", "c", "a"], [1.0, 3.0, 1.0, 2.0]
    assert ranking.order(uids, scores, descending=True).tolist() == [1, 3, 2, 0]  # equals: c before d
    assert ranking.order(uids, scores, descending=False).tolist() == [2, 0, 3, 1]
    assert ranking.first(uids, scores, 0.75, descending=True).tolist() == [False, True, True, True]


@pytest.mark.parametrize("distinct", [3, 1000])
def test_correlation_is_spearmans(distinct):
    rng = np.random.default_rng(distinct)
    one = rng.integers(distinct, size=200)
    other = one + rng.integers(distinct, size=200)
    assert ranking.correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert ranking.doubled_ranks(one) == pytest.approx(2 * stats.rankdata(one))


def test_correlation_at_its_ends():
    assert ranking.correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert ranking.correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(ranking.correlation([1, 2, 3], [5, 5, 5]))


def test_overlap_is_jaccards():
    one, other = np.random.default_rng(0).random((2, 100)) < 0.4
    assert ranking.overlap(one, other) == pytest.approx(jaccard_score(one, other))
    assert ranking.overlap([True, True, False], [False, True, True]) == pytest.approx(1 / 3)
    assert ranking.overlap([False], [False]) == 1
