"""Record training dynamics in anyone's Hugging Face ``Trainer``, without the workflow.

``docs/without_the_workflow.md`` shows how to get from there to a data map and a subset.

Each example takes its row number along: the dataset under the train data loader hands it out with the example, the
collator puts it into the batch, and a hook takes it out again before the model's forward pass sees it. A second hook
reads the logits of that pass. So it makes no difference in which order, by which worker or in how many micro-batches
the examples come, and batches of other loaders, such as evaluation's, are left alone. ``numbered_examples`` beside it
has the first part of this, ``recording`` the hooks.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

try:
    import accelerate  # noqa: F401  the Trainer needs it
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as failure:
    raise ImportError(
        f"{failure.name} is not installed, which the callback needs; in the clone: pip install '.[training]'"
    ) from failure

from ftft.core.artifacts import read_table
from ftft.core.errors import UserError
from ftft.interop.numbered_examples import NumberedDataset, number_examples
from ftft.interop.recorded_files import check_folder, write_files
from ftft.interop.recording import Recording
from ftft.interop.trainer_checks import check_extremes, check_supported, checked_uids, class_names

log = logging.getLogger(__name__)


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
        self.recording = Recording(0, 0, torch.device("cpu"))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Number the examples and watch the model."""
        model, loader = kwargs["model"], kwargs["train_dataloader"]
        loader = getattr(loader, "base_dataloader", loader)  # accelerate wraps the loader
        check_supported(args, model, loader.dataset)
        check_folder(self.folder)
        rows = len(loader.dataset)
        self.examples = checked_uids(self.uids, rows)
        self.names = class_names(model)
        self.recording.unwatch()
        self.recording = Recording(rows, len(self.names), args.device)
        if state.global_step:
            self.recording.restore(_checkpoint(args, state))
        if not isinstance(loader.dataset, NumberedDataset):
            check_extremes(loader, len(self.names))
            number_examples(loader)
        self.recording.watch(model)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the epoch if it is complete, in the files too."""
        if self.recording.close_epoch():
            try:
                self._write(args)
            except UserError as failure:
                log.warning("%s; tried again after the next epoch", failure)
            return
        rows, left_out = len(self.recording.seen), int((~self.recording.seen).sum())
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
            self.recording.save(folder)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the files."""
        self.recording.unwatch()
        if not self.recording.recorder.epochs:
            log.warning("no epoch was complete, so there are no training dynamics to write; train for longer")
            return
        self._write(args)

    def _write(self, args: TrainingArguments) -> None:
        recorder, labels = self.recording.recorder, self.recording.labels
        write_files(self.folder, recorder, self.examples, labels, classes=self.names, seed=args.seed)


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


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
