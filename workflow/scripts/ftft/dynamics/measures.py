"""What training dynamics say about each training example: a measure each, as functions on arrays.

Dynamics are the logits of every example at every epoch, taken from the training forward pass. All measures follow the
papers they come from, among them Swayamdipta et al. 2020 (dataset cartography), and are computed in float64. E is the
number of epochs, N of examples, C of classes.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

# Every measure and the type of its values, in the order of ``docs/method.md``, which has their formulas and sources.
# The columns of the data map and the criteria of selection follow from it.
MEASURES: dict[str, type[np.number[Any]]] = {
    "confidence": np.float64,
    "variability": np.float64,
    "correctness": np.float64,
    "forgetting": np.int32,
    "threshold_closeness": np.float64,
    "aum": np.float64,
    "el2n": np.float64,
    "entropy": np.float64,
}

# Bounds the float64 copies to some 10 MB each, whatever the number of examples.
_BLOCK_ROWS = 1 << 15


def compute(
    logits: NDArray[np.float32],
    labels: ArrayLike,
    *,
    correction: str | None = None,
    el2n_epoch: int | None = None,
) -> dict[str, np.ndarray]:
    """Every measure, for every example.

    Args:
        logits: (E, N, C) training dynamics, finite, E >= 2.
        labels: (N,) gold class indices in [0, C).
        correction: as in ``variability``.
        el2n_epoch: as in ``el2n``.

    Returns:
        those of ``MEASURES`` by name, each of shape (N,) and the type that stands there.
    """
    gold = np.asarray(labels, dtype=np.int64)
    blocks = []
    for start in range(0, len(gold), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        blocks.append(_measures(logits[:, rows].astype(np.float64), gold[rows], correction, el2n_epoch))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _measures(
    logits: Floats, labels: NDArray[np.int64], correction: str | None, el2n_epoch: int | None
) -> dict[str, np.ndarray]:
    probabilities = softmax(logits)
    gold = gold_values(probabilities, labels)
    correct = logits.argmax(axis=-1) == labels
    mean = confidence(gold)
    return {
        "confidence": mean,
        "variability": variability(gold, correction),
        "correctness": correctness(correct),
        "forgetting": forgetting(correct),
        "threshold_closeness": threshold_closeness(mean),
        "aum": aum(logits, labels),
        "el2n": el2n(probabilities, labels, el2n_epoch),
        "entropy": entropy(probabilities),
    }


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis, computed without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def gold_values(values: Floats, labels: ArrayLike) -> Floats:
    """(E, N): of (E, N, C) values, the one of each example's gold class."""
    return np.take_along_axis(values, np.asarray(labels, dtype=np.int64)[None, :, None], axis=2)[..., 0]


def confidence(gold_probability: Floats) -> Floats:
    """(N,) mean over epochs of the (E, N) gold-label probabilities. Swayamdipta et al. 2020, section 2."""
    return gold_probability.mean(axis=0)


def variability(gold_probability: Floats, correction: str | None = None) -> Floats:
    """(N,) standard deviation over epochs of the (E, N) gold-label probabilities.

    The population one, sqrt(v) with v divided by E, as in Swayamdipta et al. 2020, section 2; at most 0.5. Few epochs
    make it too small; ``correction`` is one of

    - ``"sample"``: v divided by E - 1 instead (Bessel's correction);
    - ``"active_bias"``: sqrt(v + v^2 / (E - 1)), Chang et al. 2017 (Active Bias), which dataset cartography's code
      has as an option.

    Both grow with v, so neither changes the ranking of the examples of one data map.
    """
    variance = gold_probability.var(axis=0, ddof=1 if correction == "sample" else 0)
    if correction == "active_bias":
        variance += variance**2 / (len(gold_probability) - 1)
    return np.sqrt(variance)


def correctness(correct: Bools) -> Floats:
    """(N,) share of the epochs in which the largest logit is the gold label's; ``correct`` is (E, N).

    Among equal logits the lowest class is the prediction. Swayamdipta et al. 2020, section 2.
    """
    return correct.mean(axis=0)


def forgetting(correct: Bools) -> Ints:
    """(N,) number of forgetting events: right at one epoch, wrong at the next; ``correct`` is (E, N).

    Toneva et al. 2019, definition 1. An example that is never right has nothing to forget; they rank it as forgotten
    most of all, so it counts as E, more than any other can have (at most E // 2).
    """
    events = np.sum(correct[:-1] & ~correct[1:], axis=0)
    return np.where(correct.any(axis=0), events, len(correct)).astype(np.int32)


def threshold_closeness(confidence: Floats) -> Floats:
    """(N,) confidence x (1 - confidence): largest, 0.25, where the mean gold probability is one half.

    Chang et al. 2017 (Active Bias), in the form that Swayamdipta et al. 2020 compare with.
    """
    return confidence * (1 - confidence)


def aum(logits: Floats, labels: ArrayLike) -> Floats:
    """(N,) area under the margin: mean over epochs of the gold logit minus the largest other logit.

    ``logits`` is (E, N, C). Negative where another class mostly wins, as for wrong labels. Pleiss et al. 2020,
    equations 1 and 2.
    """
    gold = np.asarray(labels, dtype=np.int64)
    others = logits.copy()
    np.put_along_axis(others, gold[None, :, None], -np.inf, axis=2)
    return (gold_values(logits, gold) - others.max(axis=-1)).mean(axis=0)


def el2n(probabilities: Floats, labels: ArrayLike, epoch: int | None = None) -> Floats:
    """(N,) L2 norm of probabilities minus one-hot gold label, at most sqrt(2): at one epoch, or their mean over all.

    ``probabilities`` is (E, N, C), ``epoch`` an index into E. Paul et al. 2021, definition 2.2, take one early epoch
    and the mean over several runs.
    """
    one_hot = np.eye(probabilities.shape[-1])[np.asarray(labels, dtype=np.int64)]
    chosen = probabilities if epoch is None else probabilities[epoch : epoch + 1]
    return np.linalg.norm(chosen - one_hot, axis=-1).mean(axis=0)


def entropy(probabilities: Floats) -> Floats:
    """(N,) mean over epochs of the entropy, in nats, of the (E, N, C) predicted probabilities; at most log C.

    It ignores the gold label. Shannon 1948; as a measure of uncertainty in Settles 2009, section 3.1.
    """
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1))  # 0 log 0 = 0
    return np.abs(np.sum(probabilities * logarithms, axis=-1)).mean(axis=0)  # abs rather than minus: no negative zeros
