"""Recorded training passes, with recordings that are pretended: a replay computes the pass on what was copied in."""

import logging
from contextlib import contextmanager
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
        "passes cannot be recorded as CUDA graphs and are launched as they are: operation not permitted when stream is "
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


def test_after_one_refusal_no_other_shape_is_tried(monkeypatch, weight):
    tried = []

    def refused(compute, batch, pool):
        tried.append(len(batch["x"]))
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", refused)
    recorded = graphs.Recorded(compute_with(weight), [weight])
    for size in (1, 2, 3):
        recorded({"x": torch.ones(size)}, 0)
    assert tried == [1]
    assert weight.grad == 6.0
    recorded.forget()
    recorded({"x": torch.ones(4)}, 0)
    assert tried == [1, 4]


class Streams:
    """CUDA's streams and recordings, pretended: which stream is current, and who waits for whom."""

    def __init__(self, monkeypatch):
        self.current, self.waits = "main", []
        for name, value in {
            "current_device": lambda: 0,
            "current_stream": lambda: SimpleNamespace(wait_stream=lambda other: self.waits.append(("main", other))),
            "stream": self.on,
            "graph": self.graph,
            "CUDAGraph": SimpleNamespace,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        side = SimpleNamespace(wait_stream=lambda other: self.waits.append(("side", other)))
        monkeypatch.setattr(graphs, "_side_stream", lambda device: side)

    @contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph, pool, stream):
        """As PyTorch's: where ending the recording fails, the stream is not given back."""
        self.current = stream
        yield
        raise RuntimeError("operation failed due to a previous error during capture")


def test_a_warm_up_that_fails_is_waited_for(monkeypatch):
    streams = Streams(monkeypatch)

    def full(batch):
        raise torch.OutOfMemoryError("pretended")

    with pytest.raises(torch.OutOfMemoryError):
        graphs.record(full, {})
    assert [who for who, _ in streams.waits] == ["side", "main"]
    assert streams.current == "main"


def test_a_recording_that_fails_gives_the_stream_back(monkeypatch):
    streams = Streams(monkeypatch)
    with pytest.raises(RuntimeError, match="during capture"):
        graphs.record(lambda batch: (None, None), {})
    assert streams.current == "main"
