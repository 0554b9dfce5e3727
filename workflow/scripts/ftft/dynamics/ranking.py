"""How scores order examples, and how far two orders agree. N is the number of examples."""

from collections.abc import Sequence
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
    return float(correlations([one, other])[0, 1])


def correlations(scores: Sequence[ArrayLike]) -> Floats:
    """(R, R) ``correlation`` of every two of R scores."""
    ranks = np.array([doubled_ranks(each) for each in scores], dtype=np.float64)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks = np.divide(ranks, norms, out=np.full_like(ranks, np.nan), where=norms > 0)
    return np.clip(ranks @ ranks.T, -1, 1)


def overlap(one: ArrayLike, other: ArrayLike) -> float:
    """Share of the members (booleans, (N,)) of two sets together that are in both (Jaccard); 1 for two empty sets."""
    return float(overlaps(np.array([one, other], dtype=bool))[0, 1])


def overlaps(members: ArrayLike) -> Floats:
    """(R, R) ``overlap`` of every two of R sets, booleans (R, N)."""
    both = shared(members, members)
    sizes = np.diag(both)
    union = sizes[:, None] + sizes - both
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)


def shared(some: ArrayLike, others: ArrayLike) -> Floats:
    """(R, S) number of members that each of R sets, booleans (R, N), has in common with each of S, (S, N)."""
    # Sums of ones are exact in float32 below 2^24.
    first, second = (np.array(sets, dtype=bool).astype(np.float32) for sets in (some, others))
    return (first @ second.T).astype(np.float64)
