"""Training dynamics on disk, written and read epoch by epoch."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ftft.core.artifacts import count_groups, damaged, read_groups, write_table
from ftft.core.errors import UserError, listed
from ftft.dynamics.schemas import dynamics_schema


def write_dynamics(
    epochs: Sequence[np.ndarray], path: str | os.PathLike[str], n_labels: int, metadata: Mapping[str, str]
) -> None:
    """Write training dynamics: for each epoch the (N, n_labels) float32 logits, in row order, as one row group."""
    schema = dynamics_schema(n_labels)

    def table(epoch: int, logits: np.ndarray) -> pa.Table:
        columns = [
            pa.array(np.full(len(logits), epoch, dtype=np.int16)),
            pa.array(np.arange(len(logits), dtype=np.int32)),
            pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), type=schema.field("logits").type),
        ]
        return pa.table(columns, schema=schema)

    write_table((table(epoch, logits) for epoch, logits in enumerate(epochs)), path, schema, metadata)


def count_epochs(path: str | os.PathLike[str]) -> int:
    """Number of complete epochs in a dynamics artifact."""
    return count_groups(path)


def read_dynamics(path: str | os.PathLike[str], n_rows: int, epochs: slice = slice(None)) -> np.ndarray:
    """The (E, N, C) float32 logits of some epochs of a dynamics artifact, those of it that there are.

    Args:
        path: the artifact.
        n_rows: N, the number of examples of the train set that it belongs to.
        epochs: which, counted from 0.

    Raises:
        UserError: not exactly one row per example and epoch, or logits that are not finite.
    """
    found = [_epoch(group, n_rows, path) for group in read_groups(path, epochs)]
    numbers = [number for number, _ in found]
    if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise damaged(path, f"its epochs are {listed(numbers)}")
    return np.stack([logits for _, logits in found]) if found else np.empty((0, n_rows, 0), np.float32)


def _epoch(group: pa.Table, n_rows: int, path: str | os.PathLike[str]) -> tuple[int, NDArray[np.float32]]:
    """The number and the (N, C) logits of the epoch in one row group."""
    if {"epoch", "row", "logits"} - set(group.column_names):
        raise damaged(path, f"its columns are {listed(group.column_names)}")
    numbers = group["epoch"].to_numpy()
    if not np.array_equal(group["row"].to_numpy(), np.arange(n_rows)) or (numbers != numbers[:1]).any():
        raise damaged(path, f"a row group is not one epoch with rows 0 to {n_rows - 1} in order")
    logits = pc.list_flatten(group["logits"]).to_numpy()
    if not n_rows or not len(logits) or len(logits) % n_rows:
        raise damaged(path, "its rows have no logits, or not equally many")
    logits = logits.reshape(n_rows, -1)
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise UserError(
            f"training dynamics {path} have logits that are not finite (epoch {numbers[0]}, row {finite.argmin()}): "
            "training has diverged; lower the reference's learning_rate and rerun"
        )
    return int(numbers[0]), logits
