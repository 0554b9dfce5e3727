"""The faster operations on CPU compute what PyTorch's own do."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftft.compute import kernels
from ftft.compute.kernels import fast_on_cpu, fast_on_cuda


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_with_its_probability_and_keeps_the_mean(dtype, p):
    values = torch.ones(1_000, 1_003, dtype=dtype)
    torch.manual_seed(0)
    with fast_on_cpu():
        dropped = functional.dropout(values, p)
    zero = (dropped == 0).double().mean().item()
    assert zero == pytest.approx(p, abs=4 * (p * (1 - p) / values.numel()) ** 0.5 + 2**-16)
    kept = dropped[dropped != 0].unique()
    assert kept.shape == (1,)
    # bf16 has eight bits; PyTorch's own dropout rounds alike
    assert kept.item() == pytest.approx(1 / (1 - p), rel=4e-3 if dtype == torch.bfloat16 else 1e-4)
    # nothing that one can see in the pattern: neighbours are independent
    mask = (dropped == 0).double()
    for one, other in ((mask[:, 1:], mask[:, :-1]), (mask[1:], mask[:-1])):
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 5e-3


def test_dropout_follows_the_random_state():
    values = torch.rand(50, 50)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        with fast_on_cpu():
            found.append([functional.dropout(values, 0.3), functional.dropout(values, 0.3)])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[2][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_dropout_is_its_mask(dtype):
    values = torch.rand(20, 30, dtype=dtype).add(0.1).requires_grad_()
    with fast_on_cpu():
        dropped = functional.dropout(values, 0.4)
    dropped.sum().backward()
    scale = torch.tensor(2**15 / (2**15 - round(0.4 * 2**15))).to(dtype)
    torch.testing.assert_close(values.grad, (dropped != 0).to(dtype) * scale, atol=0, rtol=0)


def test_dropout_at_its_limits():
    values = torch.rand(5, 5)
    before = torch.get_rng_state()
    with fast_on_cpu():
        assert torch.equal(functional.dropout(values, 0.5, training=False), values)
        assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn
        assert torch.equal(functional.dropout(values, 0.0), values)
        assert torch.equal(functional.dropout(values, 1.0), torch.zeros(5, 5))


def test_masks_are_the_same_when_activations_are_computed_again():
    """Activation checkpointing restores the random state and computes the forward pass a second time."""
    weight = torch.rand(8, 8)
    gradients = []
    for again in (False, True):
        values = torch.ones(4, 8, requires_grad=True)
        torch.manual_seed(3)
        with fast_on_cpu():

            def layer(x):
                return functional.dropout(x @ weight, 0.5).relu()

            (checkpoint(layer, values, use_reentrant=False) if again else layer(values)).sum().backward()
        gradients.append(values.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_the_gradient_of_an_embedding_is_pytorchs(padding_idx):
    indices = torch.randint(0, 9, (2, 6, 7), generator=torch.Generator().manual_seed(0))
    upstream = torch.rand(2, 6, 7, 5)
    gradients = []
    for quick in (False, True):
        layer = torch.nn.Embedding(9, 5, padding_idx=padding_idx)
        for part in range(2):  # gradients of two passes add up
            with fast_on_cpu() if quick else nullcontext():
                output = layer(indices[part])
                (output * upstream[part]).sum().backward()
            assert torch.equal(output, layer.weight[indices[part]])
        gradients.append(layer.weight.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[1].abs().sum() > 0


def test_an_embedding_without_gradient_stays_without():
    layer = torch.nn.Embedding(9, 5)
    with fast_on_cpu(), torch.no_grad():
        assert not layer(torch.tensor([1, 2])).requires_grad
    frozen = layer.requires_grad_(False)
    with fast_on_cpu():
        assert not frozen(torch.tensor([1, 2])).requires_grad
    assert layer.weight.grad is None


def test_looking_up_relative_positions_has_the_gradient_of_gather():
    """Several positions share a place, as distant ones do in DeBERTa, and one place is nobody's."""
    index = torch.tensor([[0, 1, 1, 3], [2, 0, 1, 1], [3, 3, 3, 0]]).expand(5, 3, 4)
    values, weights = torch.randn(5, 3, 6), torch.randn(5, 3, 4)
    gradients = []
    for gather in (kernels._Gather.apply, lambda values, index: torch.gather(values, -1, index)):
        leaf = values.clone().requires_grad_()
        found = gather(leaf, index)
        (found * weights).sum().backward()
        gradients.append((found.detach(), leaf.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_on_a_cpu_gather_is_that_of_pytorch():
    with fast_on_cuda():
        leaf = torch.randn(2, 3, 4, requires_grad=True)
        found = torch.gather(leaf, -1, torch.zeros(1, 3, 2, dtype=torch.int64).expand(2, 3, 2))
    assert type(found.grad_fn).__name__ == "GatherBackward0"


@pytest.fixture(scope="module")
def deberta():
    """Without weights, as on a device that copies nothing from the host."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    relative = {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
    }
    names = {"vocab_size": 20, "type_vocab_size": 0, "pooler_hidden_size": 16, "position_biased_input": False}
    config = AutoConfig.for_model("deberta-v2", **sizes, **relative, **names)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


class CopiesFromTheHost(TorchDispatchMode):
    """Counts what a CUDA graph may not contain."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if str(func).startswith("aten._to_copy") and args[0].device.type == "cpu" and found.device.type == "meta":
            self.count += 1
        return found


def test_a_pass_of_deberta_copies_nothing_from_the_host_once_its_positions_are_known(deberta):
    """Whether it can be recorded as a CUDA graph, as far as a machine without CUDA can tell."""
    batch = {"input_ids": torch.zeros(3, 12, dtype=torch.int64), "attention_mask": torch.ones(3, 12)}
    batch = {name: tensor.to("meta") for name, tensor in batch.items()}
    counts = []
    for context in (nullcontext, fast_on_cuda, fast_on_cuda):
        with CopiesFromTheHost() as copies, context():
            deberta(**batch).logits.sum().backward()
        counts.append(copies.count)
    assert counts[0] == counts[1] == 1
    assert counts[2] == 0


def test_remembered_positions_are_those_of_deberta():
    from transformers.models.deberta_v2 import modeling_deberta_v2 as module

    plain = module.build_relative_position
    for queries, keys in ((5, 5), (40, 40), (3, 7)):
        layers = (torch.zeros(2, queries, 4), torch.zeros(2, keys, 4))
        with fast_on_cuda():
            found = [module.build_relative_position(*layers, bucket_size=8, max_position=64) for _ in range(2)]
        assert found[0] is found[1]
        assert torch.equal(found[0], plain(*layers, bucket_size=8, max_position=64))
    assert module.build_relative_position is plain
