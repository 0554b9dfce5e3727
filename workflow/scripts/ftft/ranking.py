"""How scores order examples, and how far two orders agree. N is the number of examples."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def subset_size(n: int, fraction: float) -> int:
    """``floor(fraction * n)``, with ``fraction`` taken as the decimal number it is written as: 0.29 of 100 is 29."""
    return int(Fraction(str(float(fraction))) * n)


def order(uids: ArrayLike, scores: ArrayLike, *, descending: bool) -> Ints:
    """(N,) all rows, best score first, equals in the order of their uids."""
    direction = "descending" if descending else "ascending"
    table = pa.table({"uid": pa.array(uids, pa.string()), "score": np.asarray(scores, dtype=np.float64)})
    return pc.sort_indices(table, sort_keys=[("score", direction), ("uid", "ascending")]).to_numpy().astype(np.int64)


def first(uids: ArrayLike, scores: ArrayLike, fraction: float, *, descending: bool) -> NDArray[np.bool_]:
    """(N,) whether an example is among the first ``subset_size`` in the order of ``order``."""
    rows = order(uids, scores, descending=descending)
    members = np.zeros(len(rows), dtype=bool)
    members[rows[: subset_size(len(rows), fraction)]] = True
    return members


def doubled_ranks(scores: ArrayLike) -> Ints:
    """(N,) twice the rank of each score, from 1 for the lowest; equal scores have the mean of their ranks.

    Doubled they are whole numbers, so that sums of them do not depend on the order of the summands.
    """
    values = pa.array(np.asarray(scores, dtype=np.float64))
    first, last = (pc.rank(values, sort_keys="ascending", tiebreaker=end).to_numpy() for end in ("min", "max"))
    return first.astype(np.int64) + last.astype(np.int64)


def correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rank correlation of two scores (N,) of the same examples; NaN where all scores of one are equal."""
    ranks = [doubled_ranks(scores).astype(np.float64) for scores in (one, other)]
    centred = [each - each.mean() for each in ranks]
    norms = [np.sqrt(np.sum(each**2)) for each in centred]
    if 0 in norms:
        return float("nan")
    return float(np.sum(centred[0] * centred[1]) / (norms[0] * norms[1]))


def overlap(one: ArrayLike, other: ArrayLike) -> float:
    """Share of the members (booleans, (N,)) of two sets together that are in both (Jaccard); 1 for two empty sets."""
    first, second = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    union = np.sum(first | second)
    return float(np.sum(first & second) / union) if union else 1.0
