"""Passes over a dataset where memory does not suffice for them, with memory that is only pretended to be full."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from ftft.compute import devices
from ftft.compute.batching import TokenizedDataset
from ftft.compute.cost import Stage
from ftft.compute.prediction import passes, predict
from ftft.core.errors import UserError


@pytest.fixture
def data():
    lengths = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
    return TokenizedDataset(
        uids=pa.chunked_array([[str(row) for row in range(len(lengths))]]),
        labels=np.zeros(len(lengths), np.int64),
        lengths=lengths,
        starts=np.cumsum(lengths) - lengths,
        ids=np.arange(lengths.sum(), dtype=np.int32),
        types=None,
    )


@pytest.fixture
def accelerator():
    return devices.accelerator("cpu", "fp32", threads=1)


def first_tokens(data, accelerator, room, stage):
    """The first token of every text, with room for so many positions in a pass."""
    found = np.full(len(data), -1)

    def compute(rows, batch):
        if batch["input_ids"].numel() > room:
            raise torch.OutOfMemoryError("pretended")
        found[rows] = batch["input_ids"][:, 0].numpy()

    passes(compute, data, accelerator, pad_id=0, stage=stage)
    return found


def test_a_pass_that_does_not_fit_is_computed_in_parts(data, accelerator, caplog):
    stage, whole = Stage(), Stage()
    assert first_tokens(data, accelerator, 1_000, whole).tolist() == data.starts.tolist()
    assert not caplog.records
    assert first_tokens(data, accelerator, 20, stage).tolist() == data.starts.tolist()
    assert {record.getMessage().split(";")[0] for record in caplog.records} > {
        "out of memory with 11 examples in a forward pass"
    }
    assert (stage.examples, stage.tokens) == (whole.examples, whole.tokens) == (11, data.lengths.sum())
    assert stage.tokens_padded < whole.tokens_padded  # parts are padded less; what failed is not counted


def test_a_device_without_room_for_one_example_is_named(data, accelerator):
    with pytest.raises(UserError, match=r"out of memory on cpu .* with one example in a forward pass: .*max_length"):
        first_tokens(data, accelerator, 8, Stage())


def test_a_model_is_trained_on_as_before_where_its_predictions_are_broken_off(data, accelerator):
    class Model(torch.nn.Module):
        config = SimpleNamespace(num_labels=2)

    def asked_to_stop():
        raise KeyboardInterrupt

    model = Model().train()
    with pytest.raises(KeyboardInterrupt):
        predict(model, data, accelerator, pad_id=0, before_each=asked_to_stop)
    assert model.training
