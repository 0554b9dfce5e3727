"""How many steps a run takes: every value by hand."""

import pytest

from ftft.training import steps


@pytest.mark.parametrize(("share", "planned", "expected"), [
    (0.1, 49_088, 4_908),
    (0.1, 1_620, 162),
    (0.1, 9, 0),
    (0.0, 100, 0),
    (1.0, 7, 7),
    (0.06, 99, 5),
])  # fmt: skip
def test_the_warm_up_is_cut_to_whole_steps(share, planned, expected):
    assert steps.warmup({"warmup": share}, planned) == expected


@pytest.mark.parametrize(("examples", "batch_size", "expected"), [(64, 32, 2), (65, 32, 3), (1, 32, 1)])
def test_the_last_batch_of_an_epoch_may_be_smaller(examples, batch_size, expected):
    assert steps.per_epoch(examples, batch_size) == expected


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"steps": 1620, "epochs": None, "batch_size": 32}, 1620),
        ({"steps": None, "epochs": 4, "batch_size": 32}, 400),
        ({"steps": None, "epochs": 0.5, "batch_size": 32}, 50),
        ({"steps": None, "epochs": 0.001, "batch_size": 32}, 1),
    ],
)
def test_steps_are_given_or_follow_from_epochs(training, expected):
    assert steps.planned(training, 3200) == expected


@pytest.mark.parametrize(
    ("planned", "budget", "expected"), [(1620, 0.33, 535), (1620, 1 / 3, 540), (400, 1, 400), (10, 0.01, 1)]
)
def test_a_budget_is_a_share_of_the_planned_steps(planned, budget, expected):
    assert steps.budgeted(planned, budget) == expected


@pytest.mark.parametrize(("every", "planned", "expected"), [(40, 400, 40), (None, 400, 45), (None, 5, 1)])
def test_without_a_setting_there_are_nine_evaluations(every, planned, expected):
    assert steps.between_evaluations({"evaluate_every": every}, planned) == expected
