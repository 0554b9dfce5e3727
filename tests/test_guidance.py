"""What a reference's predictions do to the training of a main model: by hand, and with scipy."""

import numpy as np
import pytest
from scipy import special

from ftft.core.errors import UserError
from ftft.dynamics import guidance
from ftft.dynamics.artifact import write_dynamics


def test_wrong_examples_come_up_as_often_as_the_factor_says():
    wrong = np.array([False, True, False, True])
    assert guidance.upweighted(np.arange(4), wrong, 3).tolist() == [0, 1, 1, 1, 2, 3, 3, 3]
    assert guidance.upweighted(np.array([2, 3]), wrong, 2).tolist() == [2, 3, 3]


def test_wrong_predictions_and_the_lowest_class_among_equals():
    logits = np.array([[2, 1, 0], [0, 0, 0], [0, 0, 0], [-1, 0, 5]], np.float32)
    assert guidance.wrong_predictions(logits, np.array([0, 0, 1, 1])).tolist() == [False, False, True, True]


def test_the_expert_gives_log_probabilities():
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * 5
    assert guidance.expert(logits) == pytest.approx(special.log_softmax(logits.astype(np.float64), axis=1), abs=1e-5)


def test_an_expert_that_is_sure_gives_no_infinity():
    found = guidance.expert(np.array([[1000.0, 0.0]], np.float32))
    assert np.isfinite(found).all()
    assert found[0, 0] == 0


@pytest.fixture
def dynamics(tmp_path):
    epochs = [np.full((4, 2), epoch, np.float32) for epoch in range(3)]
    write_dynamics(epochs, tmp_path / "dynamics.parquet", 2, {})
    return tmp_path / "dynamics.parquet"


def test_one_epoch_is_read(dynamics):
    assert guidance.read_epoch(dynamics, 4, 1, "upweight.epoch").tolist() == [[1, 1]] * 4


def test_an_epoch_that_is_not_there(dynamics):
    with pytest.raises(UserError, match=r"upweight\.epoch is 3, but .*dynamics\.parquet have the epochs 0 to 2; name"):
        guidance.read_epoch(dynamics, 4, 3, "upweight.epoch")
