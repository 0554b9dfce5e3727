"""Early stopping follows sequences worked out by hand; schedules agree with transformers'."""

import math
from dataclasses import asdict

import pytest
import torch
from transformers import get_scheduler

from ftft.stopping import EarlyStopping, Schedule


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
        ([-math.inf, -math.inf], 1, 0.0, 10, 20, [10]),
        ([-1.0, -0.5], 2, 0.0, 20, None, [10, 20]),
        ([], 1, 0.0, 0, None, []),
    ],
)
def test_early_stopping(scores, patience, min_delta, best_step, stopped, bests):
    rule, found = run(scores, patience=patience, min_delta=min_delta)
    assert (rule.best_step, rule.stopped, found) == (best_step, stopped, bests)
    if best_step:
        assert rule.best == scores[best_step // 10 - 1]


def test_early_stopping_continues_from_its_state():
    rule, _ = run([0.5, 0.4], patience=2)
    rule = EarlyStopping(**asdict(rule))
    assert rule.update(30, 0.4) is False
    assert rule.stopped == 30


def rates(kind: str, warmup: int, steps: int) -> list[float]:
    schedule = Schedule(kind=kind, peak=3e-4, warmup=warmup, steps=steps)
    return [schedule.rate(step) for step in range(steps)]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 20), (1, 7), (5, 20), (20, 20)])
def test_schedule_is_that_of_transformers_but_for_the_warm_up(kind, warmup, steps):
    """transformers starts at 0, which wastes the first step; here the rise starts at peak / warmup."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    name = "constant_with_warmup" if kind == "constant" else kind
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    expected = []
    for _ in range(steps):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    expected[:warmup] = [3e-4 * (step + 1) / warmup for step in range(warmup)]
    assert rates(kind, warmup, steps) == pytest.approx(expected, rel=1e-12, abs=1e-18)


def test_schedule_by_hand():
    assert rates("linear", 2, 6) == pytest.approx([1.5e-4, 3e-4, 3e-4, 2.25e-4, 1.5e-4, 0.75e-4])
    assert rates("cosine", 0, 2) == pytest.approx([3e-4, 1.5e-4])
    assert rates("linear", 0, 1) == [3e-4]


def test_plateau_halves_after_two_evaluations_without_improvement():
    schedule = Schedule(kind="plateau", peak=1.0, warmup=2, steps=100)
    assert schedule.rate(0) == 0.5
    found = []
    scores = [0.5, 0.4, 0.6, 0.6, 0.6, 0.5, 0.5, 0.7, 0.6, 0.6]
    for step, score in zip(range(10, 110, 10), scores, strict=True):
        schedule.observe(step, score)
        found.append(schedule.rate(step))
    # Best at 10, 30 and 80; two without improvement at 50, 70 and 100.
    assert found == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_other_schedules_do_not_mind_the_score(kind):
    schedule = Schedule(kind=kind, peak=1.0, warmup=0, steps=10)
    before = [schedule.rate(step) for step in range(10)]
    for step in range(1, 9):
        schedule.observe(step, 0.1)
    assert [schedule.rate(step) for step in range(10)] == before
