"""Recorded training passes, with recordings that are pretended: a replay computes the pass on what was copied in."""

import logging
from types import SimpleNamespace

import pytest
import torch

from ftft.compute import graphs


def compute_with(weight: torch.nn.Parameter):
    def compute(batch):
        logits = batch["x"] * weight + torch.rand(len(batch["x"]))
        logits.sum().backward()
        return logits.detach().sum(), logits.detach()

    return compute


def pretended(compute, batch, pool):
    """As ``graphs.record``: it warms up, keeps where its inputs and outputs are, and computes when it is replayed."""
    for _ in range(graphs.WARM_UP):
        compute(batch)
    loss, logits = torch.zeros(()), torch.zeros_like(batch["x"])

    def replay():
        for place, value in zip((loss, logits), compute(batch), strict=True):
            place.copy_(value)

    return graphs.Recording(SimpleNamespace(replay=replay), batch, (loss, logits))


@pytest.fixture
def weight():
    return torch.nn.Parameter(torch.tensor(2.0))


def test_a_recorded_pass_computes_what_an_eager_one_does(monkeypatch, weight):
    monkeypatch.setattr(graphs, "record", pretended)
    other = torch.nn.Parameter(weight.detach().clone())
    recorded, eager = graphs.Recorded(compute_with(weight), [weight]), graphs.Eager(compute_with(other))
    for seed, values in enumerate(([1.0, 2.0], [3.0, 4.0], [5.0, 6.0, 7.0], [8.0, 9.0])):
        batch = {"x": torch.tensor(values)}
        for found, expected in zip(recorded(batch, seed), eager(batch, seed), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.testing.assert_close(weight.grad, other.grad, rtol=0, atol=0)  # without what warming up added
    assert len(recorded.recordings) == 2  # one for each shape
    recorded.forget()
    assert not recorded.recordings


def test_what_cannot_be_recorded_is_computed_as_it_is_and_reported_once(monkeypatch, weight, caplog):
    def refused(compute, batch, pool):
        compute(batch)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", refused)
    recorded = graphs.Recorded(compute_with(weight), [weight])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            recorded({"x": torch.tensor([1.0, 2.0])}, 0)
    assert weight.grad == 6.0  # of two passes
    assert [record.message for record in caplog.records] == [
        "a pass cannot be recorded as a CUDA graph and is launched as it is: operation not permitted when stream is "
        "capturing"
    ]


def test_out_of_memory_while_recording_is_for_the_caller(monkeypatch, weight):
    def full(compute, batch, pool):
        compute(batch)
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(graphs, "record", full)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.Recorded(compute_with(weight), [weight])({"x": torch.tensor([1.0])}, 0)
    assert weight.grad == 0.0
