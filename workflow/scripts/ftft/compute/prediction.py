"""Passes over a dataset without training: a model's logits, or whatever else it computes."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from ftft.compute import devices
from ftft.compute.batching import Examples, micro_batches
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount


def predict(
    model: PreTrainedModel,
    data: Examples,
    accelerator: Accelerator,
    *,
    pad_id: int,
    stage: Stage | None = None,
    flops: FlopCount | None = None,
    before_each: Callable[[], None] | None = None,
) -> np.ndarray:
    """Logits (N, C) float32 in the dataset's row order.

    Every process of ``accelerator`` computes a share; all return the whole. ``stage`` is charged with the work.
    ``before_each`` is called before each pass, and may raise to end it.
    """
    was_training = model.training
    model.eval()
    logits = torch.zeros(len(data), int(model.config.num_labels or 0), device=accelerator.device)
    with torch.inference_mode():
        for rows, batch in passes(data, accelerator, pad_id=pad_id, stage=stage, flops=flops):
            if before_each:
                before_each()
            with accelerator.autocast():
                output = model(**batch)
            logits[torch.from_numpy(rows).to(accelerator.device)] = output.logits.float()
    model.train(was_training)
    if accelerator.num_processes > 1:
        logits = accelerator.reduce(logits, "sum")
    return logits.cpu().numpy()


def passes(
    data: Examples,
    accelerator: Accelerator,
    *,
    pad_id: int,
    stage: Stage | None = None,
    flops: FlopCount | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """This process's share of a dataset in large batches of similar length: their rows, and they on the device.

    ``stage`` is charged with each as a forward pass of ``flops``.
    """
    tokens = devices.tokens_per_pass(accelerator.device, train=False)
    batches = micro_batches(np.arange(len(data)), data.lengths, tokens=tokens)
    for rows in batches[accelerator.process_index :: accelerator.num_processes]:
        batch = data.collate(rows, pad_id=pad_id)
        if stage is not None:
            shape = next(iter(batch.values())).shape  # examples, positions
            stage.examples += len(rows)
            stage.tokens += int(data.lengths[rows].sum())
            stage.tokens_padded += shape[0] * shape[1]
            stage.flops += flops.forward_pass(*shape[:2]) if flops else 0.0
        yield rows, devices.to_device(batch, accelerator.device)
