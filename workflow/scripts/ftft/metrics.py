"""Classification metrics on arrays: how well logits agree with gold labels.

Averages run over all ``n_labels`` classes of the task, not only over those that occur, so that scores of different
samples of one task can be compared.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def scores(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Accuracy, macro-F1 and loss of a model's logits.

    Args:
        logits: (N, C) floats, N >= 1; the prediction is the largest logit, the lowest class among equals.
        labels: (N,) gold class indices in [0, C).

    Returns:
        ``accuracy`` and ``macro_f1`` in [0, 1], and ``loss``, the mean cross-entropy in nats.
    """
    predicted = np.argmax(logits, axis=1)
    return {
        "accuracy": accuracy(labels, predicted),
        "macro_f1": macro_f1(labels, predicted, np.shape(logits)[1]),
        "loss": cross_entropy(logits, labels),
    }


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the (N,) predicted class indices that equal the gold ones."""
    return float(np.mean(np.asarray(labels) == np.asarray(predicted)))


def macro_f1(labels: ArrayLike, predicted: ArrayLike, n_labels: int) -> float:
    """Unweighted mean over all ``n_labels`` classes of F1 = 2 TP / (2 TP + FP + FN).

    A class that is neither gold nor predicted anywhere counts as F1 = 0, as in scikit-learn's
    ``f1_score(labels=range(n_labels), average="macro", zero_division=0)``.
    """
    counts = confusion_matrix(labels, predicted, n_labels)
    hits = np.diag(counts)
    gold_plus_predicted = counts.sum(axis=0) + counts.sum(axis=1)
    return float(np.mean(2 * hits / np.maximum(gold_plus_predicted, 1)))


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, n_labels: int) -> Ints:
    """(C, C) int64 counts: rows are gold classes, columns predicted ones."""
    # int8 labels would overflow in the product.
    cells = np.asarray(labels, dtype=np.int64) * n_labels + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=n_labels**2).reshape(n_labels, n_labels)


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean over (N, C) logits of -log softmax at the gold label, in nats."""
    values: Floats = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=1, keepdims=True)
    gold = np.take_along_axis(values, np.asarray(labels, dtype=np.int64)[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(values).sum(axis=1)) - gold))
