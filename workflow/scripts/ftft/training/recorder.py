"""Recording training dynamics: the logits of every example in every epoch, from the training forward pass itself."""

from pathlib import Path
from typing import Protocol

import torch

from ftft.dynamics.artifact import write_dynamics


class Processes(Protocol):
    """The processes of a training, for which an ``Accelerator`` stands in the workflow."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        ...

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        """Combine a tensor of each process into a new one, which all of them get; ``reduction`` is ``sum``."""
        ...


class DynamicsRecorder:
    """Keeps the logits of the running epoch on the device, by row, and those of complete epochs in main memory.

    Args:
        rows: number of examples N.
        labels: number of classes C.
        processes: say where to keep the logits, and add up those of all.
    """

    def __init__(self, rows: int, labels: int, processes: Processes) -> None:
        self.processes = processes
        self.epochs: list[torch.Tensor] = []
        self.current = torch.zeros(rows, labels, device=processes.device)

    def record(self, rows: torch.Tensor, logits: torch.Tensor) -> None:
        """Store the logits (B, C) of the examples ``rows`` (B,); nothing waits for the device."""
        self.current[rows] = logits.detach().float()

    def end_epoch(self) -> None:
        """Close the epoch. One that is never closed is incomplete and is not written."""
        self.epochs.append(self.processes.reduce(self.current, "sum").cpu())
        self.current.zero_()

    def state(self) -> list[torch.Tensor]:
        """The logits of the complete epochs, and of the running one as far as it is; all processes have to ask."""
        return [*self.epochs, self.processes.reduce(self.current, "sum")]

    def restore(self, state: list[torch.Tensor], *, main_process: bool) -> None:
        """Go on from a state."""
        *self.epochs, current = state
        if main_process:  # the others would add it a second time
            self.current.copy_(current)

    def write(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the dynamics artifact: one row group per complete epoch."""
        epochs = [logits.numpy() for logits in self.epochs]
        write_dynamics(epochs, path, self.current.shape[1], metadata)
