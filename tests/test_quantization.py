"""Frozen weights in four bits: what is computed, counted, saved and loaded, against plain PyTorch and arithmetic."""

import importlib
import json
from pathlib import Path

import bitsandbytes
import numpy as np
import pyarrow.parquet as pq
import pytest
import runs
import torch
from accelerate.state import AcceleratorState
from transformers import AutoConfig, AutoModel, AutoTokenizer, BitsAndBytesConfig, pipeline

from ftft.compute import memory
from ftft.compute.batching import TokenizedDataset
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount
from ftft.core import artifacts
from ftft.core.errors import InterruptedRunError, UserError
from ftft.data import tokens
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.evaluation.evaluate import evaluate
from ftft.models import adapters, classifier, pretrained, quantization
from ftft.models.lora import Lora
from ftft.training import loop
from ftft.training.run import Run

FAMILIES = ("bert", "deberta-v2", "gpt2", "llama")
LABELS = ["class0", "class1", "class2"]
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": None, "merge": False, "quantize": "4bit"}
N, SEED = 120, 3
# NF4's values, as the paper's appendix E has them.
LEVELS = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
CHECK = quantization.check  # as it is, before the fixture below replaces it


@pytest.fixture(autouse=True)
def _anywhere(monkeypatch):
    """Let four bits be computed on this machine's CPU, by the library's plain operations whatever the CPU can."""
    monkeypatch.setattr(quantization, "check", lambda device: None)
    monkeypatch.setattr(importlib.import_module("bitsandbytes.nn.modules"), "has_avx512bf16", lambda: False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, sources, decoder_sources):
    """Sources of each family, with weights so large that what a model says depends on the text."""
    folder = tmp_path_factory.mktemp("prepared")
    every = sources | decoder_sources
    for family in FAMILIES:
        torch.manual_seed(11)
        model = AutoModel.from_config(AutoConfig.from_pretrained(every[family]))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(8 if parameter.ndim > 1 else 1)
        model.save_pretrained(folder / "weights" / family)
        AutoTokenizer.from_pretrained(every[family]).save_pretrained(folder / "weights" / family)
        pretrained.prepare({"path": str(folder / "weights" / family)}, folder / family)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="module")
