"""Learning rates are those of transformers' schedules, and of a plateau worked out by hand."""

import pytest
import torch
from transformers import get_scheduler

from ftft.training.schedule import Schedule


def rates(kind: str, warmup: int, steps: int) -> list[float]:
    schedule = Schedule(kind=kind, peak=3e-4, warmup=warmup, steps=steps)
    return [schedule.rate(step) for step in range(steps)]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(
    ("warmup", "steps"), [(0, 1), (1, 1), (0, 20), (1, 7), (5, 20), (19, 20), (20, 20), (162, 1620), (49, 491)]
)
def test_schedule_is_that_of_transformers(kind, warmup, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    name = "constant_with_warmup" if kind == "constant" else kind
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    expected = []
    for _ in range(steps):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert rates(kind, warmup, steps) == expected


def test_schedule_by_hand():
    assert rates("linear", 2, 6) == pytest.approx([0, 1.5e-4, 3e-4, 2.25e-4, 1.5e-4, 0.75e-4])
    assert rates("cosine", 0, 2) == pytest.approx([3e-4, 1.5e-4])
    assert rates("linear", 0, 1) == [3e-4]


def test_plateau_halves_after_two_evaluations_without_improvement():
    schedule = Schedule(kind="plateau", peak=1.0, warmup=2, steps=100)
    assert [schedule.rate(step) for step in range(3)] == [0, 0.5, 1]
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


def test_plateau_waits_for_the_end_of_the_warm_up():
    schedule = Schedule(kind="plateau", peak=1.0, warmup=30, steps=100)
    for step in (10, 20, 29):
        schedule.observe(step, 0.5)
    assert schedule.rate(30) == 1.0
    for step in (30, 40, 50):
        schedule.observe(step, 0.5)
    assert schedule.rate(50) == 0.5
