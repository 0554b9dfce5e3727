"""What can make results wrong although each set of data is right: texts that two sets share, classes without a row."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import pyarrow as pa

from ftft.core.artifacts import atomic_path, column_names, read_table, write_table
from ftft.core.errors import UserError, listed, named, shown
from ftft.data.schemas import TRAIN, text_columns

TOLERATED = 0.01  # share of rows whose texts stand in the train set too, without a warning
# The sets that are drawn as the train set is: they should have its classes.
_IN_DISTRIBUTION = (TRAIN, "dev", "test")


class Check(TypedDict):
    """What rule ``check_data`` is told."""

    datasets: list[str]  # names of the data artifacts
    labels: list[str]
    group: str | None


SCHEMA = pa.schema(
    {
        "dataset": pa.string(),
        "rows": pa.int64(),
        "in_train": pa.int64(),
        "other_label": pa.int64(),
        "missing": pa.list_(pa.string()),
    }
)


def check(
    data: Mapping[str, str | Path], labels: Sequence[str], group: str | None, output: str | Path, text: str | Path
) -> list[str]:
    """Compare every set with the train set, write a table and the warnings, and return these.

    Args:
        data: the data artifacts by name; ``train`` is one of them.
        labels: names of the classes, in the order of their index.
        group: a further column that the train set is to have; None: none.
        output: a Parquet file of ``SCHEMA``, one row per data artifact. Two rows share their texts where all texts are
            equal to the letter; ``other_label`` counts those of ``in_train`` whose label no such row of the train set
            has.
        text: the warnings, one a line.

    Raises:
        UserError: the train set has no column ``group``.
    """
    columns = column_names(data[TRAIN])
    if group is not None and group not in columns:
        raise UserError(
            f"data.group is {shown(group)}, but the train set has no such column; found: {named(columns)}; name one of "
            "them, or leave data.group out"
        )
    trained: dict[bytes, int] = {}  # the labels of each text, one bit each
    for key, label in _rows(data[TRAIN]):
        trained[key] = trained.get(key, 0) | 1 << label
    rows = []
    for name in sorted(data, key=lambda name: (name != TRAIN, name)):
        here = list(_rows(data[name]))
        known = [(trained[key], label) for key, label in here if key in trained]
        classes = {label for _, label in here}
        rows.append(
            {
                "dataset": name,
                "rows": len(here),
                "in_train": None if name == TRAIN else len(known),
                "other_label": None if name == TRAIN else sum(not seen >> label & 1 for seen, label in known),
                "missing": [label for index, label in enumerate(labels) if index not in classes],
            }
        )
    table = pa.Table.from_pylist(rows, SCHEMA)
    write_table(table, output, SCHEMA)
    found = warnings(table)
    with atomic_path(text) as temporary:
        temporary.write_text("".join(f"WARNING: {line}\n" for line in found), encoding="utf-8")
    return found


def warnings(table: pa.Table) -> list[str]:
    """What of the table of ``check`` is to be known before its sets are trained and tested on, as sentences."""
    found = []
    for row in table.to_pylist():
        name = "the train set" if row["dataset"] == TRAIN else row["dataset"]
        if row["missing"] and row["dataset"] in _IN_DISTRIBUTION:
            found.append(f"No row of {name} has the label {listed(row['missing'])}.")
        if row["in_train"] and row["in_train"] > TOLERATED * row["rows"]:
            share = f"{100 * row['in_train'] / row['rows']:.1f} %"
            found.append(
                f"{row['in_train']} of the {row['rows']} rows of {name} ({share}) have texts that are in the train set "
                f"too, {row['other_label']} of them with another label: scores on {name} are not of unseen text alone."
            )
    return found


def _rows(path: str | Path) -> Iterator[tuple[bytes, int]]:
    """A key of the texts of each row, and its label."""
    names = text_columns(column_names(path))
    table = read_table(path, columns=[*names, "label"])
    for texts, label in zip(
        zip(*(table[name].to_pylist() for name in names), strict=True), table["label"].to_pylist(), strict=True
    ):
        yield hashlib.sha256("\0".join(texts).encode()).digest(), label