def examples(train_data, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    texts = artifacts.read_table(train_data)
    for family, source in prepared.items():
        artifacts.write_table(texts.slice(0, N), folder / "texts.parquet", texts.schema, texts.schema.metadata)
        inputs = (folder / "texts.parquet", source / "tokenizer.json", source / "source.json")
        tokens.tokenize(*inputs, folder / f"{family}.parquet", max_length=32)
    return {family: folder / f"{family}.parquet" for family in prepared}


def settings(**training):
    wanted = {"batch_size": 16, "epochs": 1, "learning_rate": 1e-2, "precision": "fp32", "max_length": 32} | training
    return runs.settings(LABELS, [IN_DISTRIBUTION], wanted, tune="lora", lora=LORA, layers=2)


@pytest.fixture
def begun(examples, prepared, tmp_path):
    def begun(cfg, family, folder=tmp_path / "begun"):
        AcceleratorState._reset_state(reset_partial_state=True)
        of = {"source": prepared[family], "train": examples[family], "dev": {IN_DISTRIBUTION: examples[family]}}
        return Run(cfg, runs.files(folder, **of), SEED, runs.ON_CPU, 1, "begun")

    return begun


@pytest.fixture
def train(examples, prepared):
    def train(folder, cfg=None, family="llama"):
        AcceleratorState._reset_state(reset_partial_state=True)
        of = {"source": prepared[family], "train": examples[family], "dev": {IN_DISTRIBUTION: examples[family]}}
        loop.train(cfg or settings(), runs.files(folder, **of), seed=SEED, runtime=runs.ON_CPU, threads=1)
        return folder

    return train


def adapted(source: Path, four_bits: torch.dtype | None = torch.float32):
    model = classifier.build(source, LABELS, seed=SEED, layers=2, dropout=0.0, four_bits=four_bits)
    return adapters.add(model, Lora.of(LORA), seed=SEED)


def in_four_bits(model) -> dict[str, torch.Tensor]:
    """Name and weights, unpacked, of each layer in four bits."""
    unpack = bitsandbytes.functional.dequantize_4bit
    return {
        name.replace(".base_layer", ""): unpack(module.weight, module.weight.quant_state)
        for name, module in model.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }


def by_hand(weights: torch.Tensor) -> torch.Tensor:
    """Weights rounded to NF4 in blocks of 64, whose scales are exact here."""
    flat = weights.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % 64)).view(-1, 64)
    scales = blocks.abs().amax(1, keepdim=True)
    levels = torch.tensor(LEVELS)
    nearest = (blocks / scales).unsqueeze(2).sub(levels).abs().argmin(2)
    return (levels[nearest] * scales).flatten()[: len(flat)].view_as(weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_of_the_encoder_are_rounded_and_nothing_else(prepared, family):
    whole, model = adapted(prepared[family], None), adapted(prepared[family])
    rounded = in_four_bits(model)
    exact = dict(whole.named_modules())
    assert len(rounded) == len(list(adapters.frozen_layers(whole))) >= 8
    for name, weights in rounded.items():
        original = exact[name].base_layer.weight.detach()
        original = original.T if family == "gpt2" else original  # which holds its matrices the other way round
        # Scales in eight bits differ by less than a hundredth of the largest.
        torch.testing.assert_close(weights, by_hand(original), atol=0.01 * original.abs().max().item(), rtol=0)
        assert not torch.equal(weights, original)
    ours, theirs = dict(model.named_parameters()), dict(whole.named_parameters())
    for name, parameter in ours.items():
        if parameter.dtype != torch.uint8:
            torch.testing.assert_close(parameter, theirs[name], atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_a_plain_model_with_the_rounded_weights(prepared, begun, family):
    run = begun(settings(dropout=0.0), family)
    plain = adapted(prepared[family], None)
    layers = dict(plain.named_modules())
    with torch.no_grad():
        for name, weights in in_four_bits(run.model).items():
            layers[name].base_layer.weight.copy_(weights.T if family == "gpt2" else weights)
        for name, parameter in [*run.model.named_parameters(), *plain.named_parameters()]:
            if "lora_B" in name:  # or the gradients of A, which it multiplies, are 0
                parameter.fill_(0.05)
    rows = run.order.batch(0)
    run.step.gradients(0, rows, Stage())
    data, pad = run.inputs.data, run.inputs.pad_id
    assert isinstance(data, TokenizedDataset)
    batch = {name: torch.from_numpy(array) for name, array in data.collate(rows, pad_id=pad).items()}
    plain.train()(**batch, labels=torch.from_numpy(data.labels[rows]).long()).loss.backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.grad is not None}
    found = {name: parameter.grad for name, parameter in run.model.named_parameters() if parameter.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_are_those_of_the_same_model_in_full_precision(prepared, family):
    counts = [FlopCount.of(adapted(prepared[family], four_bits)) for four_bits in (torch.float32, None)]
    for shape in ((3, 17), (8, 32)):
        assert counts[0].forward_pass(*shape) == counts[1].forward_pass(*shape)
        assert counts[0].train_pass(*shape) == counts[1].train_pass(*shape)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forecast_knows_what_weights_in_four_bits_take(prepared, family):
    model, whole = adapted(prepared[family]), adapted(prepared[family], None)
    layers = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    held = 0
    for layer in layers:
        state = layer.weight.quant_state
        parts = (layer.weight, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
        held += sum(part.nbytes for part in parts)
    frozen = [layer.weight for layer in adapters.frozen_layers(whole)]
    assert quantization.packed(frozen) == held
    saved = sum(weight.nbytes for weight in frozen) - sum(layer.weight.nbytes for layer in layers)
    assert memory.weights(whole) - memory.weights(model) == saved


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_adapter_predicts_as_it_was_trained_here_and_in_a_pipeline(
    examples, train_data, train, prepared, tmp_path, family
):
    train(tmp_path, family=family)
    folder = tmp_path / "models/final"
    AcceleratorState._reset_state(reset_partial_state=True)
    evaluate(
        folder, prepared[family], {"set": examples[family]}, {"set": tmp_path / "predictions.parquet"},
        tmp_path / "scores.parquet", curve=tmp_path / "metrics.parquet", trained="final", splits={"set": "test"},
        precision="fp32", device="cpu", threads=1,
    )  # fmt: skip
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    last = curve[curve["step"] == curve["step"].max()].set_index("metric")["value"]
    scored = pq.read_table(tmp_path / "scores.parquet").to_pandas().set_index("metric")["value"]
    assert scored["loss"] == pytest.approx(last["loss"], rel=1e-6)
    scores = torch.softmax(
        torch.from_numpy(np.stack(artifacts.read_table(tmp_path / "predictions.parquet")["logits"].to_numpy())), dim=1
    ).numpy()
    how = BitsAndBytesConfig.from_dict(json.loads((folder / "bitsandbytes.json").read_text()))
    texts = artifacts.read_table(train_data)
    pairs = [
        {"text": a, "text_pair": b}
        for a, b in zip(*(texts[key].to_pylist()[:20] for key in ("text_a", "text_b")), strict=True)
    ]

    def classified(**model_kwargs):
        classify = pipeline("text-classification", model=str(folder), device="cpu", top_k=None, **model_kwargs)
        found = classify(pairs, truncation=True, max_length=32)
        return np.array([[{each["label"]: each["score"] for each in row}[name] for name in LABELS] for row in found])

    np.testing.assert_allclose(classified(model_kwargs={"quantization_config": how}), scores[:20], rtol=0, atol=2e-6)
    # As it stands, the folder is the adapter beside the exact weights: close, and not the same.
    assert 1e-5 < np.abs(classified() - scores[:20]).max() < 0.2


def test_an_interrupted_run_that_goes_on_leaves_the_same_bytes(train, tmp_path, monkeypatch):
    cfg = settings(dropout=0.1, epochs=2, evaluate_every=4)
    whole = runs.results(train(tmp_path / "whole", cfg))
    taken = runs.interrupt_after(monkeypatch, 6)
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "parts", cfg)
    train(tmp_path / "parts", cfg)
    assert taken == list(range(1, 17))
    assert runs.results(tmp_path / "parts") == whole


def test_the_folder_says_what_it_is(train, prepared, tmp_path):
    folder = train(tmp_path) / "models/final"
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert "bitsandbytes.json" in json.loads((folder / "checksums.json").read_text())
    versions = json.loads((tmp_path / "manifest.json").read_text())["versions"]
    assert versions["bitsandbytes"] == bitsandbytes.__version__
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    ids = AutoTokenizer.from_pretrained(folder)("the tall nurse saw", return_tensors="pt")["input_ids"]
    base = pretrained.read_source(prepared["llama"])["path"]
    names = {"FOLDER": str(folder)}
    exec(code.replace('"FOLDER OF THE BASE"', repr(base)), names)
    with torch.no_grad():
        expected = classifier.load(folder).eval()(input_ids=ids).logits
        torch.testing.assert_close(names["model"].eval()(input_ids=ids).logits, expected)


def test_passes_in_four_bits_are_not_recorded(begun, monkeypatch):
    asked = []
    monkeypatch.setattr("ftft.compute.devices.records_passes", lambda device, **how: asked.append(how))
    begun(settings(), "llama")
    assert [how["quantized"] for how in asked] == [True]


def test_without_bitsandbytes_it_is_refused_in_one_line(train, tmp_path, monkeypatch):
    folder = train(tmp_path) / "models/final"
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else there(name))
    for attempt in (lambda: CHECK(torch.device("cuda")), lambda: classifier.load(folder)):
        with pytest.raises(UserError, match=r"^holding weights in four bits .* pip install bitsandbytes$"):
            attempt()


def test_without_a_cuda_device_it_is_refused_in_one_line(begun, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"^quantize: 4bit needs a CUDA device, but this job computes on cpu: [^\n]*$"):
        begun(settings(), "llama")
