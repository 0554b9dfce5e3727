"""What PyTorch computes slowly on a CPU, computed faster: the same mathematics, from the same random state.

A profile of fine-tuning a small model on CPU shows a quarter of the time in drawing dropout masks, and a tenth in
filling matrices with zeros. Inside ``with fast_on_cpu():`` two functions of ``torch.nn.functional`` are replaced:

- ``dropout`` draws sixteen random bits per element instead of a number of its own for each;
- ``embedding`` adds its gradient to the rows it belongs to, instead of to a new matrix of zeros as large as the
  vocabulary.

Tensors on other devices go through PyTorch's own operations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

# PyTorch's own, for all that is not replaced.
_dropout, _embedding = functional.dropout, functional.embedding


@contextmanager
def fast_on_cpu() -> Iterator[None]:
    """Replace the functions for the block; a forward pass and its backward pass both belong inside."""
    with mock.patch.multiple(functional, dropout=dropout, embedding=embedding):
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
    return _Scale.apply(input, _dropout_scale(input.shape, input.dtype, dropped))


# Random numbers have so many values: sixteen bits, less the one that makes room for a difference.
_LEVELS = 2**15


def _dropout_scale(shape: torch.Size, dtype: torch.dtype, dropped: int) -> torch.Tensor:
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
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
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
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        weight, indices = ctx.weight, ctx.indices.flatten()
        rows = gradient.reshape(len(indices), -1)
        if ctx.padding_idx is not None:
            used = indices != ctx.padding_idx
            indices, rows = indices[used], rows[used]
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, indices, rows)
        return None, None, None
