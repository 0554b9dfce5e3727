"""From gradients to weights, and from logits to the loss, by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftft.experiment.config import Training
from ftft.training import passes
from ftft.training.settings import Optimization
from ftft.training.update import Update

CPU: Any = SimpleNamespace(device=torch.device("cpu"), num_processes=1)


def updated(**changes: Any) -> torch.nn.Linear:
    """A layer with weights (1, 1) and bias 1, after a step of size 0.1 along the gradients (3, 0) and 4."""
    layer: Any = torch.nn.Linear(2, 1)
    for parameter, gradient in zip(layer.parameters(), ([[3.0, 0.0]], [4.0]), strict=True):
        parameter.data.fill_(1)
        parameter.grad = torch.tensor(gradient)
    settings = {"steps": 1, "optimizer": "sgd", "momentum": 0.0, "max_grad_norm": 0.0}
    Update(layer, Optimization(**Training(**(settings | changes)).model_dump()), CPU, in_place=False).apply(0.1)
    return layer


@pytest.mark.parametrize(
    ("changes", "weights", "bias"),
    [
        ({}, [0.7, 1.0], 0.6),
        ({"max_grad_norm": 1.0}, [0.94, 1.0], 0.92),  # the norm is 5
        ({"max_grad_norm": 10.0}, [0.7, 1.0], 0.6),
        ({"weight_decay": 0.5}, [0.65, 0.95], 0.6),  # not of the bias
    ],
)
def test_weights_move_against_their_gradients_which_are_gone_then(changes, weights, bias):
    layer = updated(**changes)
    torch.testing.assert_close(layer.weight.data, torch.tensor([weights]))
    assert layer.bias.item() == pytest.approx(bias)
    assert not any(parameter.grad.any() for parameter in layer.parameters())


def test_the_loss_is_a_part_of_the_mean_over_the_batch_and_rows_that_fill_up_count_nothing():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]))
    batch = {"rows": torch.tensor([2, 0, 0]), "labels": torch.tensor([0, 1, passes.NO_LABEL]), "of": torch.tensor(4.0)}
    assert passes.loss(logits, batch, None).item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 4)
    # By the expert, the first example's classes are 3 to 1, and nothing is said of the second.
    expert = torch.log(torch.tensor([[0.5, 0.5], [1.0, 1e-6], [0.75, 0.25]]))
    assert passes.loss(logits, batch, expert).item() == pytest.approx(-(math.log(0.75) + math.log(0.8)) / 4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_room_for_the_optimizer_is_made_first_and_changes_nothing(optimizer):
    """Where passes are recorded; a recording keeps memory that nothing else can use."""
    told = Optimization(**Training(steps=1, optimizer=optimizer, weight_decay=0.1).model_dump())
    updates = []
    for in_place in (False, True):
        torch.manual_seed(0)
        layer: Any = torch.nn.Linear(5, 3)
        updates.append(Update(layer, told, CPU, in_place=in_place))
        assert bool(updates[-1].optimizer.state) is in_place
    for number in range(3):
        for update in updates:
            (update.model(torch.full((2, 5), 1.0 + number)) ** 2).sum().backward()
            update.apply(0.1)
    for one, other in zip(*(update.model.parameters() for update in updates), strict=True):
        assert torch.equal(one, other)
