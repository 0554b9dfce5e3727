"""Features of a frozen encoder: computed once for every example, shared by all heads that are trained on them."""

import logging
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from ftft.compute import devices
from ftft.compute.batching import FEATURES, TokenizedDataset
from ftft.compute.cost import CostMeter, Stage
from ftft.compute.flops import FlopCount
from ftft.compute.prediction import passes
from ftft.compute.schemas import COST, features_schema
from ftft.core import artifacts
from ftft.data.schemas import TRAIN
from ftft.models import classifier, decoders, pretrained
from ftft.models.reading import last_token
from ftft.models.saved import FINAL

log = logging.getLogger(__name__)


class Embed(TypedDict):
    """What rule ``embed`` is told."""

    datasets: list[str]
    layers: int | None
    precision: str


def embed(
    source: Path,
    tokens: dict[str, Path],
    outputs: dict[str, Path],
    cost: Path,
    *,
    layers: int | None,
    precision: str,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Write the features of every example of some data sets: one forward pass without dropout.

    Args:
        source: folder of the prepared pretrained model.
        tokens: the examples, by data set.
        outputs: where the features of each go, in the row order of its tokens: the last hidden state of the first token
            (of a decoder, the last one) and the mean of the last hidden states over all tokens, special ones included,
            both float32.
        cost: the cost table: stage ``embed`` for the data set ``train``, ``evaluate`` for the others.
        layers: use only the first so many layers of the model.
        precision: as in training.
        device: see ``config.Runtime``.
        threads: CPU threads.

    Raises:
        UserError: the source has random weights or too few layers.
    """
    accelerator = devices.accelerator(device, precision, threads=threads)
    attention = devices.attention(accelerator.device)
    encoder = classifier.encoder(source, layers=layers, attention=attention).to(accelerator.device).eval()
    pad_id = pretrained.read_source(source)["pad_id"]
    flops, meter = FlopCount.of(encoder), CostMeter({"embed": Stage(), "evaluate": Stage()})
    for name, path in tokens.items():
        data = TokenizedDataset.read(path)
        with meter.measure("embed" if name == TRAIN else "evaluate") as stage:
            features = _features(encoder, data, accelerator, pad_id=pad_id, stage=stage, flops=flops)
        _write(path, features, outputs[name])
        log.info("%s: features of %d examples", name, len(data))
    used = accelerator.device
    rows = meter.rows(FINAL, devices.name(used), devices.precision(accelerator), devices.peak_mb(used))
    artifacts.write_table(pa.Table.from_pylist(rows, COST), cost, COST)


def _features(
    encoder: PreTrainedModel, data: TokenizedDataset, accelerator: Accelerator, **counted: Any
) -> dict[str, np.ndarray]:
    """The (N, width) float32 features of each column; ``counted`` is what ``prediction.passes`` takes."""
    width = int(encoder.config.hidden_size)
    found = {name: np.empty((len(data), width), np.float32) for name in FEATURES["both"]}
    last = decoders.reads_last(encoder.config)

    def compute(rows: np.ndarray, batch: dict[str, torch.Tensor]) -> None:
        states = encoder(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        own = last_token(states, batch["attention_mask"]) if last else states[:, 0]
        found["first"][rows] = own.cpu().numpy()
        found["mean"][rows] = ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()

    with torch.inference_mode(), accelerator.autocast():
        passes(compute, data, accelerator, **counted)
    return found


def _write(tokens: Path, features: dict[str, np.ndarray], output: Path) -> None:
    schema = features_schema(features["first"].shape[1])
    table = artifacts.read_table(tokens, ["uid", "label"])
    for name, values in features.items():
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=schema.field(name).type)
        table = table.append_column(name, column)
    artifacts.write_table(table, output, schema, artifacts.read_metadata(tokens))
