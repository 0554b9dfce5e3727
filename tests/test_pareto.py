import numpy as np
import pytest

from ftft.results.pareto import pareto_front


def test_front_by_hand():
    # In this order: on the front, on the front, no better but dearer, as dear but worse, the cheapest of all.
    cost = [50, 100, 200, 100, 40]
    score = [0.5, 0.6, 0.6, 0.55, 0.4]
    assert pareto_front(cost, score).tolist() == [True, True, False, False, True]


def test_ties():
    # Two equal points; one as dear as they are but worse; one as good but dearer.
    assert pareto_front([1, 1, 1, 2], [0.5, 0.5, 0.4, 0.5]).tolist() == [True, True, False, False]


def test_a_point_without_a_number_is_not_on_the_front_and_in_nobodys_way():
    nan = float("nan")
    assert pareto_front([1, nan, 2, 0], [0.5, 0.9, 0.6, nan]).tolist() == [True, False, True, False]
    assert pareto_front([], []).tolist() == []


def test_no_point_of_the_front_is_dominated_and_every_other_is():
    cost, score = np.random.default_rng(0).integers(0, 12, (2, 60))
    front = pareto_front(cost, score)
    for number in range(len(cost)):
        others = [
            (c, s)
            for c, s in zip(cost, score, strict=True)
            if c <= cost[number] and s >= score[number] and (c, s) != (cost[number], score[number])
        ]
        assert front[number] == (not others)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"found shapes \(2,\) and \(3,\)"):
        pareto_front([1, 2], [1, 2, 3])
