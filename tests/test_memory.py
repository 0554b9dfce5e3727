"""Memory of passes: what autograd really saves, what PyTorch really asks for, and small models worked out on paper."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from conftest import FAMILIES
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from ftft.compute import kernels, memory
from ftft.compute.memory import Conditions, KeptCount
from ftft.models.classifier import architecture, build

LABELS = ["a", "b", "c"]
SHAPES = [(3, 7), (5, 33), (16, 12)]
CPU, CPU_BF16 = (
    Conditions(gpu=False, bf16=False, checkpointing=False),
    Conditions(gpu=False, bf16=True, checkpointing=False),
)


def saved(model: torch.nn.Module, batch: int, length: int, *, bf16: bool) -> int:
    """Bytes of all that autograd saves in a real pass, parameters, buffers and inputs excluded."""
    ids = torch.randint(5, model.config.vocab_size, (batch, length))
    inputs = {"input_ids": ids, "attention_mask": (torch.arange(length) < 5).long().expand(batch, -1).contiguous()}
    present = {
        tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), *inputs.values())
    }
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in present:
            found[storage.data_ptr()] = storage  # kept, or another one would take its place
        return tensor

    with (
        mock.patch.object(functional, "dropout", kernels.dropout),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        model(**inputs)
    return sum(storage.nbytes() for storage in found.values())


IN_FP32 = [(family, False) for family in FAMILIES]
IN_BF16 = [(family, True) for family in ("bert", "deberta-v2")]  # the copies of the weights are kept too


@pytest.mark.parametrize(("family", "bf16"), IN_FP32 + IN_BF16)
def test_what_is_kept_is_what_autograd_saves(sources, family, bf16):
    real = build(sources[family], LABELS, seed=0, attention="eager").train()
    with memory.without_values():
        count = KeptCount.of(architecture(sources[family], labels=3, device="cpu"), CPU_BF16 if bf16 else CPU)
    for shape in SHAPES:
        assert count.of_pass(*shape) == saved(real, *shape, bf16=bf16)


class Small(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

    def set_attn_implementation(self, name):
        pass

    def forward(self, inputs_embeds):
        return SimpleNamespace(logits=self.second(functional.gelu(self.first(inputs_embeds))))


def test_two_layers_by_hand():
    with memory.without_values():
        fp32, bf16 = (KeptCount.of(Small(), how, width=4) for how in (CPU, CPU_BF16))
    # What GELU takes and what it gives, six numbers each for a token.
    assert fp32.of_pass(5, 7) == 5 * 7 * (6 + 6) * 4
    # And copies of the four inputs, and of the weights through which a gradient goes back: not of the first.
    assert bf16.of_pass(5, 7) == 5 * 7 * (4 + 6 + 6) * 2 + 6 * 2 * 2


def test_weights_gradients_and_moments_by_hand():
    model = Small()
    model.register_buffer("scale", torch.ones(3))
    numbers = 4 * 6 + 6 + 6 * 2 + 2
    assert (memory.weights(model), memory.trained_weights(model)) == (4 * (numbers + 3), 4 * numbers)
    model.first.requires_grad_(False)
    assert memory.trained_weights(model) == 4 * (6 * 2 + 2)
    assert [memory.moments(*each) for each in (("adamw", 0.0), ("sgd", 0.9), ("sgd", 0.0))] == [2, 1, 0]


def asked_for(model: torch.nn.Module, batch: int, length: int) -> int:
    """The most bytes that PyTorch's allocator has given out in a real pass, by its own account."""
    inputs = {name: torch.ones(batch, length, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    model(**inputs).logits.sum().backward()  # the gradients are there
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        model(**inputs).logits.sum().backward()
    now = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_the_most_is_what_pytorch_asks_for(sources, family):
    real = build(sources[family], LABELS, seed=0, attention="eager", dropout=0.0).train()
    with memory.without_values():
        model = architecture(sources[family], labels=3, dropout=0.0, device="cpu")
        found = CPU.held(model, 6, 40)
    assert found.most == pytest.approx(asked_for(real, 6, 40), rel=0.02)
    assert found.most > found.kept


def test_layers_that_are_computed_again_keep_their_inputs_alone(sources):
    with memory.without_values():
        again = KeptCount.of(
            architecture(sources["bert"], labels=3, dropout=0.0, device="cpu"), Conditions(False, False, True)
        )
        kept = KeptCount.of(architecture(sources["bert"], labels=3, dropout=0.0, device="cpu"), CPU)
    assert again.of_pass(8, 60) < kept.of_pass(8, 60) / 4


def test_attention_on_a_gpu_keeps_no_scores(sources):
    """But once in each layer the mask, for all heads, in the numbers that it is added to."""
    config = architecture(sources["bert"], labels=3).config
    with memory.without_values():
        on_gpu = KeptCount.of(architecture(sources["bert"], labels=3, device="cpu"), Conditions(True, False, False))
        on_cpu = KeptCount.of(architecture(sources["bert"], labels=3, device="cpu"), CPU)
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    assert on_gpu.bytes[5] == pytest.approx(4 * layers)  # bytes per example and pair of tokens
    # Softmax, dropout's factors, and their product.
    assert on_cpu.bytes[5] == pytest.approx(3 * 4 * layers * heads)


def test_on_a_gpu_dropout_keeps_a_byte_per_number_and_softmax_is_in_fp32():
    class Dropped(Small):
        def forward(self, inputs_embeds):
            hidden = functional.softmax(self.first(inputs_embeds), dim=-1)
            return SimpleNamespace(logits=self.second(functional.dropout(hidden, 0.5, self.training)))

    with memory.without_values():
        on_gpu = KeptCount.of(Dropped(), Conditions(True, True, False), width=4)
    # Of a token: the input in bf16; softmax in fp32; the mask; the second layer's input in bf16, as its weights.
    assert on_gpu.of_pass(5, 7) == 5 * 7 * (4 * 2 + 6 * 4 + 6 + 6 * 2) + 6 * 2 * 2


def test_deeper_models_are_told_from_one_and_two_layers(sources):
    with memory.without_values():
        one, two, three = (
            KeptCount.of(architecture(sources["bert"], labels=3, layers=layers, device="cpu"), CPU)
            for layers in (1, 2, 3)
        )
    for shape in SHAPES:
        assert one.deeper(two, 3).of_pass(*shape) == three.of_pass(*shape)
