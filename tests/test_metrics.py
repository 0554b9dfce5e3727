import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ftft.core.errors import UserError
from ftft.evaluation import metrics


@pytest.fixture(params=[2, 3, 7])
def predictions(request):
    rng = np.random.default_rng(request.param)
    logits = rng.normal(scale=3, size=(500, request.param)).astype(np.float32)
    return logits, rng.integers(0, request.param, size=500).astype(np.int16)


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
    labels = np.array([127, 100], dtype=np.int16)
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


def test_class_scores_agree_with_scikit_learn(predictions):
    logits, labels = predictions
    predicted = logits.argmax(axis=1)
    found = metrics.class_scores(labels, predicted, logits.shape[1])
    expected = sklearn_metrics.precision_recall_fscore_support(labels, predicted, labels=range(logits.shape[1]))
    for score, values in zip(("precision", "recall", "f1"), expected, strict=False):
        assert found[score] == pytest.approx(values, rel=1e-12)


def test_class_scores_without_a_denominator_are_zero():
    # Class 1 is never predicted, class 2 is neither gold nor predicted.
    found = metrics.class_scores([0, 1], [0, 0], 3)
    assert {score: values.tolist() for score, values in found.items()} == {
        "precision": [0.5, 0, 0],
        "recall": [1, 0, 0],
        "f1": [pytest.approx(2 / 3), 0, 0],
    }


def test_calibration_error_by_hand():
    # Ten bins. Confidence 0.75, right and wrong: gap |0.5 - 0.75| with weight 2 / 4. Confidence 0.95, right: gap 0.05
    # with weight 1 / 4. Confidence 0.55, wrong: gap 0.55 with weight 1 / 4.
    logits = np.log([[0.75, 0.25], [0.25, 0.75], [0.95, 0.05], [0.55, 0.45]])
    expected = 2 / 4 * 0.25 + 1 / 4 * 0.05 + 1 / 4 * 0.55
    assert metrics.calibration_error(logits, [0, 0, 0, 1], bins=10) == pytest.approx(expected)


def test_calibration_error_sums_within_bins_only():
    # With one bin the two errors cancel: accuracy 0.5, mean confidence 0.5 + 0.9 = 1.4 / 2 = 0.7.
    logits = np.log([[0.5, 0.5], [0.9, 0.1]])
    assert metrics.calibration_error(logits, [0, 1], bins=1) == pytest.approx(0.2)
    assert metrics.calibration_error(logits, [0, 1], bins=2) == pytest.approx(0.5 / 2 + 0.9 / 2)


def test_calibration_error_of_certainty():
    assert metrics.calibration_error([[1e4, -1e4]], [0]) == 0
    assert metrics.calibration_error([[1e4, -1e4]], [1]) == 1


def test_calibration_error_agrees_with_a_loop_over_bins(predictions):
    logits, labels = predictions
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.calibration_error(logits, labels) == pytest.approx(expected, rel=1e-9)


def test_detailed_scores_name_the_classes(predictions):
    logits, labels = predictions
    names = [f"class {number}" for number in range(logits.shape[1])]
    found = metrics.detailed_scores(logits, labels, names)
    assert metrics.scores(logits, labels).items() <= found.items()
    assert found["ece"] == metrics.calibration_error(logits, labels)
    recalls = sklearn_metrics.recall_score(labels, logits.argmax(axis=1), average=None)
    assert [found[f"recall/{name}"] for name in names] == pytest.approx(recalls)
    assert np.mean([found[f"f1/{name}"] for name in names]) == pytest.approx(found["macro_f1"])
    assert len(found) == 5 + 3 * len(names)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (499, 1)])
def test_logits_that_are_not_finite_are_refused(predictions, value, place):
    logits, labels = predictions
    logits[place] = value
    names = [str(number) for number in range(logits.shape[1])]
    expected = r"^ftft/final on far: the logits of 1 of 500 examples are not finite, .* lower learning_rate"
    with pytest.raises(UserError, match=expected):
        metrics.scores(logits, labels, "ftft/final on far")
    with pytest.raises(UserError, match=expected):
        metrics.detailed_scores(logits, labels, names, "ftft/final on far")
    for measure in (metrics.calibration_error, metrics.cross_entropy):
        with pytest.raises(UserError, match="the logits of 1 of 500 examples are not finite"):
            measure(logits, labels)


def test_predicted_classes_are_counted():
    logits = np.eye(4)[[2, 2, 0]]
    assert metrics.scores(logits, [1, 1, 1])["predicted_classes"] == 2
    assert metrics.scores(np.zeros((3, 4)), [1, 2, 3])["predicted_classes"] == 1


def test_chance_is_the_score_of_a_constant(predictions):
    _, labels = predictions
    n_labels = int(labels.max()) + 1
    scores = [
        (
            sklearn_metrics.accuracy_score(labels, constant),
            sklearn_metrics.f1_score(labels, constant, labels=range(n_labels), average="macro", zero_division=0),
        )
        for constant in (np.full(len(labels), number) for number in range(n_labels))
    ]
    assert tuple(metrics.chance(labels, n_labels).values()) == pytest.approx(max(scores))
