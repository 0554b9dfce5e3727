"""Classification metrics on arrays: how well logits agree with gold labels.

Averages run over all ``n_labels`` classes of the task, not only over those that occur, so that scores of different
samples of one task can be compared.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ftft.core.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CALIBRATION_BINS = 15  # as in Guo et al. 2017


def scores(logits: ArrayLike, labels: ArrayLike, of: str = "the model") -> dict[str, float]:
    """Accuracy, macro-F1 and loss of a model's logits.

    Args:
        logits: (N, C) floats, N >= 1; the prediction is the largest logit, the lowest class among equals.
        labels: (N,) gold class indices in [0, C).
        of: the model and the data set, for the message of an error.

    Returns:
        ``accuracy`` and ``macro_f1`` in [0, 1]; ``loss``, the mean cross-entropy in nats; and ``predicted_classes``,
        how many different classes are predicted: 1 of a model that says the same whatever it reads.

    Raises:
        UserError: a logit is not finite.
    """
    check_finite(logits, of)
    predicted = np.argmax(logits, axis=1)
    return {
        "accuracy": accuracy(labels, predicted),
        "macro_f1": macro_f1(labels, predicted, np.shape(logits)[1]),
        "loss": cross_entropy(logits, labels),
        "predicted_classes": float(len(np.unique(predicted))),
    }


def check_finite(logits: ArrayLike, of: str = "the model") -> None:
    """Refuse (N, C) logits that are not all finite: no prediction, and no score, can be made of them.

    Raises:
        UserError: names ``of``, the model and the data set.
    """
    finite = np.isfinite(np.asarray(logits)).all(axis=1)
    if not finite.all():
        raise UserError(
            f"{of}: the logits of {len(finite) - int(finite.sum()):,} of {len(finite):,} examples are not finite, so "
            "the weights have diverged; train again with a lower learning_rate, more warmup, or precision: fp32"
        )


def chance(labels: ArrayLike, n_labels: int) -> dict[str, float]:
    """``accuracy`` and ``macro_f1`` of always predicting the most common of (N,) labels, the lowest among equals."""
    gold = np.asarray(labels)
    constant = np.full(len(gold), np.bincount(gold).argmax())
    return {"accuracy": accuracy(gold, constant), "macro_f1": macro_f1(gold, constant, n_labels)}


def detailed_scores(
    logits: ArrayLike, labels: ArrayLike, names: Sequence[str], of: str = "the model"
) -> dict[str, float]:
    """What ``scores`` gives, and how well the model knows when it is right, and how it does on each class.

    Args:
        logits: (N, C) floats, N >= 1.
        labels: (N,) gold class indices in [0, C).
        names: of the C classes.
        of: the model and the data set, for the message of an error.

    Returns:
        The scores of ``scores``; ``ece``, see ``calibration_error``; and ``precision/NAME``, ``recall/NAME`` and
        ``f1/NAME`` of every class, in [0, 1].

    Raises:
        UserError: a logit is not finite.
    """
    found = scores(logits, labels, of) | {"ece": calibration_error(logits, labels)}
    for score, values in class_scores(labels, np.argmax(logits, axis=1), len(names)).items():
        found |= {f"{score}/{name}": float(value) for name, value in zip(names, values, strict=True)}
    return found


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the (N,) predicted class indices that equal the gold ones."""
    return float(np.mean(np.asarray(labels) == np.asarray(predicted)))


def macro_f1(labels: ArrayLike, predicted: ArrayLike, n_labels: int) -> float:
    """Unweighted mean over all ``n_labels`` classes of F1 = 2 TP / (2 TP + FP + FN).

    A class that is neither gold nor predicted anywhere counts as F1 = 0, as in scikit-learn's
    ``f1_score(labels=range(n_labels), average="macro", zero_division=0)``.
    """
    return float(np.mean(class_scores(labels, predicted, n_labels)["f1"]))


def class_scores(labels: ArrayLike, predicted: ArrayLike, n_labels: int) -> dict[str, Floats]:
    """``precision`` = TP / (TP + FP), ``recall`` = TP / (TP + FN) and ``f1`` = 2 TP / (2 TP + FP + FN) of every class.

    Each is a (C,) float64 array; where the denominator is 0 the score is 0, as with scikit-learn's ``zero_division=0``.
    """
    counts = confusion_matrix(labels, predicted, n_labels)
    hits, found, gold = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    return {
        "precision": hits / np.maximum(found, 1),
        "recall": hits / np.maximum(gold, 1),
        "f1": 2 * hits / np.maximum(found + gold, 1),
    }


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, n_labels: int) -> Ints:
    """(C, C) int64 counts: rows are gold classes, columns predicted ones."""
    # int16 labels would overflow in the product.
    cells = np.asarray(labels, dtype=np.int64) * n_labels + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=n_labels**2).reshape(n_labels, n_labels)


def calibration_error(logits: ArrayLike, labels: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error (Guo et al. 2017, *On Calibration of Modern Neural Networks*, equation 3).

    ECE = sum over bins m of |B_m| / N * |accuracy(B_m) - confidence(B_m)|, where B_m has the examples whose largest
    softmax probability lies in ((m - 1) / M, m / M], and confidence is the mean of that probability. 0 is perfect.

    Args:
        logits: (N, C) floats, N >= 1.
        labels: (N,) gold class indices in [0, C).
        bins: M, of equal width.

    Raises:
        UserError: a logit is not finite.
    """
    check_finite(logits)  # a bin of NaN would be outside of the array
    values: Floats = np.asarray(logits, dtype=np.float64)
    # The largest probability is exp(0) over the sum, after the shift that keeps exp finite.
    confidence = 1 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
    correct = np.argmax(logits, axis=1) == np.asarray(labels)
    # Confidence is at least 1 / C, hence above 0, and at most 1.
    bin_of = np.ceil(confidence * bins).astype(np.int64) - 1
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(correct))


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean over (N, C) logits of -log softmax at the gold label, in nats; refuses what ``check_finite`` does."""
    check_finite(logits)
    values: Floats = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=1, keepdims=True)
    gold = np.take_along_axis(values, np.asarray(labels, dtype=np.int64)[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(values).sum(axis=1)) - gold))
