"""Heads on frozen features: their mathematics and their training, against plain PyTorch."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import runs
import torch
from accelerate.state import AcceleratorState
from conftest import FAMILIES
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline

from ftft.compute.batching import epoch_batches
from ftft.compute.schemas import features_schema
from ftft.core import artifacts
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.dynamics.artifact import read_dynamics
from ftft.experiment.config import HEAD
from ftft.models import classifier, heads
from ftft.training import loop

LABELS = ["bad", "good", "middling"]
N, WIDTH, SEED, EPOCHS = 50, 16, 4, 3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Features of 50 examples that a head can learn, one of them without spread."""
    folder = tmp_path_factory.mktemp("features")
    generator = np.random.default_rng(1)
    for name, rows in (("train", N), ("dev", 20)):
        labels = np.arange(rows) % len(LABELS)
        values = generator.normal(3.0, 2.0, (rows, 2 * WIDTH)).astype(np.float32)
        values[np.arange(rows), labels] += 12
        values[:, 5] = 7.0
        schema = features_schema(WIDTH)
        columns = [pa.array([f"{name}{row}" for row in range(rows)]), pa.array(labels, pa.int16())]
        for part in (values[:, :WIDTH], values[:, WIDTH:]):
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), type=schema.field("first").type))
        artifacts.write_table(pa.table(columns, schema=schema), folder / f"{name}.parquet", schema)
    return folder


def settings(tune: str = "head", *, features: str = "both", hidden_size: int = 8, **changes) -> dict:
    wanted = HEAD | {"epochs": EPOCHS, "batch_size": 16, "dropout": 0.0} | changes
    return runs.settings(LABELS, [IN_DISTRIBUTION], wanted, tune=tune, features=features, hidden_size=hidden_size)


def train(prepared, source, folder, cfg):
    AcceleratorState._reset_state(reset_partial_state=True)
    data = {"train": prepared / "train.parquet", "dev": {IN_DISTRIBUTION: prepared / "dev.parquet"}}
    files = runs.files(folder, source=source, **data)
    loop.train(cfg, files, seed=SEED, runtime=runs.ON_CPU, threads=1)
    return folder


def read(prepared, name):
    table = pq.read_table(prepared / f"{name}.parquet")
    values = np.concatenate([np.stack(table[column].to_numpy()) for column in ("first", "mean")], axis=1)
    return torch.from_numpy(values), torch.from_numpy(table["label"].to_numpy().astype(np.int64))


@pytest.mark.parametrize("hidden_size", [8, 0])
def test_the_dynamics_of_a_head_are_those_of_a_plain_loop(prepared, pretrained_sources, tmp_path, hidden_size):
    """Standardise, Linear, ReLU, Linear, trained with PyTorch's AdamW and a linear decay of the rate."""
    train(prepared, pretrained_sources["bert"], tmp_path, settings(hidden_size=hidden_size))
    features, labels = read(prepared, "train")
    deviation = features.double().std(dim=0, correction=0)
    features = (features - features.double().mean(dim=0)).float() / torch.where(deviation > 0, deviation, 1.0).float()

    torch.manual_seed(SEED)
    layers = [nn.Linear(2 * WIDTH, 8), nn.ReLU(), nn.Linear(8, 3)] if hidden_size else [nn.Linear(2 * WIDTH, 3)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=HEAD["learning_rate"], eps=1e-6, weight_decay=0.0)
    steps, step, dynamics = EPOCHS * 4, 0, torch.zeros(EPOCHS, N, 3)
    for epoch in range(EPOCHS):
        for rows in epoch_batches(np.arange(N), np.ones(N, np.int64), batch_size=16, window=50, seed=SEED, epoch=epoch):
            optimizer.param_groups[0]["lr"] = HEAD["learning_rate"] * (1 - step / steps)
            logits = model(features[rows])
            dynamics[epoch, rows] = logits.detach()
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, labels[rows]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
    found = read_dynamics(tmp_path / "dynamics.parquet", N)
    np.testing.assert_allclose(found, dynamics.numpy(), atol=1e-5)


