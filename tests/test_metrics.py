import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ftft import metrics


@pytest.fixture(params=[2, 3, 7])
def predictions(request):
    rng = np.random.default_rng(request.param)
    logits = rng.normal(scale=3, size=(500, request.param)).astype(np.float32)
    return logits, rng.integers(0, request.param, size=500).astype(np.int8)


def test_scores_agree_with_scikit_learn(predictions):
    logits, labels = predictions
    n_labels = logits.shape[1]
    predicted = logits.argmax(axis=1)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)

    found = metrics.scores(logits, labels)

    assert found["accuracy"] == sklearn_metrics.accuracy_score(labels, predicted)
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"), rel=1e-12)
    assert found["loss"] == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities, labels=range(n_labels)), rel=1e-12
    )
    assert (
        metrics.confusion_matrix(labels, predicted, n_labels).tolist()
        == sklearn_metrics.confusion_matrix(labels, predicted, labels=range(n_labels)).tolist()
    )


def test_confusion_matrix_by_hand():
    assert metrics.confusion_matrix([0, 0, 1, 2, 2], [0, 1, 1, 0, 2], 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_confusion_matrix_of_many_classes_does_not_overflow_the_label_type():
    labels = np.array([127, 100], dtype=np.int8)
    counts = metrics.confusion_matrix(labels, labels, 128)
    assert counts[127, 127] == counts[100, 100] == 1
    assert counts.sum() == 2


def test_macro_f1_averages_over_absent_classes_too():
    # Class 0 has F1 = 1 and class 1 has F1 = 1; class 2 occurs nowhere and counts as 0.
    assert metrics.macro_f1([0, 1], [0, 1], 3) == pytest.approx(2 / 3)
    assert metrics.macro_f1([0, 1], [0, 1], 3) == pytest.approx(
        sklearn_metrics.f1_score([0, 1], [0, 1], labels=range(3), average="macro", zero_division=0)
    )


def test_macro_f1_by_hand():
    # Class 0: TP 2, FP 1, FN 0 -> 4/5. Class 1: TP 1, FP 0, FN 1 -> 2/3.
    assert metrics.macro_f1([0, 0, 1, 1], [0, 0, 0, 1], 2) == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_equal_logits_predict_the_lowest_class():
    assert metrics.scores(np.zeros((2, 3), dtype=np.float32), [0, 2])["accuracy"] == 0.5


def test_cross_entropy_by_hand():
    # Probabilities of the gold labels: 3/4 and 1/2.
    logits = np.log(np.array([[3.0, 1.0], [1.0, 1.0]]))
    assert metrics.cross_entropy(logits, [0, 1]) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)


def test_cross_entropy_of_huge_logits_stays_finite():
    logits = np.array([[1e4, -1e4]], dtype=np.float32)
    assert metrics.cross_entropy(logits, [0]) == 0
    assert metrics.cross_entropy(logits, [1]) == 2e4
