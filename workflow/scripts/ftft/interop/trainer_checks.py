"""Checks on a run of the ``Trainer``: that its dynamics can be recorded, and that labels and uids are one per example.

What can be checked before the first step is checked then.
"""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import IterableDataset
from transformers import TrainingArguments
from transformers.training_args import ParallelMode

from ftft.core.errors import UserError, listed, shown
from ftft.data.columns import row_uids
from ftft.data.schemas import LABEL_LIMIT

_LABEL_NAMES = "labels", "label", "label_ids"  # transformers' own collators know these names


def check_supported(args: TrainingArguments, model: Any, dataset: Any) -> None:
    """Raise on runs of which not every example and epoch would be recorded."""
    problem = None
    if args.parallel_mode == ParallelMode.NOT_DISTRIBUTED:
        problem = f"{args.n_gpu} GPUs in one process (DataParallel)", "set CUDA_VISIBLE_DEVICES=0"
    elif args.parallel_mode != ParallelMode.NOT_PARALLEL or args.world_size > 1:
        problem = f"parallel training ({args.parallel_mode.value}, {args.world_size} processes)", "start one process"
    elif args.deepspeed or args.fsdp:
        problem = "DeepSpeed or FSDP", "leave them out: a reference model is small"
    elif args.dataloader_drop_last:
        problem = "dataloader_drop_last, which leaves examples out of every epoch", "set it to False"
    elif isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        problem = f"a train dataset without length and row numbers ({type(dataset).__name__})", "use a map-style one"
    elif not getattr(getattr(model, "config", None), "id2label", None):
        problem = f"a model without config.id2label ({type(model).__name__})", "use a sequence classifier"
    if problem:
        raise UserError(f"DynamicsCallback does not support {problem[0]}; {problem[1]}")


def class_names(model: Any) -> list[str]:
    """Names of the model's classes, in the order of its logits."""
    names, classes = model.config.id2label, model.config.num_labels
    if not 2 <= classes <= LABEL_LIMIT:
        raise UserError(
            f"DynamicsCallback: the model has {classes} class(es); allowed: 2 to {LABEL_LIMIT}; set num_labels"
        )
    if set(names) != set(range(classes)):
        raise UserError(
            f"DynamicsCallback: the model's config.id2label has names for {listed(sorted(names, key=str))}; needed: "
            f"for the class indices 0 to {classes - 1}"
        )
    return [str(names[index]) for index in range(classes)]


def checked_uids(uids: Any, rows: int) -> pa.Array:
    """A uid per row as text: those given, or numbers of rows."""
    if uids is None:
        return row_uids(rows)
    given = uids.tolist() if hasattr(uids, "tolist") else list(uids)  # numbers of NumPy and PyTorch become Python's own
    for row, uid in enumerate(given):
        if not isinstance(uid, str | Integral) or isinstance(uid, bool):
            raise UserError(
                f"DynamicsCallback: the uid of row {row} is {shown(uid)} ({type(uid).__name__}); allowed: text and "
                "whole numbers"
            )
    texts = [str(uid) for uid in given]
    if not len(texts) == len(set(texts)) == rows:
        raise UserError(
            f"DynamicsCallback: {len(texts)} uids are given, {len(set(texts))} of them different, for {rows} training "
            "examples; needed: a unique one for each, or none"
        )
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError as failure:
        raise UserError(f"DynamicsCallback: the uid {shown(failure.object)} is no valid Unicode; change it") from None


def check_labels(labels: torch.Tensor | None, examples: int, classes: int, *, values: bool = True) -> None:
    """Raise unless there is one class index of the model per example."""
    if labels is None or labels.shape != (examples,) or labels.is_floating_point():
        found = "no labels" if labels is None else f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise UserError(
            f"DynamicsCallback: a batch of {examples} examples has {found}; needed: one class index per example, "
            "under 'labels'"
        )
    if values and examples:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise UserError(
                f"DynamicsCallback: the labels are from {low} to {high}; needed: class indices from 0 to "
                f"{classes - 1}, since the model has {classes} classes; change the labels, or its num_labels"
            )


def check_extremes(loader: Any, classes: int) -> None:
    """Look at the labels that the model will get for the examples whose own are the lowest and the highest."""
    if rows := _extremes(loader.dataset):
        batch = loader.collate_fn([loader.dataset[row] for row in rows])
        check_labels(batch.get("labels"), len(rows), classes)


def _extremes(dataset: Any) -> list[int]:
    """Rows with the lowest and the highest label, where these can be read without anything happening."""
    columns = getattr(dataset, "column_names", None)
    if columns and hasattr(dataset, "with_format") and dataset.format["type"] != "custom":
        names = [name for name in _LABEL_NAMES if name in columns]
        found = dataset.with_format("numpy")[names[0]][:] if names else []
    elif isinstance(dataset, list | tuple) and all(isinstance(example, Mapping) for example in dataset):
        found = [next((example[name] for name in _LABEL_NAMES if name in example), None) for example in dataset]
    else:
        return []
    try:
        labels = np.array([int(label) for label in found])
    except (TypeError, ValueError):  # they are no class indices, unless the collator makes some of them
        return [0]
    return [int(labels.argmin()), int(labels.argmax())] if len(labels) else []
