"""Operations for any shape equal those counted for that shape, and those worked out on paper."""

import pytest
import torch
from conftest import DECODERS, FAMILIES
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ftft.compute.flops import FlopCount
from ftft.models.classifier import architecture, build

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


@pytest.mark.parametrize("family", FAMILIES + DECODERS)
def test_exact_for_any_shape(sources, decoder_sources, family):
    model = build((sources | decoder_sources)[family], LABELS, seed=0, attention="eager").train()
    flops = FlopCount.of(model)
    for batch, length in SHAPES:
        found = (flops.forward_pass(batch, length), flops.train_pass(batch, length))
        assert found == counted(model, batch, length)


@pytest.mark.parametrize("family", sorted({*FAMILIES, *DECODERS} - {"deberta-v2", "gemma2"}))
def test_same_for_every_implementation_of_attention(sources, decoder_sources, family):
    """DeBERTa and Gemma 2 have one only."""
    source = (sources | decoder_sources)[family]
    eager, fused = (FlopCount.of(build(source, LABELS, seed=0, attention=name)) for name in ("eager", "sdpa"))
    for batch, length in SHAPES:
        assert fused.forward_pass(batch, length) == eager.forward_pass(batch, length)
        assert fused.train_pass(batch, length) == eager.train_pass(batch, length)


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_is_counted_without_memory_for_its_weights(decoder_sources, family):
    source = decoder_sources[family]
    counts = [FlopCount.of(architecture(source, labels=3)), FlopCount.of(build(source, LABELS, seed=0))]
    for batch, length in SHAPES:
        assert counts[0].forward_pass(batch, length) == counts[1].forward_pass(batch, length)
        assert counts[0].train_pass(batch, length) == counts[1].train_pass(batch, length)


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
