"""Training passes that are recorded once for each shape and then launched as a whole: CUDA graphs.

A pass of a small model is hundreds of kernels that each take less time than their launch. Recorded, they are one
launch. A recording is of one shape and one place in memory, so passes come in few shapes (``batching.fixed_rows`` and
``devices.positions``), and their inputs are copied to where the recording reads them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch

from ftft.core.errors import reason

log = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]
# Computes loss and logits of a batch, and adds to the gradients.
Compute = Callable[[Tensors], tuple[torch.Tensor, torch.Tensor]]

WARM_UP = 3  # passes in which libraries allocate and choose what they need, as PyTorch advises


class Passes(Protocol):
    """Forward and backward passes with a random state of their own."""

    def __call__(self, batch: Tensors, seed: int) -> tuple[torch.Tensor, torch.Tensor]: ...

    def forget(self) -> None: ...


@dataclass
class Eager:
    """Passes whose kernels are launched one by one."""

    compute: Compute

    def __call__(self, batch: Tensors, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and logits of a batch, whose dropout masks follow from ``seed``; adds to the gradients."""
        torch.manual_seed(seed)
        return self.compute(batch)

    def forget(self) -> None:
        """Give back what is kept for later passes: nothing."""


@dataclass(frozen=True)
class Recording:
    """A recorded pass.

    Attributes:
        graph: with a method ``replay``.
        batch: where it reads its inputs.
        found: where it leaves loss and logits.
        pool: the memory of everything in between.
    """

    graph: Any
    batch: Tensors
    found: tuple[torch.Tensor, torch.Tensor]
    pool: Any = None


class Recorded:
    """Passes that are recorded at the first batch of each shape; the gradients have to stay where they are.

    Args:
        compute: the pass; it may not depend on values, only on shapes.
        parameters: what it adds gradients to.
    """

    def __init__(self, compute: Compute, parameters: list[torch.nn.Parameter]) -> None:
        self.compute, self.parameters = compute, parameters
        self.recordings: dict[tuple[Any, ...], Recording] = {}
        self.eager = Eager(compute)
        self.pool: Any = None  # memory of all recordings, of which only one runs at a time
        self.refused = False  # True after a failure: no other shape is tried, since each trial keeps memory

    def __call__(self, batch: Tensors, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``Eager``; the result is overwritten by the next pass."""
        shape = tuple((name, *batch[name].shape) for name in sorted(batch))
        if shape not in self.recordings and not self.refused:
            self._record(shape, batch)
        recording = self.recordings.get(shape)
        if recording is None:
            return self.eager(batch, seed)
        for name, tensor in batch.items():
            recording.batch[name].copy_(tensor, non_blocking=True)
        torch.manual_seed(seed)  # a recording draws from the state in which it is launched
        recording.graph.replay()
        return recording.found

    def forget(self) -> None:
        """Give the memory of all recordings back."""
        self.recordings.clear()
        self.pool, self.refused = None, False  # what comes is computed in another way

    def _record(self, shape: tuple[Any, ...], batch: Tensors) -> None:
        """Record a pass of this shape, if that is possible, leaving the gradients as they were."""
        before = [None if each.grad is None else each.grad.clone() for each in self.parameters]
        try:
            recording = record(self.compute, {name: tensor.clone() for name, tensor in batch.items()}, self.pool)
            self.recordings[shape], self.pool = recording, recording.pool
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as failure:
            self.refused = True
            log.warning("passes cannot be recorded as CUDA graphs and are launched as they are: %s", reason(failure))
        finally:
            for parameter, gradient in zip(self.parameters, before, strict=True):
                if parameter.grad is not None:
                    parameter.grad.zero_() if gradient is None else parameter.grad.copy_(gradient)


def record(compute: Compute, batch: Tensors, pool: Any = None) -> Recording:
    """Record a pass on the current CUDA device, in the memory of another recording if ``pool`` is that one's.

    Only one recording runs at a time, and nothing of a pass is used after it but what it leaves in ``found``.
    """
    side = _side_stream(torch.cuda.current_device())
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                compute(batch)
    finally:  # whoever clears the gradients next must not meet a pass that still adds to them
        torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # The inner one does not give the stream back where recording fails.
    with torch.cuda.stream(side), torch.cuda.graph(graph, pool=pool, stream=side):
        found = compute(batch)
    return Recording(graph, batch, found, graph.pool())


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """Where passes of a device are recorded: one for all, since cuBLAS keeps memory for each that it has met."""
    return torch.cuda.Stream(device)
