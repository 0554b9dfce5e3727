"""What data maps, subsets and training dynamics are as artifacts; see ``docs/artifacts.md``."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ftft.core.artifacts import damaged, read
from ftft.core.errors import shown
from ftft.data.schemas import LABEL, logits_type
from ftft.dynamics.measures import MEASURES

DATAMAP = pa.schema(
    {
        "uid": pa.string(),
        "label": LABEL,
        **{name: pa.from_numpy_dtype(kind) for name, kind in MEASURES.items()},
        "region": pa.string(),
    }
)

SUBSET = pa.schema({"uid": pa.string(), "score": pa.float64(), "rank": pa.int32()})


def dynamics_schema(n_labels: int) -> pa.Schema:
    """Schema of training dynamics: one row per example and epoch, in row order, one row group per epoch."""
    return pa.schema({"epoch": pa.int16(), "row": pa.int32(), "logits": logits_type(n_labels)})


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
