"""What datasets and tokens are as artifacts, and the names of datasets.

Columns are described in ``docs/artifacts.md``.
"""

import os
from collections.abc import Container, Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ftft.core.artifacts import damaged, read_metadata
from ftft.core.errors import UserError

# The columns of text: the second one where texts come in pairs.
TEXTS = ("text_a", "text_b")

# The columns that every dataset has; all others are carried along unread.
DATA_COLUMNS = ("uid", *TEXTS, "label")

# A class index, which is below the limit.
LABEL = pa.int16()
LABEL_LIMIT = 2**15

# The name under which in-distribution dev and test scores stand beside those of the OOD sets.
IN_DISTRIBUTION = "in_distribution"

# The name of the train set among the data sets.
TRAIN = "train"


def text_columns(names: Container[str]) -> list[str]:
    """Those of a dataset's columns that are texts: one, or two of pairs."""
    return [name for name in TEXTS if name in names]


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


def logits_type(n_labels: int) -> pa.DataType:
    """The type of a column with as many logits per example as there are classes."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), n_labels)
