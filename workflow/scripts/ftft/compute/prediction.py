"""Passes over a dataset without training: a model's logits, or whatever else it computes."""

import logging
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from ftft.compute import devices
from ftft.compute.batching import Examples, micro_batches
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount
from ftft.core.errors import UserError

log = logging.getLogger(__name__)


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

    def compute(rows: np.ndarray, batch: dict[str, torch.Tensor]) -> None:
        if before_each:
            before_each()
        with accelerator.autocast():
            output = model(**batch)
        logits[torch.from_numpy(rows).to(accelerator.device)] = output.logits.float()

    try:
        with torch.inference_mode():
            passes(compute, data, accelerator, pad_id=pad_id, stage=stage, flops=flops)
    finally:
        model.train(was_training)
    if accelerator.num_processes > 1:
        logits = accelerator.reduce(logits, "sum")
    return logits.cpu().numpy()


def passes(
    compute: Callable[[np.ndarray, dict[str, torch.Tensor]], None],
    data: Examples,
    accelerator: Accelerator,
    *,
    pad_id: int,
    stage: Stage | None = None,
    flops: FlopCount | None = None,
) -> None:
    """Call ``compute`` with this process's share of a dataset in large batches of similar length.

    Args:
        compute: takes the rows of a batch, and the batch on the device. Where memory does not suffice for one, it gets
            its halves.
        data: the dataset.
        accelerator: device and processes.
        pad_id: fills short texts up.
        stage: is charged with each batch as a forward pass of ``flops``.
        flops: operations of the model.

    Raises:
        UserError: memory does not suffice for one example.
    """
    device = accelerator.device
    batches = micro_batches(np.arange(len(data)), data.lengths, tokens=devices.tokens_per_pass(device, train=False))
    waiting = deque(batches[accelerator.process_index :: accelerator.num_processes])
    while waiting:
        rows = waiting.popleft()
        batch = data.collate(rows, pad_id=pad_id)
        shape = next(iter(batch.values())).shape  # examples, positions
        try:
            compute(rows, devices.to_device(batch, device))
        except torch.OutOfMemoryError:
            waiting.extendleft(reversed(_halves(rows, device)))
            continue
        if stage is not None:
            stage.examples += len(rows)
            stage.tokens += int(data.lengths[rows].sum())
            stage.tokens_padded += shape[0] * shape[1]
            stage.flops += flops.forward_pass(*shape[:2]) if flops else 0.0


def _halves(rows: np.ndarray, device: torch.device) -> list[np.ndarray]:
    if len(rows) == 1:
        raise UserError(
            f"out of memory on {devices.name(device)} with one example in a forward pass: give the job more of the "
            "device (resources.gpu of the model), or set training.max_length lower"
        )
    log.warning("out of memory with %d examples in a forward pass; going on with halves of them", len(rows))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return np.array_split(rows, 2)
