"""What the page's data maps and its browser of examples show: the examples that the page carries, and counts of all.

N is the number of training examples, n of those that the page carries, E of epochs, C of classes. A page has room for
some thousands of texts: where there are more, it carries the ends of every ranking and a random sample, and counts on a
grid stand for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ftft.core.artifacts import column_names, damaged, read, read_number, read_table
from ftft.core.errors import listed, named
from ftft.data.schemas import check_labels, check_source, text_columns
from ftft.dynamics.artifact import read_dynamics
from ftft.dynamics.datamap import REGIONS
from ftft.dynamics.measures import softmax
from ftft.dynamics.schemas import DATAMAP, read_subset

# The page carries no more than this. Bytes are those of texts and numbers; compression leaves a third of them.
MAX_EXAMPLES = 20_000
MAX_BYTES = 12_000_000
# The numbers of one example in one data map take about so many bytes: once, and for each epoch.
_BYTES, _BYTES_PER_EPOCH = 26, 6

# A column with more values than this is no grouping; the page then shows the most common ones.
MAX_GROUPS = 20

GRID = 50  # cells of the grid in each direction
# Confidence and variability are given in these parts: enough for a screen, and shorter than a fraction.
PARTS = 10_000
_MAX_SUBSETS = 31  # bits of a number that JavaScript can mask

Ints = NDArray[np.int64]


class DataMap(TypedDict):
    """The data map of one reference run, and the dynamics that it was computed from."""

    reference: str
    seed: int
    path: str | Path
    dynamics: str | Path


class Subset(TypedDict):
    """A subset selected from data maps."""

    reference: str
    by: str  # the criterion, followed by what sets the selection apart from the plain one
    fraction: float
    seed: int
    path: str | Path


@dataclass
class _Map:
    """One data map as whole numbers, each (N,) unless it says otherwise."""

    reference: str
    seed: int
    first_epoch: int
    subsets: list[str]
    variability: Ints  # in parts
    confidence: Ints  # in parts
    correctness: Ints  # number of epochs
    region: Ints  # index into REGIONS
    selected: Ints  # bit i: whether it is in subset i
    believed: Ints  # the class of the highest mean probability
    doubt: Ints  # in parts, by how much this exceeds the gold label's
    predicted: NDArray[np.int16]  # (E, N) class
    gold: NDArray[np.uint8]  # (E, N) probability of the gold label, in percent

    @property
    def width(self) -> int:
        """The largest variability that there is room for, in parts: 0.5, unless a correction made it larger."""
        return max(PARTS // 2, int(self.variability.max(initial=0)))


def explore(
    datamaps: Sequence[DataMap],
    subsets: Sequence[Subset],
    train_data: str | Path,
    labels: Sequence[str],
    group: str | None,
) -> dict[str, Any]:
    """Everything as plain lists, fit for JSON.

    Args:
        datamaps: at least one, in the order in which they are to be offered.
        subsets: those of them that were selected from one data map are shown on it, up to 31.
        train_data: the train set's artifact, with N rows.
        labels: names of the C classes.
        group: a column of the train set to filter by, or None.

    Returns:
        ``labels``, ``regions``, ``groups`` (the group's values, or None), ``parts``, ``grid``, ``total`` (N) and
        ``top``, how many from each end of a ranking are sure to be carried; ``examples`` with the columns ``uid``,
        ``text_a``, ``text_b`` (or None), ``label`` and ``group`` (index, or None) of the n examples carried; and
        ``maps``, one per data map, with its names, ``epochs``, ``width`` (of the grid, in parts), its columns for the n
        examples (those of ``_Map``, E lists of n where that says (E, N)) and ``cells``: the distinct values of x, y
        (cells of the grid), label, group, correctness, region and selected, with their ``count`` among all N; None
        where all examples are carried.

    Raises:
        UserError: a data map or its dynamics do not belong to the train set.
    """
    names = ["uid", "label", *([group] if group else [])]
    table = read_table(train_data, columns=list(dict.fromkeys(names)))
    uids, gold = table["uid"], table["label"].to_numpy().astype(np.int64)
    groups, group_of = _groups(table[group]) if group else (None, np.zeros(len(gold), np.int64))
    maps = [_read(datamap, subsets, train_data, uids, gold) for datamap in datamaps]

    columns = text_columns(column_names(train_data))
    texts = read_table(train_data, columns=columns)
    limit = _limit(texts, maps)
    rows, top = _carried(maps, limit)
    carried = {name: texts[name].take(rows).to_pylist() for name in columns}
    return {
        "labels": list(labels),
        "regions": list(REGIONS),
        "groups": groups,
        "parts": PARTS,
        "grid": GRID,
        "total": len(gold),
        "top": top,
        "examples": {
            "uid": uids.take(rows).to_pylist(),
            "text_a": carried["text_a"],
            "text_b": carried.get("text_b"),
            "label": gold[rows].tolist(),
            "group": group_of[rows].tolist() if groups is not None else None,
        },
        "maps": [_taken(each, rows, gold, group_of) for each in maps],
    }


def names_of_groups(column: pa.ChunkedArray) -> list[str]:
    """For each example the value of its group as text; one without a value is in a group of its own."""
    return ["(none)" if value is None else str(value) for value in column.to_pylist()]


def _groups(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """The values of a group as text, the most common first, and for each example the index of its own.

    Values beyond the ``MAX_GROUPS`` most common ones are put together.
    """
    values = np.array(names_of_groups(column), dtype=str)
    found, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.lexsort((found, -counts))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    names = found[order].tolist()
    if len(names) > MAX_GROUPS:
        names, rank = [*names[:MAX_GROUPS], "(rarer values)"], np.minimum(rank, MAX_GROUPS)
    return names, rank[index]


def _read(
    datamap: DataMap, subsets: Sequence[Subset], train_data: str | Path, uids: pa.ChunkedArray, labels: Ints
) -> _Map:
    path = datamap["path"]
    table = read(path, DATAMAP, ["uid", "confidence", "variability", "region"])
    if not table["uid"].equals(uids):
        raise damaged(path, "it does not have the rows of the train set")
    if others := set(table["region"].unique().to_pylist()) - set(REGIONS):
        raise damaged(path, f"it has the regions {listed(others)}; allowed: {named(REGIONS)}")
    check_source(datamap["dynamics"], path)
    start, epochs = (read_number(path, name) for name in ("burn_in", "epochs"))
    logits = read_dynamics(datamap["dynamics"], len(labels), slice(start, start + epochs))
    if len(logits) != epochs:
        both = "delete both and run again: they are made anew"
        raise damaged(path, f"it is of {epochs} epochs that {datamap['dynamics']} does not have", both)
    check_labels(train_data, labels, logits.shape[2])
    every = np.arange(len(labels))
    mean = np.zeros(logits.shape[1:])
    predicted, gold = np.empty(logits.shape[:2], np.int16), np.empty(logits.shape[:2], np.uint8)
    for epoch, values in enumerate(logits):
        probabilities = softmax(values.astype(np.float64))
        mean += probabilities / len(logits)
        predicted[epoch] = values.argmax(axis=1)
        gold[epoch] = np.round(100 * probabilities[every, labels])
    believed = mean.argmax(axis=1)
    chosen = [
        subset for subset in subsets if (subset["reference"], subset["seed"]) == (datamap["reference"], datamap["seed"])
    ][:_MAX_SUBSETS]
    selected = np.zeros(len(labels), np.int64)
    for bit, subset in enumerate(chosen):
        selected[read_subset(subset["path"], uids)] |= 1 << bit
    return _Map(
        reference=datamap["reference"],
        seed=datamap["seed"],
        first_epoch=start,
        subsets=[f"{subset['by']} {100 * subset['fraction']:.15g} %" for subset in chosen],
        variability=_parts(table["variability"].to_numpy()),
        confidence=_parts(table["confidence"].to_numpy()),
        correctness=(predicted == labels).sum(axis=0),
        region=np.array([REGIONS.index(name) for name in table["region"].to_pylist()], np.int64),
        selected=selected,
        believed=believed,
        doubt=_parts(mean[every, believed] - mean[every, labels]),
        predicted=predicted,
        gold=gold,
    )


def _parts(values: NDArray[np.float64]) -> Ints:
    return np.round(PARTS * values).astype(np.int64)


def _limit(texts: pa.Table, maps: Sequence[_Map]) -> int:
    """How many examples a page has room for."""
    of_texts = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in texts.columns) / max(texts.num_rows, 1)
    of_maps = sum(_BYTES + _BYTES_PER_EPOCH * len(each.gold) for each in maps)
    return min(MAX_EXAMPLES, int(MAX_BYTES / (of_texts + of_maps)))


def _carried(maps: Sequence[_Map], limit: int) -> tuple[Ints, int]:
    """The rows of the examples to carry in rising order, and how many from each end of each ranking are among them."""
    total = len(maps[0].confidence)
    if total <= limit:
        return np.arange(total), total
    # Half of the room is for the ends of the four rankings of each data map.
    top = limit // (2 * 4 * len(maps))
    ends = [
        np.argsort(values, kind="stable")[:top]
        for each in maps
        for values in (-each.variability, each.confidence, -each.confidence, -each.doubt)
    ]
    chosen = np.unique(np.concatenate(ends))
    others = np.setdiff1d(np.arange(total), chosen, assume_unique=True)
    sample = np.random.default_rng(0).permutation(others)[: limit - len(chosen)]
    return np.sort(np.concatenate([chosen, sample])), top


def _taken(each: _Map, rows: Ints, labels: Ints, group: Ints) -> dict[str, Any]:
    """A data map as plain lists, of the examples in ``rows``; with the counts of all where these are not all."""
    columns = ("variability", "confidence", "correctness", "region", "selected", "believed", "doubt")
    return {
        "reference": each.reference,
        "seed": each.seed,
        "first_epoch": each.first_epoch,
        "epochs": len(each.gold),
        "width": each.width,
        "subsets": each.subsets,
        **{name: getattr(each, name)[rows].tolist() for name in columns},
        "predicted": each.predicted[:, rows].tolist(),
        "gold": each.gold[:, rows].tolist(),
        "cells": None if len(rows) == len(labels) else _cells(each, labels, group),
    }


def _cells(each: _Map, labels: Ints, group: Ints) -> dict[str, list[int]]:
    """Counts of all examples by cell of the grid and by all that the page filters by."""
    columns = {
        "x": np.minimum(GRID * each.variability // each.width, GRID - 1),
        "y": np.minimum(GRID * each.confidence // PARTS, GRID - 1),
        "label": labels,
        "group": group,
        "correctness": each.correctness,
        "region": each.region,
        "selected": each.selected,
    }
    # A row of several numbers becomes one number, which is sorted faster.
    found, codes = zip(*(np.unique(column, return_inverse=True) for column in columns.values()), strict=True)
    shape = tuple(len(values) for values in found)
    cells, counts = np.unique(np.ravel_multi_index(codes, shape), return_counts=True)
    places = np.unravel_index(cells, shape)
    listed = {name: found[i][places[i]].tolist() for i, name in enumerate(columns)}
    return listed | {"count": counts.tolist()}
