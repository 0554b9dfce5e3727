"""Record training dynamics in anyone's Hugging Face ``Trainer``, without the workflow.

``docs/without_the_workflow.md`` shows how to get from there to a data map and a subset.

Each example takes its row number along: the dataset under the train data loader hands it out with the example, the
collator puts it into the batch, and a hook takes it out again before the model's forward pass sees it. A second hook
reads the logits of that pass. So it makes no difference in which order, by which worker or in how many micro-batches
the examples come, and batches of other loaders, such as evaluation's, are left alone.
"""

import json
import logging
import tempfile
import zipfile
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from numbers import Integral
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

try:
    import accelerate  # noqa: F401  the recorder gathers logits with it
    import torch
    from torch.utils.data import IterableDataset
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.training_args import ParallelMode
except ModuleNotFoundError as failure:
    raise ImportError(
        f"{failure.name} is not installed, which the callback needs; in the clone: pip install '.[training]'"
    ) from failure

from ftft.core.artifacts import damaged, read_table, write_table
from ftft.core.errors import UserError, listed, reason, shown
from ftft.data.schemas import LABEL, LABEL_LIMIT
from ftft.dynamics.recorder import DynamicsRecorder

log = logging.getLogger(__name__)

EXAMPLES = pa.schema({"uid": pa.string(), "label": LABEL})

# Keys of the batch between collator and model.
_ROWS, _LABELS = "ftft_rows", "ftft_labels"
_STATE = "ftft_dynamics.npz"
_LABEL_NAMES = "labels", "label", "label_ids"  # as transformers' own collators take them
_FILES = "dynamics.parquet", "examples.parquet"


