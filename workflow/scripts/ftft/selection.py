"""Selection: which part of the train set a main model is trained on.

A criterion orders the examples by one score; the subset is the first ``floor(fraction * N)`` of them.
"""

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from ftft.errors import UserError
from ftft.schemas import SUBSET, read_table, write_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Criterion:
    """The score that orders the examples, and which end of it comes first."""

    column: str | None  # of the data map; None: random numbers
    descending: bool


CRITERIA = {
    "ambiguous": Criterion("variability", descending=True),
    "hard": Criterion("confidence", descending=False),
    "easy": Criterion("confidence", descending=True),
    "random": Criterion(None, descending=False),
}


def subset_size(n: int, fraction: float) -> int:
    """``floor(fraction * n)``, with ``fraction`` taken as the decimal number it is written as: 0.29 of 100 is 29."""
    return int(Fraction(str(float(fraction))) * n)


def random_scores(uids: ArrayLike, seed: int) -> NDArray[np.float64]:
    """(N,) uniform random numbers in [0, 1), drawn in the order of the uids, so that row order makes no difference."""
    order = pc.sort_indices(pa.array(uids, pa.string())).to_numpy()
    scores = np.empty(len(order))
    scores[order] = np.random.default_rng(seed).random(len(order))
    return scores


def select(uids: ArrayLike, scores: ArrayLike, by: str, fraction: float) -> pa.Table:
    """The first ``subset_size`` examples by a criterion's score, equals in the order of their uids.

    Args:
        uids: (N,) unique strings.
        scores: (N,) floats: the criterion's column of the data map, or ``random_scores``.
        by: a key of ``CRITERIA``.
        fraction: share of the examples, in (0, 1].

    Returns:
        Columns ``uid``, ``score`` and ``rank`` (0 = first), sorted by rank.

    Raises:
        UserError: an unknown criterion, or a fraction that is not in (0, 1].
    """
    if by not in CRITERIA:
        raise UserError(f"select.by is {by!r}, which is no criterion; allowed: {', '.join(CRITERIA)}")
    if not 0 < fraction <= 1:
        raise UserError(f"select.fraction is {fraction}; allowed: greater than 0, at most 1")
    direction = "descending" if CRITERIA[by].descending else "ascending"
    table = pa.table({"uid": pa.array(uids, pa.string()), "score": pa.array(scores, pa.float64())})
    order = pc.sort_indices(table, sort_keys=[("score", direction), ("uid", "ascending")])
    subset = table.take(order[: subset_size(table.num_rows, fraction)])
    return subset.append_column("rank", pa.array(np.arange(subset.num_rows, dtype=np.int32)))


def write(source: str | Path, output: str | Path, by: str, fraction: float, seed: int = 0) -> None:
    """Select a subset of the train set and write it.

    A class of the train set that has no example in the subset is reported as a warning.

    Args:
        source: a data map, or for ``random`` the train set's artifact.
        output: the subset's artifact.
        by: a key of ``CRITERIA``.
        fraction: share of the examples, in (0, 1].
        seed: of the random numbers; other criteria draw none.

    Raises:
        UserError: as ``select``, and a subset with fewer rows than the train set has classes.
    """
    column = CRITERIA[by].column if by in CRITERIA else None
    examples = read_table(source, columns=["uid", "label", *([column] if column else [])])
    scores = examples[column] if column else random_scores(examples["uid"], seed)
    subset = select(examples["uid"], scores, by, fraction)

    classes = pc.unique(examples["label"]).sort()
    if subset.num_rows < len(classes):
        raise UserError(
            f"select.fraction {fraction} of {examples.num_rows} examples is a subset of {subset.num_rows} for "
            f"{len(classes)} classes; needed: at least one example per class; raise fraction"
        )
    chosen = pc.unique(examples["label"].filter(pc.is_in(examples["uid"], subset["uid"])))
    missing = classes.filter(pc.invert(pc.is_in(classes, chosen))).to_pylist()
    if missing:
        log.warning(
            "the subset (%s, fraction %s) has no example of class %s; a larger fraction would include some",
            by,
            fraction,
            ", ".join(map(str, missing)),
        )
    sizes = {"rows": str(subset.num_rows), "of": str(examples.num_rows)}
    write_table(subset, output, SUBSET, {"by": by, "fraction": str(fraction), **sizes})
