"""Training dynamics: the logits of every example in every epoch, from the training forward pass itself."""

from pathlib import Path

import torch
from accelerate import Accelerator

from ftft.dynamics.artifact import write_dynamics


class DynamicsRecorder:
    """Keeps the logits of the running epoch on the device, by row, and those of complete epochs in main memory.

    Args:
        rows: number of examples N.
        labels: number of classes C.
        accelerator: says where to keep them and, with several processes, how to gather them.
    """

    def __init__(self, rows: int, labels: int, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.epochs: list[torch.Tensor] = []
        self.current = torch.zeros(rows, labels, device=accelerator.device)

    def record(self, rows: torch.Tensor, logits: torch.Tensor) -> None:
        """Store the logits (B, C) of the examples ``rows`` (B,); nothing waits for the device."""
        self.current[rows] = logits.detach().float()

    def end_epoch(self) -> None:
        """Close the epoch. One that is never closed is incomplete and is not written."""
        whole = self.accelerator.reduce(self.current, "sum") if self.accelerator.num_processes > 1 else self.current
        self.epochs.append(whole.cpu().clone())
        self.current.zero_()

    def state(self) -> list[torch.Tensor]:
        """The logits of the complete epochs, and of the running one as far as it is; all processes have to ask."""
        several = self.accelerator.num_processes > 1
        return [*self.epochs, self.accelerator.reduce(self.current, "sum") if several else self.current]

    def restore(self, state: list[torch.Tensor], *, main_process: bool) -> None:
        """Go on from a state."""
        *self.epochs, current = state
        if main_process:  # the others would add it a second time
            self.current.copy_(current)

    def write(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the dynamics artifact: one row group per complete epoch."""
        epochs = [logits.numpy() for logits in self.epochs]
        write_dynamics(epochs, path, self.current.shape[1], metadata)