class DynamicsCallback(TrainerCallback):
    """Records the logits of every training example in every epoch, from the training forward pass itself.

    It writes two files: ``dynamics.parquet``, the dynamics artifact, with one row per example and complete epoch; and
    ``examples.parquet`` with ``uid`` and ``label`` of each example in the order of the train dataset, which
    ``datamap.write`` takes as its data. Both are written after every epoch, so that a training that fails later leaves
    the epochs before.

    It works for sequence classification in one process on one device, with any sampling that takes each example once
    per epoch, gradient accumulation, workers, mixed precision, and training that is resumed from a checkpoint.

    Args:
        folder: gets the files.
        uids: a unique string or whole number per example of the train dataset; numbers become text. Without them
            ``row00000001``, … in its order.

    Raises:
        UserError: when training starts, on what is not supported: several processes or GPUs, FSDP, DeepSpeed, a train
            dataset without length, ``dataloader_drop_last``; on uids that are not as above, and on a folder that cannot
            be written to. Then, or with the first batch that shows it, on labels that are not one class index per
            example under ``labels``, and on output that is not one row of logits per example; in training on an epoch,
            except the last, that leaves examples out.
    """

    def __init__(self, folder: str | Path, uids: Sequence[str] | Sequence[int] | None = None) -> None:
        self.folder = Path(folder)
        self.uids = uids
        self.examples = pa.array([], pa.string())
        self.names: list[str] = []
        self.recorder: DynamicsRecorder
        self.seen = self.labels = torch.zeros(0, dtype=torch.int64)
        self.batch: tuple[torch.Tensor, torch.Tensor] | None = None
        self.hooks: list[Any] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Number the examples and watch the model."""
        model, loader = kwargs["model"], kwargs["train_dataloader"]
        loader = getattr(loader, "base_dataloader", loader)  # what accelerate wraps
        _check_supported(args, model, loader.dataset)
        _check_folder(self.folder)
        rows = len(loader.dataset)
        self.examples = _checked_uids(self.uids, rows)
        self.names = _class_names(model)
        alone = SimpleNamespace(device=args.device, num_processes=1)
        self.recorder = DynamicsRecorder(rows, len(self.names), alone)  # type: ignore[arg-type]
        self.seen = torch.zeros(rows, dtype=torch.bool, device=args.device)
        self.labels = torch.zeros(rows, dtype=torch.int64, device=args.device)
        if state.global_step:
            self._restore(_checkpoint(args, state))
        if not isinstance(loader.dataset, _Numbered):
            self._check_extremes(loader)
            # A data loader refuses to be given another dataset, but reads it only when it is iterated over.
            object.__setattr__(loader, "dataset", _Numbered(loader.dataset))
            loader.collate_fn = _NumberedCollator(loader.collate_fn)
        self._unwatch()
        self.hooks = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward),
        ]

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the epoch if it is complete, in the files too."""
        if self._close_epoch():
            try:
                self._write(args)
            except UserError as failure:
                log.warning("%s; tried again after the next epoch", failure)
            return
        rows, left_out = len(self.seen), int((~self.seen).sum())
        if control.should_training_stop:
            log.info("the last epoch left out %d of %d examples, so its dynamics are dropped", left_out, rows)
            return
        raise UserError(
            f"DynamicsCallback: an epoch left out {left_out} of {rows} training examples; needed: each once per "
            "epoch; use a sampler that takes all, and pass the batch to the model as it comes: model(**inputs)"
        )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the dynamics so far beside the checkpoint, so that training can be resumed from it."""
        folder = _checkpoint(args, state)
        if folder.is_dir():
            kept = torch.stack([*self.recorder.epochs, self.recorder.current.cpu()])
            seen, labels = self.seen.cpu().numpy(), self.labels.cpu().numpy()
            np.savez(folder / _STATE, logits=kept.numpy(), seen=seen, labels=labels)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the files."""
        self._unwatch()
        if not self.recorder.epochs:
            log.warning("no epoch was complete, so there are no training dynamics to write; train for longer")
            return
        self._write(args)

    def _write(self, args: TrainingArguments) -> None:
        dynamics, examples = (self.folder / name for name in _FILES)
        names = {"labels": json.dumps(self.names)}
        try:
            self.recorder.write(dynamics, names | {"seed": str(args.seed)})
            table = pa.table({"uid": self.examples, "label": self.labels.cpu().numpy()})
            write_table(table, examples, EXAMPLES, names | {"rows": str(len(self.labels))})
        except OSError as failure:
            raise UserError(f"DynamicsCallback: {self.folder} cannot be written to: {reason(failure)}") from None

    @torch.compiler.disable
    def _before_forward(self, model: torch.nn.Module, positional: Any, inputs: dict[str, Any]) -> Any:
        """Take what the model does not know out of its inputs."""
        self.batch = None
        if _ROWS not in inputs:
            return None
        rows, labels = inputs.pop(_ROWS), inputs.pop(_LABELS, None)
        # Looking at values waits for the device, so later epochs are looked at as a whole.
        self._check_labels(labels, len(rows), values=not self.recorder.epochs)
        if model.training:
            self.batch = rows, labels
        return positional, inputs

    @torch.compiler.disable
    def _after_forward(self, model: torch.nn.Module, positional: Any, output: Any) -> None:
        """Keep the logits of a batch that has row numbers."""
        if self.batch is None:
            return
        (rows, labels), self.batch = self.batch, None
        logits = _logits(output)
        if logits is None or logits.ndim != 2 or len(logits) != len(rows) or logits.shape[1] != len(self.names):
            found = "no logits" if logits is None else f"logits of shape {tuple(logits.shape)}"
            raise UserError(
                f"DynamicsCallback: the model gives {found} for a batch of {len(rows)} examples; needed: a sequence "
                f"classifier, which gives {len(self.names)} logits per example"
            )
        rows = rows.to(self.seen.device)
        self.recorder.record(rows, logits.to(self.seen.device))
        self.seen[rows] = True
        self.labels[rows] = labels.to(self.seen.device, torch.int64)

    def _close_epoch(self) -> bool:
        """Move a complete epoch to those that are kept; whether it was complete."""
        if not self.seen.all():
            return False
        self._check_labels(self.labels, len(self.seen))
        self.recorder.end_epoch()
        self.seen.zero_()
        return True

    def _check_labels(self, labels: torch.Tensor | None, examples: int, *, values: bool = True) -> None:
        """Raise unless there is one class index of the model per example."""
        if labels is None or labels.shape != (examples,) or labels.is_floating_point():
            found = "no labels" if labels is None else f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise UserError(
                f"DynamicsCallback: a batch of {examples} examples has {found}; needed: one class index per example, "
                "under 'labels'"
            )
        if values and examples:
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.names):
                raise UserError(
                    f"DynamicsCallback: the labels are from {low} to {high}; needed: class indices from 0 to "
                    f"{len(self.names) - 1}, since the model has {len(self.names)} classes; change the labels, or its "
                    "num_labels"
                )

    def _check_extremes(self, loader: Any) -> None:
        """Look at the labels that the model will get for the examples whose own are the lowest and the highest."""
        if rows := _extremes(loader.dataset):
            batch = loader.collate_fn([loader.dataset[row] for row in rows])
            self._check_labels(batch.get("labels"), len(rows))

    def _restore(self, checkpoint: Path) -> None:
        """Go on with the dynamics that ``on_save`` put beside a checkpoint."""
        if not (checkpoint / _STATE).is_file():
            raise UserError(
                f"DynamicsCallback: training is resumed, but {checkpoint} has no {_STATE} with the dynamics so far; "
                "start from the beginning, or resume from a checkpoint in output_dir that was saved with this callback"
            )
        try:
            with np.load(checkpoint / _STATE) as state:
                *epochs, current = torch.from_numpy(state["logits"])
                seen, labels = torch.from_numpy(state["seen"]), torch.from_numpy(state["labels"])
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as failure:
            raise damaged(checkpoint / _STATE, reason(failure), "resume from an earlier checkpoint") from None
        if current.shape != self.recorder.current.shape:
            raise UserError(
                f"DynamicsCallback: {checkpoint / _STATE} has (examples, classes) {tuple(current.shape)}, but the run "
                f"{tuple(self.recorder.current.shape)}; resume with the data that it was saved with"
            )
        self.recorder.epochs = epochs
        for kept, saved in ((self.recorder.current, current), (self.seen, seen), (self.labels, labels)):
            kept.copy_(saved)
        self._close_epoch()  # the checkpoint of an epoch's last step may be saved before its end

    def _unwatch(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


class _Numbered:
    """A dataset that gives each example with its row number."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[int, Any]:
        return row, self.dataset[row]

    def __getitems__(self, rows: list[int]) -> list[tuple[int, Any]]:
        together = getattr(self.dataset, "__getitems__", None)
        examples = together(rows) if together else [self.dataset[row] for row in rows]
        return list(zip(rows, examples, strict=True))


class _NumberedCollator:
    """A collator for numbered examples: the batch of another one, with the row numbers and a second copy of the labels.

    The copy is there because a ``Trainer`` may take the labels out before the forward pass (label smoothing does).
    """

    def __init__(self, collate: Callable[[list[Any]], MutableMapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, numbered: list[tuple[int, Any]]) -> MutableMapping[str, Any]:
        batch = self.collate([example for _, example in numbered])
        batch[_ROWS] = torch.tensor([int(row) for row, _ in numbered])
        if "labels" in batch:
            batch[_LABELS] = batch["labels"]
        return batch


def subset_rows(subset: str | Path, examples: str | Path) -> list[int]:
    """Row numbers of a subset in the train dataset, best first, for ``dataset.select`` or ``torch.utils.data.Subset``.

    Args:
        subset: written by ``selection.write``.
        examples: ``examples.parquet`` of ``DynamicsCallback``, or a data artifact.

    Raises:
        UserError: the subset has examples that are not there.
    """
    chosen = read_table(subset, ["uid", "rank"]).sort_by("rank")["uid"]
    rows = pc.index_in(chosen, read_table(examples, ["uid"])["uid"].combine_chunks())
    if rows.null_count:
        raise UserError(f"{subset} names {rows.null_count} examples that are not in {examples}: select again")
    return rows.to_pylist()


def _checked_uids(uids: Any, rows: int) -> pa.Array:
    """A uid per row as text: those given, or numbers of rows."""
    if uids is None:
        return pa.array([f"row{row:08d}" for row in range(1, rows + 1)], pa.string())
    given = uids.tolist() if hasattr(uids, "tolist") else list(uids)  # as Python's own, from whatever has them
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


def _check_folder(folder: Path) -> None:
    """Raise now on what would keep the files from being written after the training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        problem = next((f"{name} in it is a folder" for name in _FILES if (folder / name).is_dir()), None)
    except OSError as failure:
        problem = reason(failure)
    if problem:
        raise UserError(f"DynamicsCallback: {folder} cannot be written to: {problem}; name another folder")


def _class_names(model: Any) -> list[str]:
    """Those of the model, in the order of its logits."""
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
    except (TypeError, ValueError):  # no class indices, unless the collator makes some of them
        return [0]
    return [int(labels.argmin()), int(labels.argmax())] if len(labels) else []


def _check_supported(args: TrainingArguments, model: Any, dataset: Any) -> None:
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


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"


def _logits(output: Any) -> torch.Tensor | None:
    """The logits in a model's output: by name, or the first matrix of a tuple, whose first element may be the loss."""
    if isinstance(output, Mapping):
        return output.get("logits")
    parts = output if isinstance(output, tuple) else (output,)
    return next((part for part in parts if isinstance(part, torch.Tensor) and part.ndim > 1), None)
