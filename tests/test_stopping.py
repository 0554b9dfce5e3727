"""Early stopping follows sequences worked out by hand; agreement of rankings is that of SciPy."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from ftft.dynamics import measures
from ftft.training.stopping import EarlyStopping, RankingStop


def run(scores: list[float], **settings) -> tuple[EarlyStopping, list[int]]:
    """The rule after scores at steps 10, 20, …, and the steps that it called the best so far."""
    rule = EarlyStopping("dev", **settings)
    return rule, [step for step, score in zip(range(10, 1000, 10), scores, strict=False) if rule.update(step, score)]


@pytest.mark.parametrize(
    ("scores", "patience", "min_delta", "best_step", "stopped", "bests"),
    [
        ([0.5, 0.6, 0.55, 0.59], 2, 0.0, 20, 40, [10, 20]),
        ([0.5, 0.6, 0.55, 0.59], 3, 0.0, 20, None, [10, 20]),
        ([0.5, 0.4], 1, 0.0, 10, 20, [10]),
        # Waiting starts anew with each improvement.
        ([0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.6], 2, 0.0, 50, 70, [10, 30, 50]),
        # The same score again is no improvement.
        ([0.5, 0.5, 0.5], 2, 0.0, 10, 30, [10]),
        # Steps of 0.25 with min_delta 0.25: exactly min_delta is not enough, and the best stays where it was.
        ([0.0, 0.25, 0.5, 0.5], 2, 0.25, 30, None, [10, 30]),
        ([0.0, 0.25, 0.25], 2, 0.25, 10, 30, [10]),
        # Once stopped, a better score changes nothing.
        ([0.5, 0.4, 0.9, 1.0], 1, 0.0, 10, 20, [10]),
        # The first score is the best so far, however bad.
        ([-1e9, -1e9], 1, 0.0, 10, 20, [10]),
        ([-1.0, -0.5], 2, 0.0, 20, None, [10, 20]),
        ([], 1, 0.0, 0, None, []),
    ],
)
def test_early_stopping(scores, patience, min_delta, best_step, stopped, bests):
    rule, found = run(scores, patience=patience, min_delta=min_delta)
    assert (rule.best_step, rule.stopped, found) == (best_step, stopped, bests)
    if best_step:
        assert rule.best == scores[best_step // 10 - 1]


@pytest.mark.parametrize(
    ("scores", "best_step", "stopped"),
    [
        # Flat at chance for as long as it likes, then one score above it and two that are not better.
        ([0.4, 0.4, 0.4, 0.4, 0.5, 0.45, 0.45], 50, 70),
        # Below chance a model has not learned the task either.
        ([0.2, 0.1, 0.1, 0.1, 0.1], 10, None),
        # Above it from the start: as without a chance.
        ([0.41, 0.4, 0.4], 10, 30),
        # Two below it, then one above.
        ([0.1, 0.2, 0.5, 0.4, 0.4], 30, 50),
    ],
)
def test_patience_counts_from_the_first_score_above_chance(scores, best_step, stopped):
    rule, _ = run(scores, patience=2, chance=0.4)
    assert (rule.best_step, rule.stopped) == (best_step, stopped)


def test_a_score_above_chance_counts_though_it_is_not_better_by_min_delta():
    rule, _ = run([0.4, 0.4, 0.45, 0.4], patience=2, chance=0.4, min_delta=0.1)
    assert (rule.best_step, rule.stopped) == (10, 40)


def test_early_stopping_continues_from_its_state():
    rule, _ = run([0.5, 0.4], patience=2)
    rule = EarlyStopping(**asdict(rule))
    assert rule.update(30, 0.4) is False
    assert rule.stopped == 30


UIDS = [f"u{row:03}" for row in range(60)]
LABELS = [row % 3 for row in range(60)]


def epochs_that_settle(epochs: int) -> list[np.ndarray]:
    """Logits that change less from epoch to epoch."""
    rng = np.random.default_rng(4)
    return [rng.normal(scale=3 * 0.5**epoch, size=(60, 3)).astype(np.float32) for epoch in range(epochs)]


def ranking_stop(**changes) -> RankingStop:
    fields = {"name": "stop", "monitor": "ranking", "by": "ambiguous", "fraction": 0.3, "bound": 0.9} | changes
    return RankingStop(**fields)


def after_each_epoch(rule: RankingStop, epochs: list[np.ndarray]) -> list[float]:
    """The agreement after each epoch; an epoch has ten steps."""
    found = []
    for seen in range(1, len(epochs) + 1):
        rule.update(10 * seen, epochs[:seen], LABELS, UIDS)
        found.append(rule.agreement)
    return found


def test_agreement_of_rankings_is_spearmans_of_one_epoch_more():
    epochs = epochs_that_settle(6)
    variability = [measures.compute(np.stack(epochs[:seen]), LABELS)["variability"] for seen in range(2, 7)]
    expected = [stats.spearmanr(variability[i], variability[i + 1]).statistic for i in range(4)]
    found = after_each_epoch(ranking_stop(bound=1.1), epochs)
    assert np.isnan(found[:2]).all()
    assert found[2:] == pytest.approx(expected)


def test_agreement_of_subsets_is_the_share_they_have_in_common():
    epochs = epochs_that_settle(5)
    aum = [measures.compute(np.stack(epochs[:seen]), LABELS)["aum"] for seen in range(2, 6)]
    lowest = [{UIDS[row] for row in np.argsort(each, kind="stable")[:18]} for each in aum]
    expected = [len(lowest[i] & lowest[i + 1]) / len(lowest[i] | lowest[i + 1]) for i in range(3)]
    assert after_each_epoch(ranking_stop(monitor="subset", by="aum-low", bound=1.1), epochs)[2:] == pytest.approx(
        expected
    )


def test_it_stops_at_the_first_agreement_that_is_high_enough():
    epochs = epochs_that_settle(6)
    agreements = after_each_epoch(ranking_stop(bound=1.1), epochs)
    rule = ranking_stop(bound=agreements[3])
    assert agreements[2] < agreements[3]
    after_each_epoch(rule, epochs)
    assert (rule.stopped, rule.agreement) == (40, agreements[3])  # and nothing is looked at after that


def test_two_epochs_never_stop_a_reference():
    rule = ranking_stop(bound=0.001)
    after_each_epoch(rule, epochs_that_settle(2))
    assert rule.stopped is None


def test_it_does_not_stop_before_the_epochs_that_others_need():
    rule = ranking_stop(bound=0.001, least=4)
    after_each_epoch(rule, epochs_that_settle(6))
    assert rule.stopped == 40
