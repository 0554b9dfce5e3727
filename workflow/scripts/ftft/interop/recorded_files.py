"""The files of a recorded training: its dynamics, and the examples that they are of."""

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import torch

from ftft.core.artifacts import write_table
from ftft.core.errors import UserError, reason
from ftft.data.schemas import LABEL
from ftft.training.recorder import DynamicsRecorder

EXAMPLES = pa.schema({"uid": pa.string(), "label": LABEL})

_FILES = "dynamics.parquet", "examples.parquet"


def check_folder(folder: Path) -> None:
    """Raise now on what would keep the files from being written after the training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        problem = next((f"{name} in it is a folder" for name in _FILES if (folder / name).is_dir()), None)
    except OSError as failure:
        problem = reason(failure)
    if problem:
        raise UserError(f"DynamicsCallback: {folder} cannot be written to: {problem}; name another folder")


def write_files(
    folder: Path, recorder: DynamicsRecorder, uids: pa.Array, labels: torch.Tensor, *, classes: list[str], seed: int
) -> None:
    """Write the files.

    Args:
        folder: gets them.
        recorder: has the logits of the complete epochs.
        uids: those of the examples, in the order of the train dataset.
        labels: their class indices (N,).
        classes: names of the classes.
        seed: that of the training.

    Raises:
        UserError: the folder cannot be written to.
    """
    dynamics, examples = (folder / name for name in _FILES)
    names = {"labels": json.dumps(classes)}
    try:
        recorder.write(dynamics, names | {"seed": str(seed)})
        table = pa.table({"uid": uids, "label": labels.cpu().numpy()})
        write_table(table, examples, EXAMPLES, names | {"rows": str(len(labels))})
    except OSError as failure:
        raise UserError(f"DynamicsCallback: {folder} cannot be written to: {reason(failure)}") from None
