"""What PyTorch computes slowly, computed faster: the same mathematics, from the same random state.

A profile of fine-tuning a small model on CPU shows a quarter of the time in drawing dropout masks, and a tenth in
filling matrices with zeros. Inside ``with fast_on_cpu():`` two functions of ``torch.nn.functional`` are replaced:

- ``dropout`` draws sixteen random bits per element instead of a number of its own for each;
- ``embedding`` adds its gradient to the rows it belongs to, instead of to a new matrix of zeros as large as the
  vocabulary.

Inside ``with fast_on_cuda():`` two functions that DeBERTa uses for relative positions are replaced:

- ``torch.gather``, with which it looks them up: its gradient is a sort of all numbers where it has to be the same each
  time, and else adds them up in 16 bits;
- ``build_relative_position``: the same table for all passes of a length, but a pass that makes it copies numbers from
  the host, which a CUDA graph may not.

Tensors on other devices go through PyTorch's own operations.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, lru_cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

# PyTorch's own, for all that is not replaced.
_dropout, _embedding, _gather = functional.dropout, functional.embedding, torch.gather


@contextmanager
def fast_on_cpu() -> Iterator[None]:
    """Replace the functions for the block; a forward pass and its backward pass both belong inside."""
    with mock.patch.multiple(functional, dropout=dropout, embedding=embedding):
        yield


def fast_on(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """What replaces functions on a device for the time of a block."""
    contexts: dict[str, Callable[[], AbstractContextManager[None]]] = {"cpu": fast_on_cpu, "cuda": fast_on_cuda}
    return contexts.get(device.type, nullcontext)


_DEBERTA = "transformers.models.deberta_v2.modeling_deberta_v2"


@contextmanager
def fast_on_cuda() -> Iterator[None]:
    """Replace the functions for the block; a forward pass and its backward pass both belong inside."""
    with ExitStack() as replaced:
        replaced.enter_context(mock.patch.object(torch, "gather", gather))
        if module := sys.modules.get(_DEBERTA):
            table = _remembered(module.build_relative_position)
            replaced.enter_context(mock.patch.object(module, "build_relative_position", table))
        yield


def dropout(
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> torch.Tensor:
    """Like ``functional.dropout``; the probability is rounded to a multiple of 2^-15."""
    dropped = round(p * _LEVELS)
    if input.device.type != "cpu" or not training or inplace or not 0 < dropped < _LEVELS:
        return _dropout(input, p, training, inplace)
    return _Scale.apply(input, dropout_scale(input.shape, input.dtype, dropped))


# Random numbers have so many values: sixteen bits, less the one that makes room for a difference.
_LEVELS = 2**15


def dropout_scale(shape: torch.Size, dtype: torch.dtype, dropped: int) -> torch.Tensor:
    """What each element is multiplied by: 0 for ``dropped`` in 2^15 of them, else what keeps the mean."""
    # The seed comes from PyTorch, so that whatever restores its random state repeats the mask.
    generator = np.random.SFC64(int(torch.randint(2**62, ())))
    count = shape.numel()
    bits = torch.from_numpy(generator.random_raw(-(-count // 4)).view(np.int16)[:count]).view(shape)
    # All bits of ``keep`` are set where the random number, now from -2^14 to 2^14 - 1, is at or above the bound.
    keep = bits.bitwise_right_shift_(1).sub_(dropped - _LEVELS // 2).bitwise_right_shift_(15).bitwise_not_()
    scale = torch.tensor(_LEVELS / (_LEVELS - dropped), dtype=dtype)
    if dtype.itemsize == 2:  # the number itself where all bits are set, 0 where none is: cheaper than converting
        return keep.bitwise_and_(scale.view(torch.int16)).view(dtype)
    return keep.to(dtype).mul_(-scale)


class _Scale(torch.autograd.Function):
    """``values * scale`` without a gradient for ``scale``."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scale)
        return values * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (scale,) = ctx.saved_tensors
        return gradient * scale, None


def embedding(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    """Like ``functional.embedding``; the gradient goes straight into ``weight.grad``."""
    trained = weight.is_leaf and weight.requires_grad and torch.is_grad_enabled()
    if weight.device.type != "cpu" or not trained or max_norm is not None or scale_grad_by_freq or sparse:
        return _embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    return _Embedding.apply(weight, input, padding_idx)


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, indices: torch.Tensor, padding_idx: int | None) -> torch.Tensor:
        ctx.weight, ctx.indices, ctx.padding_idx = weight, indices, padding_idx
        return _embedding(indices, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None, None]:
        weight, indices = ctx.weight, ctx.indices.flatten()
        rows = gradient.reshape(len(indices), -1)
        if ctx.padding_idx is not None:
            used = indices != ctx.padding_idx
            indices, rows = indices[used], rows[used]
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, indices, rows)
        return None, None, None


def gather(
    input: torch.Tensor,  # noqa: A002
    dim: int,
    index: torch.Tensor,
    *,
    sparse_grad: bool = False,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Like ``torch.gather``; where all examples share an index, the gradient is a product of matrices."""
    shared = index.ndim == 3 and dim in (-1, 2) and index.stride(0) == 0 and input.shape[:2] == index.shape[:2]
    if input.device.type != "cuda" or not shared or sparse_grad or out is not None:
        return _gather(input, dim, index, sparse_grad=sparse_grad, out=out)
    return _Gather.apply(input, index)


class _Gather(torch.autograd.Function):
    """(N, I, K) values at the (N, I, J) places of an index that is the same for all N."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index[0])
        ctx.places = values.shape[-1]
        return _gather(values, -1, index)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (index,) = ctx.saved_tensors
        places = torch.arange(ctx.places, device=index.device)
        looked_up = (index.unsqueeze(-1) == places).to(gradient.dtype)  # (I, J, K)
        return torch.bmm(gradient.transpose(0, 1), looked_up).transpose(0, 1), None


@cache
def _remembered(build: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """DeBERTa's function for the table of relative positions, which makes each table once."""

    @lru_cache(maxsize=128)
    def table(queries: int, keys: int, bucket_size: int, max_position: int, device: torch.device) -> torch.Tensor:
        empty = (torch.empty(length, 0, device=device) for length in (queries, keys))
        return build(*empty, bucket_size=bucket_size, max_position=max_position)

    def remembered(
        query_layer: torch.Tensor, key_layer: torch.Tensor, bucket_size: int = -1, max_position: int = -1
    ) -> torch.Tensor:
        return table(query_layer.size(-2), key_layer.size(-2), bucket_size, max_position, query_layer.device)

    return remembered
