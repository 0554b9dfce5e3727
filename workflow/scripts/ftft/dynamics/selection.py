"""Selection: which part of the train set a main model is trained on.

A criterion orders the examples by one score; the subset is the first ``floor(fraction * N)`` of them. Where asked for,
the classes are balanced, a share of the subset is taken from the easiest examples, and the score is the mean over
several data maps. N is the number of examples.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from ftft.core.artifacts import damaged, read, read_table, write_table
from ftft.core.errors import UserError, named, shown
from ftft.dynamics.criteria import CRITERIA, RANDOM
from ftft.dynamics.ranking import doubled_ranks, order, subset_size
from ftft.dynamics.schemas import DATAMAP, SUBSET

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BALANCES = ("equal", "proportional")

# What ``easy_share`` mixes in.
EASY = CRITERIA["easy"]


def class_sizes(counts: ArrayLike, size: int, balance: str) -> Ints:
    """(C,) how many of ``size`` examples each class gets; they add up to ``size`` exactly.

    ``proportional``: class c gets size * counts[c] / N, rounded down; what is left goes, one each, to the classes with
    the largest remainders, of equals to the lowest (Hamilton's method). ``equal``: the same number for every class; a
    class that has fewer examples gives all of them, and the others share the rest equally. What does not divide goes,
    one each, to the largest classes, of equals to the highest.

    Args:
        counts: (C,) number of examples of each class.
        size: number of examples to hand out, at most the sum of ``counts``.
        balance: one of ``BALANCES``.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if balance == "proportional":
        sizes, remainders = np.divmod(size * counts, max(counts.sum(), 1))
        sizes[np.argsort(-remainders, kind="stable")[: size - sizes.sum()]] += 1
        return sizes
    sizes = np.zeros_like(counts)
    left = size
    for place, label in enumerate(np.argsort(counts, kind="stable")):
        sizes[label] = min(counts[label], left // (len(counts) - place))
        left -= sizes[label]
    return sizes


def random_scores(uids: ArrayLike, seed: int) -> Floats:
    """(N,) uniform random numbers in [0, 1), drawn in the order of the uids, so that row order makes no difference."""
    order = pc.sort_indices(pa.array(uids, pa.string())).to_numpy()
    scores = np.empty(len(order))
    scores[order] = np.random.default_rng(seed).random(len(order))
    return scores


def mean_rank(scores: Sequence[ArrayLike]) -> Floats:
    """(N,) mean over M data maps of the rank of each example's score, as a share of N: above 0 (lowest), below 1.

    mean over maps of (r - 1/2) / N, where r is the rank from 1, and equal scores have the mean of their ranks. Ranks
    rather than scores: those of two models differ in scale, and the mean would follow the model that spreads more.
    This is Borda's count.

    Args:
        scores: M arrays (N,), one per data map, with the examples in the same order.
    """
    # Of whole numbers, so that equal means are equal whatever the order of the maps.
    doubled = np.sum([doubled_ranks(each) for each in scores], axis=0)
    return (doubled / (2 * len(scores)) - 0.5) / len(doubled)


def select(
    uids: ArrayLike,
    scores: ArrayLike,
    by: str,
    fraction: float,
    *,
    labels: ArrayLike | None = None,
    balance: str | None = None,
    confidence: ArrayLike | None = None,
    easy_share: float = 0.0,
) -> pa.Table:
    """The first ``subset_size`` examples by a criterion's score, equals in the order of their uids.

    Args:
        uids: (N,) unique strings.
        scores: (N,) floats: the criterion's column of the data map (or ``mean_rank`` of several), or
            ``random_scores``.
        by: a key of ``CRITERIA``.
        fraction: share of the examples, in (0, 1].
        labels: (N,) class indices; needed by ``balance``.
        balance: one of ``BALANCES``: each class gets its ``class_sizes``. None: the classes do not matter.
        confidence: (N,) floats; needed by ``easy_share``.
        easy_share: share of the subset, in [0, 1), that is the most confident of the other examples instead: the
            ``subset_size`` of each class where they are balanced. Swayamdipta et al. 2020, section 5.

    Returns:
        Columns ``uid``, ``score`` and ``rank`` (0 = first), sorted by rank: first those by the criterion, then the
        easy ones, whose score is their confidence.

    Raises:
        UserError: an unknown criterion or balance, a fraction or share outside its range, or a share without data map.
    """
    _check(by, fraction, balance, easy_share)
    names = pa.array(uids, pa.string())
    values = np.asarray(scores, dtype=np.float64)
    classes = (
        np.zeros(len(names), np.int64) if balance is None else np.unique(np.asarray(labels), return_inverse=True)[1]
    )
    size = subset_size(len(names), fraction)
    sizes = class_sizes(np.bincount(classes), size, balance or "equal")
    easy_sizes = np.array([subset_size(each, easy_share) for each in sizes], dtype=np.int64)

    rows = _first(order(names, values, descending=CRITERIA[by].descending), classes, sizes - easy_sizes)
    chosen = values[rows]
    if easy_sizes.any():
        certain = np.asarray(confidence, dtype=np.float64)
        others = order(names, certain, descending=EASY.descending)
        easy = _first(others[~np.isin(others, rows)], classes, easy_sizes)
        rows, chosen = np.concatenate([rows, easy]), np.concatenate([chosen, certain[easy]])
    ranks = np.arange(len(rows), dtype=np.int32)
    return pa.table({"uid": names.take(pa.array(rows)), "score": chosen, "rank": ranks}, schema=SUBSET)


def _check(by: str, fraction: float, balance: str | None, easy_share: float) -> None:
    if by not in CRITERIA:
        raise UserError(f"select.by is {shown(by)}, which is no criterion; allowed: {', '.join(CRITERIA)}")
    if not 0 < fraction <= 1:
        raise UserError(f"select.fraction is {fraction}; allowed: greater than 0, at most 1")
    if balance is not None and balance not in BALANCES:
        raise UserError(f"select.balance is {shown(balance)}; allowed: {', '.join(BALANCES)}")
    if not 0 <= easy_share < 1:
        raise UserError(f"select.easy_share is {easy_share}; allowed: at least 0, less than 1")
    if easy_share and by == RANDOM:
        raise UserError("select.easy_share needs a data map, which random selection has none of; leave one out")


def _first(rows: Ints, classes: Ints, sizes: Ints) -> Ints:
    """The rows, in their order, that are among the first ``sizes[c]`` of their class c."""
    keep = np.zeros(len(rows), dtype=bool)
    for label, size in enumerate(sizes):
        keep[np.flatnonzero(classes[rows] == label)[:size]] = True
    return rows[keep]


class SelectSettings(TypedDict):
    """What rule ``select_subset`` is told: the fields of ``config.Select`` but those that say which data maps."""

    by: str
    fraction: float
    balance: str | None
    easy_share: float


def write(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    by: str,
    fraction: float,
    *,
    balance: str | None = None,
    easy_share: float = 0.0,
    seed: int = 0,
) -> None:
    """Select a subset of the train set and write it.

    A class of the train set that has no example in the subset is reported as a warning.

    Args:
        sources: one data map or several, whose scores are then averaged by ``mean_rank``; for ``random`` the train
            set's artifact.
        output: the subset's artifact.
        by: a key of ``CRITERIA``.
        fraction: share of the examples, in (0, 1].
        balance, easy_share: as in ``select``.
        seed: of the random numbers; other criteria draw none.

    Raises:
        UserError: as ``select``; data maps of different examples; a subset of no example.
    """
    _check(by, fraction, balance, easy_share)
    column = CRITERIA[by].column
    columns = {name for name in (column, EASY.column if easy_share else None) if name is not None}
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    wanted = ["uid", "label", *sorted(columns)]
    tables = [read_table(path, wanted) if column is None else read(path, DATAMAP, wanted) for path in paths]
    examples = tables[0]
    if len(examples["uid"].unique()) < examples.num_rows:
        raise damaged(paths[0], "a uid stands in it more than once")
    for path, table in zip(paths, tables, strict=True):
        if not table["uid"].equals(examples["uid"]):
            raise UserError(f"data maps {paths[0]} and {path} are of different examples; delete both files and rerun")
        empty = sorted(name for name in columns if table[name].null_count)
        if empty:
            raise UserError(
                f"data map {path} has no {empty[0]} for {table[empty[0]].null_count} examples; choose another "
                "criterion, or compute the map from dynamics"
            )
    scores = {name: _combined([table[name] for table in tables]) for name in columns}
    subset = select(
        examples["uid"],
        random_scores(examples["uid"], seed) if column is None else scores[column],
        by,
        fraction,
        labels=examples["label"],
        balance=balance,
        confidence=scores.get("confidence"),
        easy_share=easy_share,
    )
    if not subset.num_rows:
        raise UserError(
            f"select.fraction {fraction} of {examples.num_rows} examples is a subset of 0; at least one is needed: "
            "raise fraction"
        )
    classes = pc.unique(examples["label"]).sort()
    chosen = pc.unique(examples["label"].filter(pc.is_in(examples["uid"], subset["uid"])))
    missing = classes.filter(pc.invert(pc.is_in(classes, chosen))).to_pylist()
    if missing:
        log.warning(
            "the subset (%s, fraction %s) has no example of class %s; a larger fraction would include some",
            by,
            fraction,
            named(map(str, missing)),
        )
    facts = {"by": by, "fraction": fraction, "balance": balance or "none", "easy_share": easy_share}
    facts |= {"maps": 0 if column is None else len(paths), "rows": subset.num_rows, "of": examples.num_rows}
    write_table(subset, output, SUBSET, {name: str(value) for name, value in facts.items()})


def _combined(scores: list[pa.ChunkedArray]) -> Floats:
    """The scores of one data map as they are, those of several as their mean rank."""
    arrays = [each.to_numpy() for each in scores]
    return arrays[0] if len(arrays) == 1 else mean_rank(arrays)
