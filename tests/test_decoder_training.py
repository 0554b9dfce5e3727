"""Runs of decoders: their dynamics and costs, interruptions, features, and what a pipeline says of a saved one."""

import json
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import runs
import torch
from accelerate.state import AcceleratorState
from conftest import DECODERS
from test_decoders import saved
from transformers import AutoModel, AutoTokenizer, pipeline

from ftft.compute import features
from ftft.compute.batching import TokenizedDataset, epoch_batches
from ftft.compute.flops import FlopCount
from ftft.core import artifacts
from ftft.core.errors import InterruptedRunError
from ftft.data import tokens
from ftft.data.schemas import IN_DISTRIBUTION, data_schema
from ftft.evaluation.evaluate import evaluate
from ftft.models import classifier, heads, pretrained
from ftft.training import loop
from ftft.training.run import Run

LABELS = ["negative", "positive"]
ROWS = {"train": 40, "dev": 12}
TRAINING = {"batch_size": 16, "epochs": 2, "learning_rate": 3e-3, "precision": "fp32", "max_length": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Texts of several lengths; one ends in the token that ends texts."""
    folder, generator = tmp_path_factory.mktemp("data"), random.Random(0)
    for name, rows in ROWS.items():
        labels = [row % 2 for row in range(rows)]
        words = [generator.choices(["it", "was"], k=row % 9) for row in range(rows)]
        texts = [" ".join([("bad", "good")[label], *more]) for label, more in zip(labels, words, strict=True)]
        texts[3] += "<|endoftext|>"
        columns = {"uid": [f"{name}{row:02d}" for row in range(rows)], "text_a": texts}
        table = pa.table(columns | {"label": pa.array(labels, pa.int16())})
        names = {"labels": json.dumps(LABELS)}
        artifacts.write_table(table, folder / f"{name}.parquet", data_schema(pairs=False), names)
    return folder


def prepare(folder: Path, data: Path, source: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a run."""
    pretrained.prepare(source, folder / "source", data / "train.parquet")
    for name in ROWS:
        inputs = (data / f"{name}.parquet", folder / "source/tokenizer.json", folder / "source/source.json")
        tokens.tokenize(*inputs, folder / f"tokens-{name}.parquet", 32)
    dev = {IN_DISTRIBUTION: folder / "tokens-dev.parquet"}
    return {"source": folder / "source", "train": folder / "tokens-train.parquet", "dev": dev}


def train(folder: Path, inputs: dict[str, Any], seed: int = 0) -> Path:
    AcceleratorState._reset_state(reset_partial_state=True)
    cfg = runs.settings(LABELS, [IN_DISTRIBUTION], TRAINING)
    runtime = replace(runs.ON_CPU, checkpoint_minutes=0.0)
    loop.train(cfg, runs.files(folder, **inputs), seed=seed, runtime=runtime, threads=1)
    return folder


@pytest.mark.parametrize("family", DECODERS)
def test_a_run_from_texts_to_predictions(tmp_path, data, scratch, family):
    """Dynamics of each example once in an epoch, operations as they are counted, predictions as a pipeline's."""
    inputs = prepare(tmp_path, data, {"scratch": scratch(family)})
    folder = train(tmp_path / "run", inputs)
    found = pq.ParquetFile(folder / "dynamics.parquet")
    assert [found.read_row_group(epoch).num_rows for epoch in range(found.num_row_groups)] == [ROWS["train"]] * 2
    assert np.isfinite(np.concatenate(found.read()["logits"].to_numpy())).all()

    counted = FlopCount.of(classifier.build(inputs["source"], LABELS, seed=0))
    lengths = TokenizedDataset.read(inputs["train"]).lengths
    batches = [
        batch
        for epoch in range(2)
        for batch in epoch_batches(np.arange(len(lengths)), lengths, batch_size=16, window=50, seed=0, epoch=epoch)
    ]
    cost = pq.read_table(folder / "cost.parquet").to_pandas().set_index("stage").loc["train"]
    assert cost["flops"] == sum(counted.train_pass(len(batch), lengths[batch].max()) for batch in batches)

    dev = {IN_DISTRIBUTION: inputs["dev"][IN_DISTRIBUTION]}
    evaluate(
        folder / "models/final", inputs["source"], dev, {IN_DISTRIBUTION: tmp_path / "predictions.parquet"},
        tmp_path / "scores.parquet", curve=folder / "metrics.parquet", trained="final",
        splits={IN_DISTRIBUTION: "dev"}, precision="fp32", device="cpu", threads=1,
    )  # fmt: skip
    logits = torch.tensor(pq.read_table(tmp_path / "predictions.parquet")["logits"].to_pylist())
    texts = pq.read_table(data / "dev.parquet")["text_a"].to_pylist()
    texts[3] = texts[3].removesuffix("<|endoftext|>")  # a pipeline takes it for padding
    model = str(folder / "models/final")
    classify = pipeline("text-classification", model=model, device="cpu", top_k=None, batch_size=5)
    said = [[scores["score"] for scores in sorted(each, key=lambda entry: entry["label"])] for each in classify(texts)]
    others = [row for row in range(len(texts)) if row != 3]
    torch.testing.assert_close(torch.tensor(said)[others], logits.softmax(1)[others], atol=1e-5, rtol=1e-5)


def test_a_run_of_a_decoder_that_was_interrupted_ends_in_the_same_bytes(tmp_path, data, scratch, monkeypatch):
    inputs = prepare(tmp_path, data, {"scratch": scratch("llama") | {"layers": 2}})
    whole = train(tmp_path / "whole", inputs)
    advance = Run.advance

    def asked_to_stop(run: Run) -> None:
        advance(run)
        if run.state.step == 4:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Run, "advance", asked_to_stop)
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "parts", inputs)
    monkeypatch.undo()
    parts = train(tmp_path / "parts", inputs)
    assert runs.results(parts) == runs.results(whole)


@pytest.mark.parametrize("family", DECODERS)
def test_features_are_those_of_the_last_token(tmp_path, data, decoder_sources, family):
    """And the model's own head, trained on them, computes of them what the classifier does of the text."""
    weights = saved(tmp_path / "lm", decoder_sources[family])
    inputs = prepare(tmp_path, data, {"path": str(weights)})
    features.embed(
        inputs["source"], {"train": inputs["train"]}, {"train": tmp_path / "f.parquet"}, tmp_path / "cost.parquet",
        layers=2, precision="fp32", device="cpu", threads=1,
    )  # fmt: skip
    found = torch.tensor(pq.read_table(tmp_path / "f.parquet")["first"].to_pylist())
    encoded = pq.read_table(inputs["train"])["input_ids"].to_pylist()
    config = classifier.read_config(inputs["source"], 2)
    encoder = AutoModel.from_pretrained(weights, config=config, dtype=torch.float32).eval()
    whole = classifier.build(inputs["source"], LABELS, seed=2, layers=2).eval()
    with torch.no_grad():
        states = torch.stack([encoder(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in encoded])
        expected = torch.cat([whole(input_ids=torch.tensor([ids])).logits for ids in encoded])
        assert heads.features_of(config) == "first"
        logits = heads.probe(whole)(inputs_embeds=found[:, None]).logits
    torch.testing.assert_close(found, states, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(inputs["source"]).padding_side == "right"
