"""What passes between stages: the Parquet schemas, and training dynamics, which are read epoch by epoch.

Columns are described in ``docs/artifacts.md``.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ftft.core.artifacts import count_groups, damaged, read_groups, read_metadata, read_table, write_table
from ftft.core.errors import UserError, listed, shown

# The columns that every dataset has; all others are carried along unread.
DATA_COLUMNS = ("uid", "text_a", "text_b", "label")

# A class index. Nothing here has more than 32,767 classes.
LABEL = pa.int16()
LABEL_LIMIT = 2**15

# The name under which in-distribution dev and test scores stand beside those of the OOD sets.
IN_DISTRIBUTION = "in_distribution"
# The name of the train set among the data sets.
TRAIN = "train"
# The saved model of a run's last step; the others are named after their stop rules.
FINAL = "final"
# The mean over the OOD sets where a table has it among datasets. No data set's name can contain a space.
OOD_MEAN = "OOD mean"

DATAMAP = pa.schema(
    {
        "uid": pa.string(),
        "label": LABEL,
        "confidence": pa.float64(),
        "variability": pa.float64(),
        "correctness": pa.float64(),
        "forgetting": pa.int32(),
        "threshold_closeness": pa.float64(),
        "aum": pa.float64(),
        "el2n": pa.float64(),
        "entropy": pa.float64(),
        "region": pa.string(),
    }
)

SUBSET = pa.schema({"uid": pa.string(), "score": pa.float64(), "rank": pa.int32()})

METRICS = pa.schema(
    {
        "step": pa.int32(),
        "epoch": pa.float64(),
        "dataset": pa.string(),
        "split": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
    }
)

COST = pa.schema(
    {
        "checkpoint": pa.string(),
        "stage": pa.string(),
        "steps": pa.int32(),
        "examples": pa.int64(),
        "tokens": pa.int64(),
        "tokens_padded": pa.int64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
        "device": pa.string(),
        "precision": pa.string(),
        "peak_memory_mb": pa.float64(),
    }
)

SUMMARY = pa.schema(
    {
        "task": pa.string(),
        "main": pa.string(),
        "method": pa.string(),
        "reference": pa.string(),
        "seed": pa.int32(),
        "dataset": pa.string(),
        "split": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
        "step": pa.int32(),
        "train_examples": pa.int64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
    }
)

COMPARISON = pa.schema(
    {
        "task": pa.string(),
        "main": pa.string(),
        "method": pa.string(),
        "reference": pa.string(),
        "dataset": pa.string(),
        "metric": pa.string(),
        "seeds": pa.int32(),
        "mean": pa.float64(),
        "sd": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "difference": pa.float64(),
        "difference_sd": pa.float64(),
        "difference_low": pa.float64(),
        "difference_high": pa.float64(),
    }
)

COST_CURVE = pa.schema(
    {
        "task": pa.string(),
        "main": pa.string(),
        "method": pa.string(),
        "reference": pa.string(),
        "seed": pa.int32(),
        "dataset": pa.string(),
        "metric": pa.string(),
        "step": pa.int32(),
        "value": pa.float64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
        "reaches_erm": pa.bool_(),
    }
)


FORECAST = pa.schema(
    {
        "task": pa.string(),
        "main": pa.string(),
        "method": pa.string(),
        "reference": pa.string(),
        "steps": pa.int32(),
        "preparation_flops": pa.float64(),
        "step_flops": pa.float64(),
        "flops": pa.float64(),
        "erm_flops": pa.float64(),
        "preparation_share": pa.float64(),
        "share": pa.float64(),
        "break_even_step": pa.int32(),
        "break_even_share": pa.float64(),
        "earliest_stop": pa.int32(),
        "at_most": pa.bool_(),
        "pays": pa.string(),
    }
)

REFERENCES = pa.schema(
    {
        "reference": pa.string(),
        "seed": pa.int32(),
        "dev": pa.float64(),
        "ood_dev": pa.float64(),
        "chance": pa.float64(),
        "ambiguous": pa.float64(),
        "easy": pa.float64(),
        "hard": pa.float64(),
        "compared_with": pa.string(),
        "lost": pa.float64(),
        "verdict": pa.string(),
        "reason": pa.string(),
    }
)

TRANSFER = pa.schema(
    {
        "reference": pa.string(),
        "seed": pa.int32(),
        "other": pa.string(),
        "other_seed": pa.int32(),
        "rank_correlation": pa.float64(),
        "ambiguous_overlap": pa.float64(),
        "easy_overlap": pa.float64(),
        "hard_overlap": pa.float64(),
        "lost": pa.float64(),
    }
)


def data_schema(*, pairs: bool, extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """Schema of a dataset: ``uid``, ``text_a``, ``text_b`` (pairs only), ``label`` and the source's other columns."""
    fields = [pa.field("uid", pa.string()), pa.field("text_a", pa.string())]
    if pairs:
        fields.append(pa.field("text_b", pa.string()))
    return pa.schema([*fields, pa.field("label", LABEL), *extra])


