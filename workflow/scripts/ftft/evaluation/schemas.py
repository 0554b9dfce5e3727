"""What scores and predictions are as artifacts; see ``docs/artifacts.md``."""

import pyarrow as pa

from ftft.data.schemas import LABEL, logits_type

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


def predictions_schema(n_labels: int) -> pa.Schema:
    """Schema of a model's predictions on one dataset, in the dataset's row order."""
    return pa.schema({"uid": pa.string(), "label": LABEL, "logits": logits_type(n_labels)})
