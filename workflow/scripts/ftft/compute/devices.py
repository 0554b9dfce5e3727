"""Which device a job computes on, and how."""

import ctypes
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from transformers import PreTrainedModel

from ftft.compute.batching import bucket, padded
from ftft.compute.cost import peak_memory_mb
from ftft.core.errors import UserError

log = logging.getLogger(__name__)

# cuBLAS is deterministic only with a workspace of fixed size; it reads this when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def accelerator(
    device: str = "auto",
    precision: str = "bf16",
    *,
    threads: int | None = None,
    tracker: str | None = None,
    tracker_folder: Path | None = None,
) -> Accelerator:
    """Set PyTorch up for one job: device, precision, threads and deterministic kernels.

    Args:
        device: ``auto`` (CUDA, then Apple's MPS, then CPU), ``cpu``, ``cuda`` or ``mps``.
        precision: ``bf16`` mixed precision where the device computes in it, else ``fp32``.
        threads: number of CPU threads; results on CPU are the same to the byte for the same number.
        tracker: name of an experiment tracker that accelerate knows, or None.
        tracker_folder: where a tracker that writes files puts them.

    Raises:
        UserError: the device or the tracker is not there.
    """
    kind = _kind(device)
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if kind == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: what of the work is left in fp32
        # cuDNN's attention plans for every shape that it has not met, 30 ms each way on an H200, and passes have many.
        torch.backends.cuda.enable_cudnn_sdp(False)
    mixed = "bf16" if precision == "bf16" and computes_bf16(kind) else "no"
    # oneDNN keeps something for every new shape, and what is freed around it cannot join. In fp32 PyTorch leaves only
    # GELU to it, where it is no faster; in bf16 it multiplies matrices.
    torch.backends.mkldnn.set_flags(kind != "cpu" or mixed == "bf16")
    if tracker and tracker not in {str(available) for available in get_available_trackers()}:
        raise UserError(f"runtime.tracker is {tracker}, which is not installed: pip install {tracker}, or leave it out")
    AcceleratorState._reset_state()  # another run in this process may have had another precision
    return Accelerator(mixed_precision=mixed, cpu=kind == "cpu", log_with=tracker, project_dir=tracker_folder)


def _kind(device: str) -> str:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(kind for kind, there in available.items() if there)
    if not available[device]:
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise UserError(f"runtime.device is {device}, but PyTorch finds none here; allowed: auto, {there}")
    return device


def computes_bf16(kind: str) -> bool:
    """Whether a kind of device (``cuda``, ``cpu``, ``mps``) computes in bf16 rather than emulating it."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":  # without these instructions bf16 is emulated and slower than fp32
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def varies(device: torch.device) -> bool:
    """Whether a device has operations that give other bits each time unless they are told not to."""
    return device.type == "cuda"


@contextmanager
def exact(*, wanted: bool) -> Iterator[None]:
    """Within it, no operation of PyTorch may give other bits each time: one that can do no better raises RuntimeError.

    Outside, such an operation does as it does. Attention is one that can do better, but only where it has to.
    """
    torch.use_deterministic_algorithms(True, warn_only=not wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)


def precision(accelerator: Accelerator) -> str:
    """What is computed in, whatever was asked for: ``bf16`` or ``fp32``."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "fp32"


def name(device: torch.device) -> str:
    """What the device calls itself, for the cost table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def peak_mb(device: torch.device) -> float:
    """MB that this process has held at most: of the GPU's memory, or on any other device of main memory."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_memory_mb()


def attention(device: torch.device) -> str | None:
    """The fastest attention implementation on a device; None leaves the choice to transformers (SDPA where it can)."""
    # On CPU, plain bf16 matrix products beat the fused kernel at every length up to 300.
    return "eager" if device.type == "cpu" else None


def tokens_per_pass(device: torch.device, *, train: bool) -> int | None:
    """Padded tokens in one forward pass at most (see ``micro_batches``); None where nothing limits them."""
    if device.type == "cpu":  # what fits into its caches: a third faster on texts of mixed length
        return 2_048
    # For an accelerator a pass cannot be too large, only its memory too small; training fits its passes to that.
    return None if train else 65_536


def give_back_memory(device: torch.device) -> None:
    """Return what was freed on a CPU to the system.

    Passes of ever other sizes leave holes that no later tensor fits into, and glibc keeps them: a run would grow to
    several times what it uses.
    """
    if device.type == "cpu" and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none
        if trim:
            trim(0)


def positions(length: int, device: torch.device, *, longest: int, limit: int | None, fixed: bool = False) -> int:
    """To how many positions the texts of a training pass are padded.

    Args:
        length: tokens of the longest of the pass.
        device: Tensor Cores of CUDA devices like multiples of eight.
        longest: tokens of the longest text of all.
        limit: positions that the model has; None if any number will do.
        fixed: whether passes come in few lengths, to be recorded.
    """
    multiple_of = 8 if device.type == "cuda" else 1
    wanted = min(bucket(length), padded(longest, multiple_of)) if fixed else padded(length, multiple_of)
    return wanted if limit is None else min(wanted, limit)


def records_passes(
    device: torch.device,
    *,
    wanted: bool,
    compiled: str | bool,
    processes: int,
    checkpointing: bool,
    quantized: bool,
) -> bool:
    """Whether training passes are recorded (``compute.graphs``), as only CUDA devices can.

    Args:
        device: that computes them.
        wanted: False: they are not.
        compiled: True: they are compiled instead; see ``compiled``.
        processes: several exchange their gradients, which move.
        checkpointing: whether layers are computed twice in a pass.
        quantized: whether the model has weights in four bits, whose operations are another library's.
    """
    possible = device.type == "cuda" and processes == 1 and not checkpointing and not quantized
    return wanted and possible and compiled is not True


# Compiling takes one to two minutes, as long as many a small run.
COMPILE_FROM_STEPS = 5_000


def compiled(model: PreTrainedModel, *, steps: int, wanted: bool | str) -> Callable[..., Any]:
    """The model's training pass: compiled once for all lengths, or as it is.

    Args:
        model: on its device.
        steps: of the run that has to repay the compilation.
        wanted: True or False; ``auto`` for compilation on CUDA from ``COMPILE_FROM_STEPS`` on. On CPU a compiled pass
            is slower than one with ``compute.kernels`` (see docs/performance.md).
    """
    if wanted == "auto":
        wanted = model.device.type == "cuda" and steps >= COMPILE_FROM_STEPS
    if wanted or model.device.type != "cpu":
        log.info("%s; runtime.compile changes that", "compiling the training pass" if wanted else "not compiling")
    if not wanted:
        return model
    torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is, with a warning
    return torch.compile(model, dynamic=True)


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Let layers keep their inputs alone, and be computed again in the backward pass.

    Raises:
        UserError: the architecture has no layers that can.
    """
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"training.gradient_checkpointing is true, but transformers has none for {model.config.model_type}: leave "
            "it out, and set training.micro_batch_size lower to save memory"
        )
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:  # its name in transformers 5.17
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def to_device(batch: dict[str, np.ndarray], device: torch.device) -> dict[str, torch.Tensor]:
    """Copy the arrays of a batch to a device; on CUDA from pinned memory, so that nobody waits for the copy."""
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if device.type == "cuda":
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}
    return {name: tensor.to(device) for name, tensor in tensors.items()}
