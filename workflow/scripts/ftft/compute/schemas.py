"""What frozen features and costs are as artifacts; see ``docs/artifacts.md``."""

import pyarrow as pa

from ftft.data.schemas import LABEL

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


def features_schema(width: int) -> pa.Schema:
    """Schema of frozen features, in row order; ``width`` is that of the encoder."""
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), width)
    return pa.schema({"uid": pa.string(), "label": LABEL, "first": vector, "mean": vector})
