"""Floating-point operations of a model, counted for its real architecture and the real lengths of the batches."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from ftft.compute import polynomial
from ftft.models.decoders import is_decoder

# Batch sizes and lengths of the probes; six of them determine the six coefficients.
_SHAPES = [(batch, length) for batch in (1, 2) for length in (8, 16, 24)]


@dataclass(frozen=True)
class FlopCount:
    """Operations of one forward pass, and of one forward and backward pass, for any rectangle of tokens.

    They follow from the six coefficients of a polynomial (``compute.polynomial``), which come from counting six small
    passes with ``torch.utils.flop_counter`` and are exact for any shape. A multiplication and an addition are two
    operations; element-wise work is not counted, nor is what gradient checkpointing or a fused attention kernel
    computes a second time, so the count is the same on every device.
    """

    forward: np.ndarray
    train: np.ndarray

    @classmethod
    def of(cls, model: PreTrainedModel, width: int | None = None) -> "FlopCount":
        """Count the operations of ``model``, on its own device; its gradients are cleared.

        Args:
            model: a classifier, an encoder or a head.
            width: size of the features that a head takes; None for a model of tokens.
        """
        counts = [_count(model, _probe(model, *shape, width)) for shape in _SHAPES]
        forward, train = polynomial.fitted(_SHAPES, counts).T
        return cls(forward=np.round(forward), train=np.round(train))

    def agrees(self, model: PreTrainedModel) -> bool:
        """Whether it is right about a small evaluation pass of a model of tokens."""
        return self.forward_pass(*_SHAPES[-1]) == _count_forward(model, _probe(model, *_SHAPES[-1], None))

    def forward_pass(self, batch: int, length: int) -> float:
        """Operations of an evaluation pass over ``batch`` sequences padded to ``length`` tokens."""
        return float(self.forward @ polynomial.terms(batch, length))

    def train_pass(self, batch: int, length: int) -> float:
        """Operations of a forward and backward pass over ``batch`` sequences padded to ``length`` tokens."""
        return float(self.train @ polynomial.terms(batch, length))


def _probe(model: PreTrainedModel, batch: int, length: int, width: int | None) -> dict[str, torch.Tensor]:
    if width is not None:
        return {"inputs_embeds": torch.ones(batch, length, width, device=model.device)}
    ids = torch.ones(batch, length, dtype=torch.long, device=model.device)
    if not ids.is_meta:
        return {"input_ids": ids, "attention_mask": ids}
    # Models look into a mask, which has no values on the meta device; without one, nothing is masked either. Only
    # decoders look for several texts in a row then, and not into a mask that says of each token what it sees.
    if is_decoder(model.config):
        return {"input_ids": ids, "attention_mask": torch.ones(batch, 1, length, length, device=model.device)}
    return {"input_ids": ids}


def _count(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> tuple[int, int]:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as train:
        model(**inputs)[0].sum().backward()
    model.zero_grad(set_to_none=True)
    return _count_forward(model, inputs), train.get_total_flops()


def _count_forward(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> int:
    # As plain matrix products: of the fused kernels, those of the CPU are not counted and those of a GPU recompute.
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(**inputs)
    return forward.get_total_flops()
