"""How a batch is cut into forward and backward passes."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ftft.compute import devices
from ftft.compute.batching import Examples, fixed_rows, micro_batches
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount

NO_LABEL = -100  # of a row that only fills a pass up to its size


@dataclass(frozen=True)
class Pass:
    """A forward and a backward pass: the examples in it, and those and others that fill it up, with their positions."""

    rows: np.ndarray
    filled: np.ndarray
    positions: int


def largest(batch_size: int, micro_batch_size: int | None, *, tokens: int | None, processes: int) -> int | None:
    """Examples in a pass at most; None for the whole batch.

    Of several processes each gets its part of a batch, unless the tokens in a pass are limited, which cuts it anyway.
    """
    if processes == 1 or tokens is not None:
        return micro_batch_size
    return min(micro_batch_size or batch_size, math.ceil(batch_size / processes))


def cut(
    batch: np.ndarray,
    lengths: np.ndarray,
    device: torch.device,
    *,
    size: int | None,
    tokens: int | None,
    full: int | None,
    longest: int,
    limit: int | None,
) -> list[Pass]:
    """The passes of a batch, the longest texts first.

    Args:
        batch: rows of the train set.
        lengths: (N,) tokens of each example of the train set.
        device: where the passes are computed.
        size: examples in a pass at most; None for the whole batch.
        tokens: padded tokens in a pass at most; None where nothing limits them.
        full: where passes come in few shapes, the examples that each is filled up to; else None.
        longest: tokens of the longest text of the whole train set.
        limit: positions that the model has, if it has a limit.
    """
    return [
        Pass(
            rows=rows,
            filled=rows if full is None else fixed_rows(rows, full),
            positions=devices.positions(
                int(lengths[rows[0]]),
                device,
                longest=longest,
                limit=limit,
                fixed=full is not None,
            ),
        )
        for rows in micro_batches(batch, lengths, size=size, tokens=tokens)
    ]


def collated(each: Pass, batch_size: int, data: Examples, *, pad_id: int) -> dict[str, np.ndarray]:
    """The model's inputs of a pass; (B,) ``rows`` and ``labels`` of its examples; and ``of``, the size of its batch."""
    filled = each.filled
    labels = np.where(np.arange(len(filled)) < len(each.rows), data.labels[filled], NO_LABEL)
    targets = {"rows": filled, "labels": labels, "of": np.array(batch_size, np.float32)}
    return data.collate(filled, pad_id=pad_id, positions=each.positions) | targets


def loss(logits: torch.Tensor, batch: dict[str, torch.Tensor], expert: torch.Tensor | None) -> torch.Tensor:
    """What the examples of a pass add to the mean loss of their batch.

    Args:
        logits: (B, C) of the model.
        batch: as ``collated``; rows with ``NO_LABEL`` count nothing.
        expert: (N, C) log probabilities that are added to the logits; None without.
    """
    joint = logits if expert is None else logits + expert[batch["rows"]]
    return functional.cross_entropy(joint, batch["labels"], reduction="sum", ignore_index=NO_LABEL) / batch["of"]


def charge(stage: Stage, pieces: list[Pass], flops: FlopCount, lengths: np.ndarray) -> None:
    """Charge a step with its passes; ``lengths`` are the tokens of the examples in its batch."""
    stage.steps += 1
    stage.tokens_padded += sum(len(each.filled) * each.positions for each in pieces)
    stage.flops += sum(flops.train_pass(len(each.filled), each.positions) for each in pieces)
    stage.examples += len(lengths)
    stage.tokens += int(lengths.sum())
