"""Operations for any shape equal those counted for that shape, and those worked out on paper."""

import pytest
import torch
from conftest import FAMILIES
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ftft.compute.flops import FlopCount
from ftft.models.classifier import build

LABELS = ["a", "b", "c"]
SHAPES = [(3, 7), (5, 33), (1, 64), (16, 1)]


def counted(model: torch.nn.Module, batch: int, length: int) -> tuple[int, int]:
    """Forward, and forward and backward, over a batch with padding, counted by PyTorch."""
    ids = torch.randint(model.config.vocab_size, (batch, length))
    mask = (torch.arange(length) < torch.linspace(1, length, batch).round()[:, None]).long()
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as train:
            model(input_ids=ids, attention_mask=mask).logits.sum().backward()
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            model.eval()(input_ids=ids, attention_mask=mask)
    model.train()
    return forward.get_total_flops(), train.get_total_flops()


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_for_any_shape(sources, family):
    model = build(sources[family], LABELS, seed=0, attention="eager").train()
    flops = FlopCount.of(model)
    for batch, length in SHAPES:
        found = (flops.forward_pass(batch, length), flops.train_pass(batch, length))
        assert found == counted(model, batch, length)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "deberta-v2"])
def test_same_for_every_implementation_of_attention(sources, family):
    """DeBERTa has one only."""
    eager, fused = (FlopCount.of(build(sources[family], LABELS, seed=0, attention=name)) for name in ("eager", "sdpa"))
    for batch, length in SHAPES:
        assert fused.forward_pass(batch, length) == eager.forward_pass(batch, length)
        assert fused.train_pass(batch, length) == eager.train_pass(batch, length)


@pytest.mark.parametrize(("batch", "length"), SHAPES)
def test_bert_by_hand(sources, batch, length):
    """Two operations per weight and token; attention multiplies L·L scores with d values twice in each layer."""
    flops = FlopCount.of(build(sources["bert"], LABELS, seed=0))
    layers, hidden, inner = 3, 16, 24
    per_token = 2 * layers * (4 * hidden**2 + 2 * hidden * inner)
    attention = layers * 2 * (2 * length**2 * hidden)
    head = 2 * (hidden**2 + hidden * len(LABELS))  # pooler and classifier see one token
    forward = batch * (per_token * length + attention + head)
    assert flops.forward_pass(batch, length) == forward
    # Backward: the gradients of both factors of each product. Embeddings are look-ups and cost none.
    assert flops.train_pass(batch, length) == 3 * forward


def test_no_gradients_are_left_behind(sources):
    model = build(sources["bert"], LABELS, seed=0)
    FlopCount.of(model)
    assert all(parameter.grad is None for parameter in model.parameters())
