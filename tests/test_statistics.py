"""Deviations and bootstrap intervals, against scipy, scikit-learn and cases small enough to list."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from ftft.results import statistics


def test_mean_and_sd_by_hand():
    # Deviations -2, 0, 2: (4 + 0 + 4) / 2 = 4.
    assert statistics.mean_and_sd([1.0, 3.0, 5.0]) == (3.0, 2.0)


def test_one_seed_has_no_sd():
    mean, sd = statistics.mean_and_sd([0.7])
    assert mean == 0.7
    assert math.isnan(sd)


def test_interval_is_the_middle_95_percent():
    assert statistics.interval(np.arange(1001)) == pytest.approx((25, 975))


def test_every_resample_has_its_draws():
    counts = statistics.draw_counts(7, 5, 200, np.random.default_rng(0))
    assert counts.shape == (200, 7)
    assert (counts.sum(axis=1) == 5).all()
    # Each of 1,000 draws hits each item with probability 1 / 7.
    assert stats.chisquare(counts.sum(axis=0)).pvalue > 0.001


def test_two_examples_give_the_four_possible_resamples():
    # One right (class 0), one wrong (class 1 taken for 0): the draws are 00, 01, 10, 11, so accuracy is 1, 1/2 or 0
    # with probabilities 1/4, 1/2, 1/4. Macro-F1 over two classes: 1/2 (class 1 is nowhere), 1/3 (class 0: 2/3), 0.
    found = statistics.resampled_scores([0, 1], [[0, 0]], 2, resamples=40_000, rng=np.random.default_rng(1))
    values, counts = np.unique(found["accuracy"][0], return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / 40_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.01)
    expected = {1.0: 1 / 2, 0.5: 1 / 3, 0.0: 0.0}
    assert found["macro_f1"][0] == pytest.approx([expected[value] for value in found["accuracy"][0]])


def test_resampled_scores_are_those_of_the_drawn_examples():
    rng = np.random.default_rng(2)
    labels, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, (2, 60))
    found = statistics.resampled_scores(labels, predicted, 3, resamples=20, rng=np.random.default_rng(3))
    counts = statistics.draw_counts(60, 60, 20, np.random.default_rng(3))
    for resample, count in enumerate(counts):
        drawn = np.repeat(np.arange(60), count)
        for run in range(2):
            assert found["accuracy"][run, resample] == pytest.approx(
                accuracy_score(labels[drawn], predicted[run, drawn])
            )
            expected = f1_score(labels[drawn], predicted[run, drawn], labels=range(3), average="macro", zero_division=0)
            assert found["macro_f1"][run, resample] == pytest.approx(expected)


def test_blocks_only_save_memory(monkeypatch):
    rng = np.random.default_rng(4)
    labels, predicted = rng.integers(0, 2, 50), rng.integers(0, 2, (3, 50))

    def found():
        return statistics.resampled_scores(labels, predicted, 2, resamples=100, rng=np.random.default_rng(5))

    whole = found()
    monkeypatch.setattr(statistics, "_BLOCK", 50 * 8)
    for metric, values in found().items():
        assert np.array_equal(values, whole[metric])


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_paired_interval_agrees_with_scipy(metric):
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 300)
    first = np.where(rng.random(300) < 0.8, labels, 1 - labels)
    second = np.where(rng.random(300) < 0.9, first, 1 - first)  # mostly the same predictions

    def difference(gold, one, two):
        if metric == "accuracy":
            return accuracy_score(gold, one) - accuracy_score(gold, two)
        return f1_score(gold, one, average="macro") - f1_score(gold, two, average="macro")

    expected = stats.bootstrap(
        (labels, first, second),
        difference,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    resampled = statistics.resampled_scores(labels, [first, second], 2, resamples=10_000, rng=np.random.default_rng(8))[
        metric
    ]
    found = statistics.interval(resampled[0] - resampled[1])
    # A quantile of 2,000 resamples is known to about 0.002 here.
    assert found == pytest.approx((expected.low, expected.high), abs=0.006)


def test_one_seed_weighs_all():
    assert statistics.seed_weights(1, 3, np.random.default_rng(0)).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_drawing_one_seed_less_makes_the_variance_of_the_mean_unbiased(n):
    values = np.random.default_rng(n).normal(size=n)
    weights = statistics.seed_weights(n, 200_000, np.random.default_rng(9))
    assert weights.sum(axis=0) == pytest.approx(1)
    assert (values @ weights).var() == pytest.approx(stats.sem(values) ** 2, rel=0.02)
