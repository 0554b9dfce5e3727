"""Which methods are worth their price: the Pareto front of score against cost."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(cost: ArrayLike, score: ArrayLike) -> NDArray[np.bool_]:
    """(N,) whether no other point is as cheap and as good, and cheaper or better.

    Of points that are equal in both, all are on the front or none is. NaN in either: not on the front, and in nobody's
    way.

    Args:
        cost: (N,) numbers, lower is better.
        score: (N,) numbers, higher is better.

    Raises:
        ValueError: they are not two rows of equal length.
    """
    costs, scores = np.asarray(cost, dtype=float), np.asarray(score, dtype=float)
    if costs.shape != scores.shape or costs.ndim != 1:
        raise ValueError(f"cost and score must be rows of equal length; found shapes {costs.shape} and {scores.shape}")
    # Comparisons with NaN are false, so such a point dominates none.
    as_good = (costs[:, None] <= costs) & (scores[:, None] >= scores)
    better = (costs[:, None] < costs) | (scores[:, None] > scores)
    dominated = (as_good & better).any(axis=0)
    return ~dominated & np.isfinite(costs) & np.isfinite(scores)
