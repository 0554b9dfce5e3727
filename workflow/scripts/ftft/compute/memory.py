"""Memory that a training takes, counted for its real architecture without making a tensor.

A pass is run on tensors that have a shape, a type and a storage, but no values (PyTorch's ``FakeTensorMode``), and each
storage is noted when it appears and when nothing refers to it any more. So what is counted is what PyTorch would ask
for, operation by operation. Not seen is what an operation takes inside itself, and what an allocator keeps beyond it.

Autocast does not act on the ``meta`` device, but on fake tensors of a CPU it does, its bf16 copies of the weights
included. There is no fake tensor of a GPU in a PyTorch that was built without one; of a GPU's pass the few functions
that keep or compute something else there are put in the place of the CPU's (``_as_on_gpu``).
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from ftft.compute import devices, kernels, polynomial

# Batch sizes and lengths of the probes. One example alone may be laid out in another way.
_SHAPES = [(batch, length) for batch in (2, 3) for length in (8, 16, 24)]

# What the training of a model with next to no weights holds on a CPU, in bytes: benchmarks/memory.py measures it.
LIBRARIES = 550_000_000

# What a pass holds on a CPU for each byte that it asks for, measured there too. glibc gives back the place of a tensor
# that is freed in the middle of a pass to smaller ones alone. An adapter makes and frees three more for each layer.
HOLES, HOLES_OF_ADAPTERS = 1.5, 2.0

MOMENTS = {"adamw": 2, "sgd": 1}  # numbers that the optimizer keeps for each that it changes


class Held(NamedTuple):
    """Bytes that a pass holds beside the model, its gradients and its inputs.

    Attributes:
        kept: between forward and backward pass: what autograd has saved.
        most: at the worst moment, intermediate results included.
    """

    kept: int
    most: int


@dataclass(frozen=True)
class Conditions:
    """How passes are computed.

    Attributes:
        gpu: on a GPU, else on a CPU.
        bf16: in bf16 mixed precision, else in fp32.
        checkpointing: whether layers keep their inputs alone, and are computed again.
    """

    gpu: bool
    bf16: bool
    checkpointing: bool

    def held(self, model: PreTrainedModel, batch: int, length: int, width: int | None = None) -> Held:
        """What a forward and a backward pass over ``batch`` sequences of ``length`` tokens holds.

        Args:
            model: of ``without_values``, within which this has to be called too.
            batch, length: the shape.
            width: size of the features that a head takes; None for a model of tokens.
        """
        device = torch.device("cuda" if self.gpu else "cpu")
        if attention := devices.attention(device):
            model.set_attn_implementation(attention)
        if self.checkpointing and width is None:
            devices.checkpoint_activations(model)
        model.train()
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)  # it is there from the first step on
        inputs = _inputs(batch, length, width)
        present = [*model.parameters(), *model.buffers(), *inputs.values()]
        present += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        with (_as_on_gpu if self.gpu else _as_on_cpu)(), _Live(present) as live:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = model(**inputs).logits.float().sum()
            kept = live.now - loss.nbytes
            loss.backward()
        return Held(kept, live.most)


@contextmanager
def without_values() -> Iterator[None]:
    """Within it tensors have shapes and no values; a model of any size is made at once and takes no memory."""
    with FakeTensorMode(), no_init_weights(), mock.patch.object(nn.Module, "_apply", _converted):
        yield


def built_outside(build: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """A model of ``without_values`` from what cannot build one there: ``build`` gives it on the ``meta`` device."""
    with unset_fake_temporarily():
        model = build()
    _converted(model, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
    return model


def _converted(module: nn.Module, convert: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
    """``Module.to`` and the like for tensors without values, whose contents PyTorch cannot exchange."""
    for each in module.modules() if recurse else [module]:
        with torch.no_grad():
            for name, parameter in list(each.named_parameters(recurse=False)):
                setattr(each, name, nn.Parameter(convert(parameter), parameter.requires_grad))
            for name, buffer in list(each.named_buffers(recurse=False)):
                setattr(each, name, convert(buffer))
    return module


@dataclass(frozen=True)
class KeptCount:
    """What autograd keeps of a pass, for any rectangle of tokens, in bytes.

    Like the operations (``compute.flops``) they follow from a polynomial (``compute.polynomial``).
    """

    bytes: np.ndarray

    @classmethod
    def of(cls, model: PreTrainedModel, how: Conditions, width: int | None = None) -> "KeptCount":
        """Count the passes of a model of ``without_values``; the arguments are those of ``Conditions.held``."""
        return cls(polynomial.fitted(_SHAPES, [how.held(model, *shape, width).kept for shape in _SHAPES]))

    def deeper(self, two: "KeptCount", layers: int) -> "KeptCount":
        """Of so many layers, where this one is of one layer and ``two`` of two alike."""
        return KeptCount(self.bytes + (layers - 1) * (two.bytes - self.bytes))

    def of_pass(self, batch: int, length: int) -> int:
        """Bytes kept of a pass over ``batch`` sequences padded to ``length`` tokens."""
        return round(float(self.bytes @ polynomial.terms(batch, length)))


def weights(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def trained_weights(model: torch.nn.Module) -> int:
    """Bytes of the parameters that are trained; their gradients are as large."""
    return sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)


def moments(optimizer: str, momentum: float) -> int:
    """How many times the gradients' size an optimizer (``adamw`` or ``sgd``) keeps."""
    return 0 if optimizer == "sgd" and not momentum else MOMENTS[optimizer]


