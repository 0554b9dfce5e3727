"""Artifacts that a user names: read, or refused where they are of another kind."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ftft.core.artifacts import read_table
from ftft.core.errors import UserError, named, reason


def read_columns(path: str | Path, columns: list[str], kind: str) -> pa.Table:
    """Columns of an artifact, checked to be there."""
    check_columns(path, columns, kind)
    return read_table(path, columns)


def check_columns(path: str | Path, columns: list[str], kind: str) -> None:
    """Raise unless a file is an artifact with these columns; ``kind`` says in the message what to name instead."""
    try:
        found = pq.read_schema(path).names
    except OSError as failure:
        why = os.strerror(failure.errno) if failure.errno else reason(failure)  # Arrow's own text repeats the path
        raise UserError(f"{path} cannot be read: {why}; name {kind}") from None
    except pa.ArrowInvalid:
        raise UserError(f"{path} is not a Parquet file; name {kind}") from None
    missing = [name for name in columns if name not in found]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; found: {named(found)}; name {kind}")


def read_examples(data: str | Path) -> tuple[list[str], list[int]]:
    """Uids and labels of the data, in row order."""
    examples = read_columns(data, ["uid", "label"], "the data that the reference was trained on, with uid and label")
    return examples["uid"].to_pylist(), examples["label"].to_pylist()