def tokens_schema(*, token_types: bool) -> pa.Schema:
    """Schema of a tokenised dataset; ``token_type_ids`` only for models that use them."""
    ids = pa.list_(pa.field("element", pa.int32(), nullable=False))
    fields = [pa.field("uid", pa.string()), pa.field("label", LABEL), pa.field("input_ids", ids)]
    if token_types:
        fields.append(pa.field("token_type_ids", ids))
    return pa.schema([*fields, pa.field("length", pa.int32())])


def _logits(n_labels: int) -> pa.DataType:
    return pa.list_(pa.field("element", pa.float32(), nullable=False), n_labels)


def features_schema(width: int) -> pa.Schema:
    """Schema of frozen features, in row order; ``width`` is that of the encoder."""
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), width)
    return pa.schema({"uid": pa.string(), "label": LABEL, "first": vector, "mean": vector})


def dynamics_schema(n_labels: int) -> pa.Schema:
    """Schema of training dynamics: one row per example and epoch, in row order, one row group per epoch."""
    return pa.schema({"epoch": pa.int16(), "row": pa.int32(), "logits": _logits(n_labels)})


def predictions_schema(n_labels: int) -> pa.Schema:
    """Schema of a model's predictions on one dataset, in the dataset's row order."""
    return pa.schema({"uid": pa.string(), "label": LABEL, "logits": _logits(n_labels)})


def read(path: str | os.PathLike[str], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an artifact of a fixed schema, or some of its columns.

    Raises:
        UserError: as ``read_table``; a column of another type; numbers that are not finite.
    """
    wanted = schema.names if columns is None else list(columns)
    table = read_table(path, wanted)
    for name in wanted:
        if table[name].type != schema.field(name).type:
            raise damaged(path, f"its column {name} holds {table[name].type} instead of {schema.field(name).type}")
        if pa.types.is_floating(table[name].type) and not pc.all(pc.is_finite(table[name]), min_count=0).as_py():
            raise damaged(path, f"its column {name} has numbers that are not finite")
    return table


def read_subset(path: str | os.PathLike[str], uids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Rows of the train set that a subset names, in its order.

    Args:
        path: the subset's artifact.
        uids: of the train set.

    Raises:
        UserError: as ``read``; a uid is named twice, or is not in the train set.
    """
    names = read(path, SUBSET, ["uid"])["uid"]
    rows = pc.index_in(names, uids.combine_chunks())
    if rows.null_count:
        other = names.filter(pc.is_null(rows))[0].as_py()
        raise damaged(path, f"{rows.null_count} of its uids, such as {shown(other)}, are not in the train set")
    if len(names.unique()) < len(names):
        raise damaged(path, f"of its {len(names)} uids only {len(names.unique())} are different")
    return rows.to_numpy()


def read_number(path: str | os.PathLike[str], key: str) -> int:
    """A whole number, at least 0, of an artifact's metadata.

    Raises:
        UserError: as ``read_metadata``; there is something else.
    """
    text = read_metadata(path, key)[key]
    if not (text.isascii() and text.isdigit()):
        raise damaged(path, f"{key} in its metadata is {shown(text)}, which is no number")
    return int(text)


def read_step(curve: str | os.PathLike[str], checkpoint: str) -> int:
    """The step of a saved model, which the metadata of the run's dev curve know.

    Raises:
        UserError: as ``read_metadata``; there is no such saved model.
    """
    try:
        step = json.loads(read_metadata(curve, "checkpoints")["checkpoints"])[checkpoint]
    except (ValueError, TypeError, KeyError, IndexError):
        step = None
    if type(step) is not int:
        raise damaged(curve, f"checkpoints in its metadata do not say the step of {shown(checkpoint)}")
    return step


def check_source(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Refuse an artifact that was made from other data than ``source``, as far as their metadata say so.

    Raises:
        UserError: their content hashes differ.
    """
    of, expected = (read_metadata(each).get("content_hash") for each in (path, source))
    if of is not None and expected is not None and of != expected:
        raise UserError(
            f"{os.fspath(path)} was made from other data than {os.fspath(source)}; delete both and run again"
        )


def check_labels(path: str | os.PathLike[str], labels: NDArray[np.int64], n_labels: int) -> None:
    """Refuse class indices that are none.

    Raises:
        UserError: a label below 0 or not below ``n_labels``.
    """
    wrong = (labels < 0) | (labels >= n_labels)
    if wrong.any():
        raise damaged(path, f"label {labels[wrong.argmax()]} in row {wrong.argmax()} is none of the {n_labels} classes")


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