def _inputs(batch: int, length: int, width: int | None) -> dict[str, torch.Tensor]:
    if width is not None:
        return {"inputs_embeds": torch.ones(batch, length, width)}
    return {name: torch.ones(batch, length, dtype=torch.long) for name in ("input_ids", "attention_mask")}


class _Live(TorchDispatchMode):
    """Follows the bytes of all storages that operations make, beyond those of the tensors ``present`` before."""

    def __init__(self, present: list[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in present}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor):
                self._note(each.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return
        self._known.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self._known.remove(place)
        self.now -= size


@contextmanager
def _as_on_cpu() -> Iterator[None]:
    """The CPU's own kernels, but for what looks at values: random bits, and which tokens are padding."""

    def embedding(input: torch.Tensor, weight: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:  # noqa: A002
        return kernels.embedding(input, weight)

    with (
        mock.patch.multiple(functional, dropout=kernels.dropout, embedding=embedding),
        mock.patch.object(kernels, "dropout_scale", lambda shape, dtype, _: torch.empty(shape, dtype=dtype)),
    ):
        yield


@contextmanager
def _as_on_gpu() -> Iterator[None]:
    """What CUDA does in another way than a CPU.

    Dropout keeps a mask of one byte per number; attention, where a model leaves it to PyTorch, keeps its inputs and its
    result but no scores; and autocast computes softmax and layer normalisation in fp32.
    """
    replaced: Any = {
        "dropout": _dropout,
        "scaled_dot_product_attention": _attention,
        "softmax": _in_fp32(functional.softmax),
        "layer_norm": _in_fp32(functional.layer_norm),
    }
    with mock.patch.multiple(functional, **replaced):
        yield


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:  # noqa: A002, ARG001
    if not training or not p:
        return input
    dropped: torch.Tensor = torch.ops.aten.native_dropout(input, p, True)[0]
    return dropped


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    **_: Any,
) -> torch.Tensor:
    """The kernel that PyTorch takes where texts are padded: the only fused one that knows masks, cuDNN's being off."""
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype).expand(*query.shape[:3], key.shape[2])
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    found: torch.Tensor = attend(query, key, value, attn_mask, True, dropout_p)[0]
    return found


def _in_fp32(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function of ``torch.nn.functional`` as CUDA's autocast calls it."""

    def called(input: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: A002
        return function(input.float() if torch.is_autocast_enabled("cpu") else input, *args, **kwargs)

    return called
