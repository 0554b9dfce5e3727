"""What trainings will be computed on, as far as it is known before they run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ftft.compute import devices
from ftft.jobs import gpus

MB = 1e6


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        gpus: of each model, as in ``config.Resources``; none where it is trained on a CPU.
        mem_mb: main memory that each model's jobs ask for.
        device, cuda_graphs, compile: see ``config.Runtime``.
    """

    gpus: Mapping[str, float] = field(default_factory=dict)
    mem_mb: Mapping[str, int] = field(default_factory=dict)
    device: str = "auto"
    cuda_graphs: bool = True
    compile: str | bool = "auto"

    def device_of(self, model: str) -> torch.device:
        """What a model is trained on: a GPU, or a CPU, as which any other device counts."""
        return torch.device("cuda" if self.device in ("auto", "cuda") and self.gpus.get(model) else "cpu")

    def has_gpu(self, model: str) -> bool:
        """Whether a model is trained on a GPU."""
        return self.device_of(model).type == "cuda"

    def processes(self, model: str) -> int:
        """How many processes train a model: one for each of its GPUs."""
        return max(int(self.gpus.get(model, 0)), 1) if self.has_gpu(model) else 1

    def records_passes(self, model: str, *, checkpointing: bool, quantized: bool) -> bool:
        """Whether the model's training passes are recorded; see ``devices.records_passes``."""
        return devices.records_passes(
            self.device_of(model),
            wanted=self.cuda_graphs,
            compiled=self.compile,
            processes=self.processes(model),
            checkpointing=checkpointing,
            quantized=quantized,
        )

    def bf16(self, model: str) -> bool:
        """Whether the model's device computes in bf16; of a GPU that is not here nothing else is known."""
        if self.has_gpu(model):
            return not torch.cuda.is_available() or devices.computes_bf16("cuda")
        return devices.computes_bf16("cpu")

    def available(self, model: str) -> float | None:
        """MB for a training of the model; None where nothing is known."""
        if not self.has_gpu(model):
            return self.mem_mb.get(model)
        if not torch.cuda.is_available():
            return None
        return gpus.memory_mb(min(self.gpus[model], 1))