def test_the_cost_of_a_head_is_that_of_its_products(prepared, pretrained_sources, tmp_path):
    train(prepared, pretrained_sources["bert"], tmp_path, settings())
    model = nn.Sequential(nn.Linear(2 * WIDTH, 8), nn.ReLU(), nn.Linear(8, 3))
    expected = 0
    for batch in [16, 16, 16, 2] * EPOCHS:
        with FlopCounterMode(display=False) as counter:
            model(torch.ones(batch, 2 * WIDTH)).sum().backward()
        expected += counter.get_total_flops()
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().set_index("stage")
    assert cost.loc["train", "flops"] == expected
    assert cost.loc["train", ["steps", "examples"]].tolist() == [4 * EPOCHS, N * EPOCHS]


def test_a_saved_head_computes_what_it_did(prepared, pretrained_sources, tmp_path):
    train(prepared, pretrained_sources["bert"], tmp_path, settings(epochs=30, learning_rate=1e-2))
    head = heads.Head.from_pretrained(tmp_path / "models/final").eval()
    assert head.config.id2label == dict(enumerate(LABELS))
    assert (head.config.features, head.config.input_size) == ("both", 2 * WIDTH)
    features, labels = read(prepared, "dev")
    with torch.no_grad():
        right = head(inputs_embeds=features[:, None]).logits.argmax(1) == labels
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    last = curve[(curve["step"] == curve["step"].max()) & (curve["metric"] == "accuracy")]["value"].item()
    assert right.float().mean().item() == pytest.approx(last)
    assert last > 0.8
    assert "A head on frozen features with the labels" in (tmp_path / "models/final/README.md").read_text()


def test_the_features_that_are_asked_for_are_read(prepared, pretrained_sources, tmp_path):
    train(prepared, pretrained_sources["bert"], tmp_path, settings(features="mean"))
    saved = load_file(tmp_path / "models/final/model.safetensors")
    features, _ = read(prepared, "train")
    torch.testing.assert_close(saved["mean"], features[:, WIDTH:].mean(dim=0))
    assert json.loads((tmp_path / "models/final/config.json").read_text())["features"] == "mean"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_probe_on_features_computes_what_the_classifier_does_on_texts(pretrained_sources, saved, family):
    source = pretrained_sources[family]
    whole = classifier.build(source, LABELS, seed=2).eval()
    ids = AutoTokenizer.from_pretrained(source)("the tall nurse saw a farmer", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = whole(input_ids=ids).logits
        states = AutoModel.from_pretrained(saved[family]).eval()(input_ids=ids).last_hidden_state
        own = heads.features_of(AutoConfig.from_pretrained(source))
        features = {"first": states[:, 0], "mean": states.mean(dim=1)}[own]
        found = heads.probe(whole)(inputs_embeds=features[:, None]).logits
    torch.testing.assert_close(found, expected)


def test_an_architecture_that_takes_the_mean_over_tokens_gets_it(pretrained_sources):
    config = AutoConfig.from_pretrained(pretrained_sources["modernbert"])
    config.classifier_pooling = "mean"
    assert heads.features_of(config) == "mean"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_probe_is_a_classifier_with_the_pretrained_encoder(
    prepared, pretrained_sources, saved, tmp_path, family
):
    source = pretrained_sources[family]
    new = classifier.build(source, LABELS, seed=SEED).state_dict()
    train(prepared, source, tmp_path, settings("probe", learning_rate=1e-2))
    folder = tmp_path / "models/final"
    found = load_file(folder / "model.safetensors")
    changed = {name for name, value in found.items() if not torch.equal(value, new[name])}
    assert changed
    before = AutoModel.from_pretrained(saved[family]).state_dict()
    encoder = {name for name in before if "pooler" not in name}
    assert not {name for name in changed if name.split(".", 1)[1] in encoder}
    assert pipeline("text-classification", model=str(folder))("the nurse")[0]["label"] in LABELS
    # Main models start from it.
    started = classifier.build(source, LABELS, seed=SEED + 1, dropout=0.3, start=folder)
    assert all(torch.equal(value, found[name]) for name, value in started.state_dict().items() if name in found)
    assert any(isinstance(module, nn.Dropout) and module.p == 0.3 for module in started.modules())
