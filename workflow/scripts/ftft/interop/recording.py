"""The logits of a training, taken from the model's forward pass by hooks and kept by row."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftft.core.artifacts import damaged
from ftft.core.errors import UserError, reason
from ftft.interop.numbered_examples import LABELS, ROWS
from ftft.interop.trainer_checks import check_labels
from ftft.training.recorder import DynamicsRecorder

_STATE = "ftft_dynamics.npz"


@dataclass(frozen=True)
class _OneProcess:
    """The processes of a training where there is one."""

    device: torch.device

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        """Return a copy: there is nothing to combine it with."""
        return tensor.clone()


class Recording:
    """Logits and labels of the examples of a training, from the batches that a model gets while it is watched.

    Args:
        rows: number of examples.
        classes: number of classes.
        device: where the training takes place.
    """

    def __init__(self, rows: int, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.recorder = DynamicsRecorder(rows, classes, _OneProcess(device))
        self.seen = torch.zeros(rows, dtype=torch.bool, device=device)
        self.labels = torch.zeros(rows, dtype=torch.int64, device=device)
        self.batch: tuple[torch.Tensor, torch.Tensor] | None = None
        self.hooks: list[Any] = []

    def watch(self, model: torch.nn.Module) -> None:
        """Record from now on what a model gives in training."""
        self.hooks = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward),
        ]

    def unwatch(self) -> None:
        """Leave the model as it was."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def close_epoch(self) -> bool:
        """Move a complete epoch to those that are kept; whether it was complete."""
        if not self.seen.all():
            return False
        check_labels(self.labels, len(self.seen), self.classes)
        self.recorder.end_epoch()
        self.seen.zero_()
        return True

    def save(self, checkpoint: Path) -> None:
        """Put the dynamics so far beside a checkpoint."""
        kept = torch.stack([logits.cpu() for logits in self.recorder.state()])
        seen, labels = self.seen.cpu().numpy(), self.labels.cpu().numpy()
        np.savez(checkpoint / _STATE, logits=kept.numpy(), seen=seen, labels=labels)

    def restore(self, checkpoint: Path) -> None:
        """Go on with the dynamics that ``save`` put beside a checkpoint."""
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
        found, needed = tuple(current.shape), (len(self.seen), self.classes)
        if found != needed:
            raise UserError(
                f"DynamicsCallback: {checkpoint / _STATE} has (examples, classes) {found}, but the run {needed}; "
                "resume with the data that it was saved with"
            )
        self.recorder.restore([*epochs, current], main_process=True)
        self.seen.copy_(seen)
        self.labels.copy_(labels)
        self.close_epoch()  # the checkpoint of an epoch's last step may be saved before its end

    @torch.compiler.disable
    def _before_forward(self, model: torch.nn.Module, positional: Any, inputs: dict[str, Any]) -> Any:
        """Take what the model does not know out of its inputs."""
        self.batch = None
        if ROWS not in inputs:
            return None
        rows, labels = inputs.pop(ROWS), inputs.pop(LABELS, None)
        # Looking at values waits for the device, so later epochs are looked at as a whole.
        check_labels(labels, len(rows), self.classes, values=not self.recorder.epochs)
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
        if logits is None or logits.ndim != 2 or len(logits) != len(rows) or logits.shape[1] != self.classes:
            found = "no logits" if logits is None else f"logits of shape {tuple(logits.shape)}"
            raise UserError(
                f"DynamicsCallback: the model gives {found} for a batch of {len(rows)} examples; needed: a sequence "
                f"classifier, which gives {self.classes} logits per example"
            )
        rows = rows.to(self.seen.device)
        self.recorder.record(rows, logits.to(self.seen.device))
        self.seen[rows] = True
        self.labels[rows] = labels.to(self.seen.device, torch.int64)


def _logits(output: Any) -> torch.Tensor | None:
    """The logits in a model's output: by name, or the first matrix of a tuple, whose first element may be the loss."""
    if isinstance(output, Mapping):
        return output.get("logits")
    parts = output if isinstance(output, tuple) else (output,)
    return next((part for part in parts if isinstance(part, torch.Tensor) and part.ndim > 1), None)
