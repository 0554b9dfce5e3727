"""The forecast of memory: its parts from a model that is really built, and every sentence in full."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv

from ftft.compute import devices, memory
from ftft.core import artifacts
from ftft.core.errors import UserError
from ftft.data.schemas import tokens_schema
from ftft.experiment.config import Training
from ftft.models import adapters, classifier
from ftft.models.lora import Lora
from ftft.results import memory as forecast
from ftft.results import memory_count
from ftft.results.cells import EN_DASH
from ftft.results.forecast import Replay
from ftft.results.machine import Machine
from ftft.results.memory_count import needed
from ftft.results.schemas import MEMORY

LENGTHS = [3, 9, 17]
NO_GPU = Machine(mem_mb={"small": 700})


@pytest.fixture
def source(pretrained_sources):
    return pretrained_sources["bert"]


@pytest.fixture
def job(tmp_path, source):
    """A training of two layers of a BERT on three texts."""
    columns = {"uid": ["x", "y", "z"], "label": [0, 1, 2], "input_ids": [[1] * length for length in LENGTHS]}
    schema = tokens_schema(token_types=False)
    table = pa.table(columns | {"length": LENGTHS}).cast(schema)
    artifacts.write_table(table, tmp_path / "tokens.parquet", schema)
    settings = Training(steps=1, precision="fp32").model_dump()
    training = {"seed": 0, "settings": settings, "budget": 1.0, "tune": "all", "lora": None}
    training |= {"features": None, "hidden_size": None, "labels": 3, "select": None, "kept": 0}
    return {
        "model": "small",
        "source": source,
        "layers": 2,
        "tokens": tmp_path / "tokens.parquet",
        "training": training,
    }


def replay(*shapes):
    return Replay(np.ones(1), 1, np.array(shapes))


def row_of(job, *shapes, machine=NO_GPU):
    return needed({"run": job}, {"run": replay(*shapes)}, machine).to_pylist()[0]


def parameters(source):
    model = classifier.build(source, ["a", "b", "c"], seed=0, layers=2)
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    return weights, sum(buffer.nbytes for buffer in model.buffers())


def test_a_row_has_what_a_training_takes(job, source):
    found = row_of(job, (1, 17), (3, 9), (2, 9))
    weights, buffers = parameters(source)
    assert (found["model"], found["device"], found["precision"]) == ("small", "cpu", "fp32")
    assert (found["batch"], found["length"]) == (3, 9)
    assert found["gradients_mb"] == weights / 1e6
    assert found["moments_mb"] == 2 * weights / 1e6
    assert found["weights_mb"] == (weights + buffers) / 1e6
    # Token ids and types of 29 tokens.
    assert found["other_mb"] == (memory.LIBRARIES + 2 * 4 * sum(LENGTHS)) / 1e6
    with memory.without_values():
        model = classifier.architecture(source, labels=3, layers=2, device="cpu")
        held = memory.Conditions(gpu=False, bf16=False, checkpointing=False).held(model, 3, 9).most
    assert found["activations_mb"] == held * memory.HOLES / 1e6
    parts = ("weights", "gradients", "moments", "activations", "other")
    assert found["total_mb"] == pytest.approx(sum(found[f"{name}_mb"] for name in parts))
    assert (found["available_mb"], found["enough"]) == (700, True)


def test_settings_that_change_it(job):
    plain = row_of(job, (3, 17))
    training, settings = job["training"], job["training"]["settings"]
    settings |= {"optimizer": "sgd", "momentum": 0.0, "gradient_checkpointing": True}
    training["kept"] = 2  # stop rules keep the weights of their best models
    found = row_of(job, (3, 17))
    assert found["moments_mb"] == 0
    assert found["activations_mb"] < plain["activations_mb"]
    assert found["other_mb"] - plain["other_mb"] == pytest.approx(2 * plain["weights_mb"])
    settings |= {"gradient_checkpointing": False, "dropout": 0.0}
    assert row_of(job, (3, 17))["activations_mb"] < plain["activations_mb"]  # no masks


def test_of_an_adapter_only_what_is_trained_has_gradients(job, source, monkeypatch):
    plain = row_of(job, (3, 17))
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["query"], "merge": False, "quantize": None}
    job["training"] |= {"tune": "lora", "lora": lora, "kept": 1}
    found = row_of(job, (3, 17))
    model = classifier.build(source, ["a", "b", "c"], seed=0, layers=2)
    width = model.config.hidden_size
    head = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("classifier", "bert.pooler")))
    trained = 4 * (2 * (2 * width + 2 * width) + head)
    assert found["gradients_mb"] == trained / 1e6
    assert found["moments_mb"] == 2 * trained / 1e6
    assert found["other_mb"] - plain["other_mb"] == pytest.approx(trained / 1e6)  # the best model of a stop rule
    # Beside the frozen head, which PEFT keeps.
    assert found["weights_mb"] - plain["weights_mb"] == pytest.approx(trained / 1e6)
    asked = found["activations_mb"] / memory.HOLES_OF_ADAPTERS
    assert asked < plain["activations_mb"] / memory.HOLES
    monkeypatch.setattr(memory, "HOLES_OF_ADAPTERS", 1.0)
    assert row_of(job, (3, 17))["activations_mb"] == pytest.approx(asked)


def test_an_adapter_begins_with_the_whole_model_in_fp32_and_may_end_with_it(job, source, monkeypatch):
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["query"], "merge": False, "quantize": None}
    job["training"] |= {"tune": "lora", "lora": lora}
    plain = row_of(job, (1, 2))
    adapted = adapters.add(classifier.build(source, ["a", "b", "c"], seed=0, layers=2), Lora.of(lora), seed=0)
    whole = 4 * sum(parameter.numel() for parameter in adapted.parameters()) / 1e6
    job["training"]["lora"] = lora | {"merge": True}
    assert row_of(job, (1, 2))["total_mb"] == pytest.approx(plain["total_mb"] - plain["activations_mb"] + whole)
    # Once it is loaded, its frozen layers take half as much.
    job["training"]["lora"] = lora
    job["training"]["settings"] |= {"precision": "bf16", "optimizer": "sgd", "momentum": 0.0}
    monkeypatch.setattr(devices, "computes_bf16", lambda kind: True)
    monkeypatch.setattr(memory, "HOLES_OF_ADAPTERS", 0.0)
    found = row_of(job, (1, 2))
    assert found["precision"] == "bf16"
    assert found["weights_mb"] < plain["weights_mb"]
    assert found["total_mb"] == pytest.approx(whole + memory.LIBRARIES / 1e6)


def test_frozen_weights_may_be_in_four_bits(job, source):
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": None, "merge": False, "quantize": None}
    job["training"] |= {"tune": "lora", "lora": lora}
    machine = Machine({"small": 1}, {"small": 700}, cuda_graphs=False)
    plain = row_of(job, (3, 17), machine=machine)
    job["training"]["lora"] = lora | {"quantize": "4bit"}
    found = row_of(job, (3, 17), machine=machine)
    model = classifier.build(source, ["a", "b", "c"], seed=0, layers=2)
    layers = [module.weight for module in model.bert.encoder.modules() if isinstance(module, torch.nn.Linear)]
    # Half a byte each, a byte for 64 of them, and 4 for 256 of these; and the values that they stand for.
    rounded = sum(w.numel() / 2 + w.numel() / 64 + 4 * -(-w.numel() // (64 * 256)) + 4 * 273 for w in layers)
    exact = sum(4 * weight.numel() for weight in layers)
    assert plain["weights_mb"] - found["weights_mb"] == pytest.approx((exact - rounded) / 1e6)
    one_unpacked = 4 * max(weight.numel() for weight in layers)
    assert found["activations_mb"] - plain["activations_mb"] == pytest.approx(one_unpacked / 1e6)
    assert found["gradients_mb"] == plain["gradients_mb"]
    # Passes in four bits are not recorded, so nothing is held for that.
    recorded = Machine({"small": 1}, {"small": 700}, cuda_graphs=True)
    assert row_of(job, (3, 17), (2, 9), machine=recorded) == row_of(job, (3, 17), (2, 9), machine=machine)


def test_a_decoder_is_counted_too(job, decoder_sources):
    job["source"] = decoder_sources["llama"]
    found = row_of(job, (3, 17))
    assert found["activations_mb"] > row_of(job, (3, 9))["activations_mb"] > 0


def test_a_model_has_one_row_for_all_its_trainings(job):
    other = {**job, "training": job["training"] | {"seed": 1}}
    probe = {**job, "model": "head", "training": job["training"] | {"tune": "probe"}}
    work = {"one": job, "two": other, "features": {**job, "training": None}, "probe": probe}
    replays = {
        "one": replay((1, 9)),
        "two": replay((2, 17)),
        "features": Replay(np.ones(1), 1),
        "probe": replay((3, 1)),
    }
    (found,) = needed(work, replays, NO_GPU).to_pylist()
    assert (found["batch"], found["length"]) == (2, 17)


def test_a_head_takes_what_its_features_do(job):
    job["training"] |= {"tune": "head", "features": "both", "hidden_size": 8}
    found = row_of(job, (3, 1), machine=Machine({"small": 1}, {"small": 700}))
    width = 2 * 16
    assert found["device"] == "cpu"  # it has no use for a GPU
    assert found["gradients_mb"] == 4 * (width * 8 + 8 + 8 * 3 + 3) / 1e6
    assert found["weights_mb"] == found["gradients_mb"] + 4 * 2 * width / 1e6  # mean and deviation
    assert found["other_mb"] == (memory.LIBRARIES + 2 * 4 * width * 3) / 1e6  # read and put side by side
    assert found["available_mb"] == 700


def test_on_a_gpu_a_second_shape_is_recorded_beside_the_first(job):
    alone, both, plain = (
        row_of(job, *shapes, machine=Machine({"small": 1}, {}, cuda_graphs=cuda_graphs))
        for shapes, cuda_graphs in (([(3, 16)], True), ([(3, 16), (3, 8)], True), ([(3, 16), (3, 8)], False))
    )
    assert plain["other_mb"] == 0
    assert alone["other_mb"] == alone["gradients_mb"]
    second = row_of(job, (3, 8), machine=Machine({"small": 1}, {}))
    assert both["other_mb"] == pytest.approx(both["gradients_mb"] + second["activations_mb"])
    assert (both["available_mb"], both["enough"]) == (None, None)  # no GPU is here
    job["training"]["settings"]["gradient_checkpointing"] = True  # is not recorded
    assert row_of(job, (3, 16), (3, 8), machine=Machine({"small": 1}, {}))["other_mb"] == 0


@pytest.mark.parametrize(("share", "expected"), [(1, 79_300), (0.25, 19_300), (4, 79_300)])
def test_of_a_gpu_there_is_the_share_that_a_job_gets(monkeypatch, share, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000_000_000))
    assert Machine({"small": share}, {"small": 700}).available("small") == expected


@pytest.mark.parametrize(
    ("kind", "there", "expected"), [("cpu", True, False), ("gpu", False, True), ("gpu", True, False)]
)
def test_bf16_is_what_the_device_computes_in(monkeypatch, kind, there, expected):
    """Of a GPU that is not here it is taken for granted."""
    monkeypatch.setattr(devices, "computes_bf16", lambda _: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert Machine({"small": 1 if kind == "gpu" else 0}, {}).bf16("small") is expected


def test_the_largest_of_many_layers_is_told_from_two(job, monkeypatch):
    built = []
    real = memory_count._model
    monkeypatch.setattr(
        memory_count, "_model", lambda job, how, layers=None: (built.append(layers), real(job, how, layers))[1]
    )
    job["layers"] = None  # three
    assert (row_of(job, (2, 40), (3, 9))["batch"], built.count(1), built.count(2)) == (2, 1, 1)


def test_a_model_that_cannot_be_cut_is_counted_as_a_whole(job, monkeypatch):
    """As Funnel, or one with an adapter beside its last layers alone."""
    job["layers"] = None  # three
    plain = row_of(job, (2, 40), (3, 9))

    def refuse(config, layers):
        raise UserError("layers: it cannot be cut to its first layers, leave layers out")

    monkeypatch.setattr(classifier, "truncate", refuse)
    assert row_of(job, (2, 40), (3, 9)) == plain


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["query"]}])
def test_weights_count_as_they_are_loaded_whatever_they_are_published_in(job, tmp_path, source, lora):
    if lora is not None:
        job["training"] |= {"tune": "lora", "lora": lora | {"merge": False, "quantize": None}}
    plain = row_of(job, (3, 9))
    job["source"] = shutil.copytree(source, tmp_path / "bf16")
    config = json.loads((job["source"] / "config.json").read_text())
    (job["source"] / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    assert row_of(job, (3, 9)) == plain


def test_an_architecture_that_cannot_be_counted_has_no_row_and_a_line(job, monkeypatch, caplog):
    def demanding(*_, **__):
        raise RuntimeError("Tensor.item() cannot be called")

    monkeypatch.setattr(classifier, "architecture", demanding)
    table = needed({"run": job}, {"run": replay((3, 9))}, NO_GPU)
    assert (table.num_rows, forecast.as_text(table), forecast.warnings(table)) == (0, "", [])
    assert "small: its memory cannot be counted without its weights: " in caplog.text


def a_row(model, **changes):
    row = {"model": model, "device": "cpu", "precision": "fp32", "batch": 16, "length": 64, "weights_mb": 100.0}
    row |= {"gradients_mb": 100.0, "moments_mb": 200.0, "activations_mb": 3200.0, "other_mb": 550.0, "total_mb": 4150.0}
    return row | {"available_mb": 4000.0, "enough": False} | changes


ROWS = [
    a_row("base"),
    a_row("head", activations_mb=1.0, total_mb=951.0, available_mb=900.0),
    a_row("large", device="gpu", precision="bf16", batch=1, available_mb=None, enough=None),
    a_row("wide", device="gpu", batch=32),
    a_row("fine", available_mb=8000.0, enough=True),
]


def test_a_line_says_what_is_lacking_and_what_to_change():
    assert forecast.warnings(pa.Table.from_pylist(ROWS, MEMORY)) == [
        "base: training it takes about 4,150 MB, and its resources.mem_mb is 4000; set resources.mem_mb: 5000 or "
        "micro_batch_size: 8 or less or gradient_checkpointing: true",
        "head: training it takes about 951 MB, and its resources.mem_mb is 900; set resources.mem_mb: 1200",
        "wide: training it takes about 4,150 MB of a GPU, and its share of the one here is 4,000 MB; set "
        "micro_batch_size: 16 or less or gradient_checkpointing: true or a larger share in resources.gpu, or a "
        "larger GPU",
    ]


def test_the_text_is_aligned_and_ends_with_the_warnings():
    table = pa.Table.from_pylist(ROWS[1:3], MEMORY)
    assert forecast.as_text(table).replace(EN_DASH, "-").splitlines() == [
        "forecast of the memory that a training takes (MB)",
        "",
        "model  on         largest pass  weights  gradients  optimizer  activations  other  in all  there is",
        "head   CPU, fp32       16 x 64      100        100        200            1    550     951       900",
        "large  GPU, bf16        1 x 64      100        100        200        3,200    550   4,150         -",
        "",
        "head: training it takes about 951 MB, and its resources.mem_mb is 900; set resources.mem_mb: 1200",
    ]
    assert forecast.as_text(table.slice(1)).endswith(EN_DASH)


def test_the_tables_say_the_same(tmp_path):
    table = pa.Table.from_pylist(ROWS, MEMORY)
    forecast.write(table, tmp_path / "memory.parquet", tmp_path / "memory.csv")
    nulls = csv.ConvertOptions(column_types=MEMORY, true_values=["true"])
    assert csv.read_csv(tmp_path / "memory.csv", convert_options=nulls).equals(table)
    assert artifacts.read(tmp_path / "memory.parquet", MEMORY).equals(table)
