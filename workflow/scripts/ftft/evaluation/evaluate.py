"""Evaluate a saved model on data sets that played no part in its training."""

import json
import logging
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from ftft.compute import devices
from ftft.compute.batching import TokenizedDataset
from ftft.compute.prediction import predict
from ftft.core import artifacts
from ftft.core.artifacts import read_number
from ftft.data.schemas import check_labels
from ftft.evaluation.metrics import detailed_scores
from ftft.evaluation.schemas import METRICS, predictions_schema
from ftft.models import adapters, classifier, pretrained
from ftft.models.saved import read_step

log = logging.getLogger(__name__)


class Evaluate(TypedDict):
    """What rule ``evaluate_ood`` is told."""

    datasets: dict[str, str]  # name to split
    precision: str
    trained: str  # the saved model, or what it is made from


def evaluate(
    model: Path,
    source: Path,
    datasets: dict[str, Path],
    predictions: dict[str, Path],
    metrics: Path,
    *,
    curve: Path,
    trained: str,
    splits: dict[str, str],
    precision: str,
    device: str = "auto",
    threads: int | None = None,
    title: str = "",
) -> None:
    """Write the predictions and scores of a saved model.

    Args:
        model: folder of the saved model.
        source: folder of the prepared pretrained model it came from.
        datasets: tokens by dataset name.
        predictions: where the predictions of each go.
        metrics: where the scores go.
        curve: the dev curve of the run, whose metadata know the step of each checkpoint.
        trained: name of the checkpoint that the model is, or is made from.
        splits: the split's name by dataset name, for the table.
        precision: as in training.
        device: see ``config.Runtime``.
        threads: CPU threads.
        title: name of the model in the log.

    Raises:
        UserError: the model's logits are not finite.
    """
    accelerator = devices.accelerator(device, precision, threads=threads)
    fine_tuned = classifier.load(model, devices.attention(accelerator.device))
    if adapters.has_adapter(fine_tuned) and devices.precision(accelerator) == "bf16":
        adapters.compute_in_bf16(fine_tuned)  # as in training, or it may not fit where it was trained
    fine_tuned = fine_tuned.to(accelerator.device)
    labels = [fine_tuned.config.id2label[index] for index in range(fine_tuned.config.num_labels)]
    step, steps_per_epoch = read_step(curve, trained), read_number(curve, "steps_per_epoch")
    pad_id = pretrained.read_source(source)["pad_id"]
    rows: list[dict[str, Any]] = []
    for dataset, path in datasets.items():
        data = TokenizedDataset.read(path)
        check_labels(path, data.labels, len(labels))
        logits = predict(fine_tuned, data, accelerator, pad_id=pad_id)
        results = detailed_scores(logits, data.labels, labels, f"{title} on {dataset}")
        _write_predictions(artifacts.read_table(path, ["uid", "label"]), logits, labels, predictions[dataset])
        for metric, value in sorted(results.items()):
            rows.append(
                {
                    "step": step,
                    "epoch": step / steps_per_epoch,
                    "dataset": dataset,
                    "split": splits[dataset],
                    "metric": metric,
                    "value": value,
                }
            )
        shown = {metric: value for metric, value in sorted(results.items()) if "/" not in metric}
        log.info("%s on %s: %s", title, dataset, " ".join(f"{metric} {value:.4f}" for metric, value in shown.items()))
    artifacts.write_table(pa.Table.from_pylist(rows, METRICS), metrics, METRICS)


def _write_predictions(table: pa.Table, logits: Any, labels: list[str], path: Path) -> None:
    schema = predictions_schema(len(labels))
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), type=schema.field("logits").type)
    artifacts.write_table(table.append_column("logits", column), path, schema, {"labels": json.dumps(labels)})
