"""How far scores would vary with other test examples and other seeds: means, deviations and bootstrap intervals.

The bootstrap (Efron and Tibshirani 1993, *An Introduction to the Bootstrap*) draws the N test examples N times with
replacement and scores the same predictions again. All runs are scored on the same draws, so the difference of two runs
has a paired interval. Where there are n >= 2 seeds, each resample also draws n - 1 of them with replacement; drawing
n - 1 and not n makes the variance of the resampled mean equal to the unbiased s^2 / n (McCarthy and Snowden 1985,
*The Bootstrap and Finite Population Sampling*). With one seed there is nothing to draw: the interval then holds for the
one trained model, and says nothing about another seed.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95

# Examples times resamples that are counted at once: some 20 MB. Ten methods with four seeds on 10,000 examples then
# take one or two seconds on one core.
_BLOCK = 1 << 20


def mean_and_sd(values: ArrayLike) -> tuple[float, float]:
    """Mean, and standard deviation with n - 1 in the denominator; NaN for a single value, which has none."""
    array: Floats = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else float("nan")


def interval(resampled: ArrayLike) -> tuple[float, float]:
    """The percentile interval: what the middle ``CONFIDENCE`` of the resampled values lies between."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(resampled, dtype=np.float64), [tail, 1 - tail])
    return float(low), float(high)


def draw_counts(n: int, draws: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(B, n) int64: how often each of n items comes up in each of B resamples of ``draws`` draws with replacement."""
    cells = rng.integers(n, size=(resamples, draws))
    cells += n * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=resamples * n).reshape(resamples, n)


def seed_weights(n_seeds: int, resamples: int, rng: np.random.Generator) -> Floats:
    """(n, B) float64: what each seed weighs in the mean of each resample; every column sums to 1."""
    if n_seeds == 1:
        return np.ones((1, resamples))
    return draw_counts(n_seeds, n_seeds - 1, resamples, rng).T / (n_seeds - 1)


def resampled_scores(
    labels: ArrayLike, predicted: ArrayLike, n_labels: int, *, resamples: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Accuracy and macro-F1 of every run on the same resamples of the examples.

    Args:
        labels: (N,) gold class indices in [0, C), N >= 1.
        predicted: (R, N) class indices that each of R runs predicts.
        n_labels: C.
        resamples: B.
        rng: decides the draws.

    Returns:
        ``accuracy`` and ``macro_f1``, as in ``metrics``, each (R, B) float64.
    """
    gold, found = np.asarray(labels), np.asarray(predicted)
    n = len(gold)
    size = max(1, _BLOCK // n)
    blocks = []
    for start in range(0, resamples, size):
        # Sums of whole numbers below 2^24 are exact in float32, whatever the order in which they are added.
        counts = draw_counts(n, n, min(size, resamples - start), rng).T.astype(np.float32)
        hits = np.zeros((len(found), counts.shape[1]))
        f1 = np.zeros_like(hits)
        for label in range(n_labels):
            is_gold, is_found = gold == label, found == label
            true_positive = (is_gold & is_found).astype(np.float32) @ counts
            gold_plus_found = (is_gold.astype(np.float32) + is_found.astype(np.float32)) @ counts
            hits += true_positive
            f1 += 2 * true_positive.astype(np.float64) / np.maximum(gold_plus_found, 1)
        blocks.append((hits / n, f1 / n_labels))
    accuracy, macro_f1 = (np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True))
    return {"accuracy": accuracy, "macro_f1": macro_f1}
