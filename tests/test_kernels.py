"""The faster operations on CPU compute what PyTorch's own do."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ftft.compute.kernels import fast_on_cpu


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
