"""LoRA: what is trained, saved and loaded, against PyTorch, PEFT and transformers on their own."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import runs
import torch
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.pytorch_utils import Conv1D

from ftft.compute import devices
from ftft.compute.batching import TokenizedDataset, epoch_batches
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount
from ftft.core import artifacts
from ftft.core.errors import InterruptedRunError, UserError
from ftft.data import tokens
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.dynamics.artifact import read_dynamics
from ftft.evaluation.evaluate import evaluate
from ftft.models import adapters, card, classifier, pretrained
from ftft.models.lora import Lora
from ftft.results import replay
from ftft.training import loop
from ftft.training.run import Run

OF_DECODERS = ("gpt2", "llama")  # of which the former has linear layers of its own kind
ADAPTED = ("bert", "roberta", "deberta-v2", *OF_DECODERS)
LABELS = ["class0", "class1", "class2"]
LINEAR = (torch.nn.Linear, Conv1D)
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": None, "merge": False, "quantize": None}
N, SEED, LAYERS = 200, 3, 2
# The names that these tests are about, of each family's modules.
HEADS = {
    "bert": {"classifier", "bert.pooler"},
    "roberta": {"classifier"},
    "electra": {"classifier"},
    "deberta-v2": {"classifier", "pooler"},
    "modernbert": {"classifier", "head"},
    "gpt2": {"score"},
    "llama": {"score"},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, sources, decoder_sources):
    """As elsewhere, with weights so large that what a model says depends on the text."""
    folder = tmp_path_factory.mktemp("saved")
    every = sources | {family: decoder_sources[family] for family in OF_DECODERS}
    for family, source in every.items():
        torch.manual_seed(11)
        model = AutoModel.from_config(AutoConfig.from_pretrained(source))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(8 if parameter.ndim > 1 else 1)
        model.save_pretrained(folder / family)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder / family)
    return {family: folder / family for family in every}


@pytest.fixture(scope="module")
def pretrained_sources(tmp_path_factory, saved):
    folder = tmp_path_factory.mktemp("pretrained")
    for family, weights in saved.items():
        pretrained.prepare({"path": str(weights)}, folder / family)
    return {family: folder / family for family in saved}


@pytest.fixture(scope="module")
def examples(train_data, pretrained_sources, tmp_path_factory):
    """Tokens of 200 pairs, by family."""
    folder = tmp_path_factory.mktemp("tokens")
    for family in ADAPTED:
        of = pretrained_sources[family]
        inputs = (train_data, of / "tokenizer.json", of / "source.json")
        tokens.tokenize(*inputs, folder / f"{family}.parquet", max_length=32)
    return {family: folder / f"{family}.parquet" for family in ADAPTED}


def settings(lora=LORA, **training):
    wanted = {"batch_size": 16, "epochs": 1, "learning_rate": 1e-2, "precision": "fp32", "max_length": 32} | training
    return runs.settings(LABELS, [IN_DISTRIBUTION], wanted, tune="lora", lora=lora, layers=LAYERS)


def files(examples, source, family, folder, **changes):
    train = examples[family]
    return runs.files(folder, **{"source": source, "train": train, "dev": {IN_DISTRIBUTION: train}} | changes)


@pytest.fixture
def train(examples, pretrained_sources):
    """Trains a family's model and returns the folder of the results."""

    def train(folder, cfg=None, family="bert", **runtime):
        AcceleratorState._reset_state(reset_partial_state=True)
        wanted = files(examples, pretrained_sources[family], family, folder)
        loop.train(cfg or settings(), wanted, seed=SEED, runtime=replace(runs.ON_CPU, **runtime), threads=1)
        return folder

    return train


@pytest.fixture
def begun(examples, pretrained_sources, tmp_path):
    """A run of a family's model that has not taken a step."""

    def begun(cfg=None, family="bert"):
        AcceleratorState._reset_state(reset_partial_state=True)
        wanted = files(examples, pretrained_sources[family], family, tmp_path / "begun")
        return Run(cfg or settings(), wanted, SEED, runs.ON_CPU, 1, "begun")

    return begun


def adapted(source, **changes):
    model = classifier.build(source, LABELS, seed=SEED, layers=LAYERS, dropout=0.0)
    return adapters.add(model, Lora.of(LORA | changes), seed=SEED)


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    """As PEFT names them; the head is there by a second name too."""
    found = load_file(folder / "models/final/adapter_model.safetensors")
    once = {name: value for name, value in found.items() if name.startswith("base_model.model.")}
    for name in found.keys() - once.keys():
        assert torch.equal(found[name], once[f"base_model.model.{name.replace('modules_to_save.default.', '')}"])
    return once


@pytest.mark.parametrize("family", HEADS)
def test_all_linear_layers_of_the_encoder_get_an_adapter_and_the_head_is_trained_in_full(pretrained_sources, family):
    plain = classifier.build(pretrained_sources[family], LABELS, seed=SEED, layers=LAYERS)
    head = HEADS[family]
    linear = {
        name
        for name, module in plain.named_modules()
        if isinstance(module, LINEAR) and not any(f"{name}.".startswith(f"{each}.") for each in head)
    }
    whole = {name for name, _ in plain.named_parameters() if any(name.startswith(f"{each}.") for each in head)}
    model = adapted(pretrained_sources[family])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    expected = {f"{name}.lora_{part}.default.weight" for name in linear for part in "AB"}
    for each in head:
        expected |= {
            name.replace(f"{each}.", f"{each}.modules_to_save.default.", 1)
            for name in whole
            if name.startswith(f"{each}.")
        }
    assert trained == expected
    assert len(linear) >= 4 * LAYERS


def test_targets_are_the_ends_of_names(pretrained_sources):
    model = adapted(pretrained_sources["bert"], targets=["query", "attention.output.dense"])
    found = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    layer = "bert.encoder.layer"
    ends = ("attention.self.query", "attention.output.dense")
    assert found == {f"{layer}.{number}.{end}" for number in range(LAYERS) for end in ends}


def test_targets_that_match_nothing_are_refused_in_one_line(pretrained_sources):
    model = classifier.build(pretrained_sources["bert"], LABELS, seed=SEED)
    # A layer of the head is none of the encoder's.
    with pytest.raises(
        UserError, match=r"lora.targets names 'classifier'.*allowed: dense, key, query, value"
    ) as failure:
        adapters.add(model, Lora.of(LORA | {"targets": ["query", "classifier"]}), seed=SEED)
    assert "\n" not in str(failure.value)


def test_experts_get_no_adapter_and_are_named():
    config = AutoConfig.for_model("qwen3_moe", vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    config.update({"num_key_value_heads": 1, "head_dim": 4, "num_experts": 3, "moe_intermediate_size": 4})
    config.pad_token_id = 0
    model = adapters.add(AutoModelForSequenceClassification.from_config(config), Lora.of(LORA), seed=0)
    names = adapters.without_adapter(model)
    assert len(names) == 2 * 2
    assert all("experts" in name for name in names)


def test_the_random_weights_come_from_the_seed(pretrained_sources):
    def first(seed):
        model = classifier.build(pretrained_sources["bert"], LABELS, seed=0)
        torch.rand(7)
        return adapters.weights(adapters.add(model, Lora.of(LORA), seed=seed))

    once, again, other = first(1), first(1), first(2)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not all(torch.equal(once[name], other[name]) for name in once if "lora_A" in name)
    assert not any(value.any() for name, value in once.items() if "lora_B" in name)


@pytest.mark.parametrize("family", ADAPTED)
def test_a_training_changes_adapter_and_head_and_nothing_else(begun, family):
    run = begun(settings(dropout=0.1), family)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    for _ in range(3):
        run.advance()
    after = run.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == set(adapters.weights(run.model))
    assert all("lora_" in name or "modules_to_save" in name for name in changed)
    held = {id(parameter) for group in run.step.update.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(p) for name, p in run.model.named_parameters() if name in changed}


@pytest.mark.parametrize("family", ADAPTED)
def test_micro_batches_add_up_to_the_gradients_of_the_batch(begun, family):
    gradients = []
    for size in (None, 3):
        run = begun(settings(dropout=0.0, micro_batch_size=size), family)
        with torch.no_grad():  # or the gradients of A, which B multiplies, are 0
            for name, parameter in run.model.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.05)
        run.step.gradients(0, run.order.batch(0), Stage())
        gradients.append({name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None})
    whole, parts = gradients
    assert whole.keys() == parts.keys() == adapters.weights(run.model).keys()
    assert all(value.any() for value in whole.values())
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("family", ADAPTED)
def test_it_is_what_peft_and_plain_pytorch_compute(examples, pretrained_sources, train, tmp_path, family, optimizer):
    cfg = settings(
        dropout=0.0, optimizer=optimizer, epochs=None, steps=4, warmup=0.0, schedule="constant", max_grad_norm=0.0,
        weight_decay=0.1, learning_rate=1e-2,
    )  # fmt: skip
    train(tmp_path, cfg, family)
    source = pretrained_sources[family]
    # The head's random weights are those of the project's own builder; all else is PEFT's.
    model = classifier.build(source, LABELS, seed=SEED, layers=LAYERS, dropout=0.0)
    encoder = getattr(model, model.base_model_prefix)
    names = {id(module): name for name, module in model.named_modules()}
    targets = [
        names[id(module)]
        for name, module in encoder.named_modules()
        if isinstance(module, LINEAR) and not name.startswith("pooler")
    ]
    torch.manual_seed(SEED)
    transposed = {"fan_in_fan_out": family == "gpt2"}  # as its layers hold their weights
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=sorted(HEADS[family]), **transposed)
    inject_adapter_in_model(config, model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    if optimizer == "sgd":
        steps = torch.optim.SGD(groups, lr=1e-2, momentum=0.9)
    else:
        steps = torch.optim.AdamW(groups, lr=1e-2, eps=1e-6)
    data = TokenizedDataset.read(examples[family])
    order = epoch_batches(np.arange(N), data.lengths, batch_size=16, window=50, seed=SEED, epoch=0)
    model.train()
    for rows in order[:4]:
        batch = {name: torch.from_numpy(array) for name, array in data.collate(rows, pad_id=0).items()}
        pad = pretrained.read_source(source)["pad_id"]
        batch["input_ids"][batch["attention_mask"] == 0] = pad
        steps.zero_grad()
        model(**batch, labels=torch.from_numpy(data.labels[rows]).long()).loss.backward()
        steps.step()
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    found = saved_weights(tmp_path)
    assert {name.removeprefix("base_model.model.") for name in found} == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name.removeprefix("base_model.model.")], atol=1e-5, rtol=1e-4)


def test_dynamics_have_every_example_once_an_epoch(train, tmp_path):
    train(tmp_path, settings(epochs=2, micro_batch_size=5))
    file = pq.ParquetFile(tmp_path / "dynamics.parquet")
    assert file.num_row_groups == 2
    for epoch in range(2):
        assert sorted(file.read_row_group(epoch)["row"].to_pylist()) == list(range(N))


@pytest.mark.parametrize("lora", [LORA | {"dropout": 0.2}, LORA | {"merge": True}], ids=["adapter", "merged"])
def test_an_interrupted_run_that_goes_on_leaves_the_same_bytes(train, tmp_path, monkeypatch, lora):
    cfg = settings(lora, dropout=0.1, epochs=2, evaluate_every=4)
    cfg["stops"] = {"stop": {"monitor": "dev", "patience": 9, "min_delta": 0.0, "every": None}}
    whole = train(tmp_path / "whole", cfg)
    taken = runs.interrupt_after(monkeypatch, 7)
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "parts", cfg)
    (state,) = (tmp_path / "parts/state").glob("step-00000007-*.pt")
    kept = torch.load(state, weights_only=True)
    assert all(
        "lora_" in name or "modules_to_save" in name for name in (*kept["model"], *kept["state"]["best"]["stop"])
    )
    train(tmp_path / "parts", cfg)
    assert taken == list(range(1, 27))
    assert runs.results(tmp_path / "parts") == runs.results(whole)


@pytest.mark.parametrize("family", ADAPTED)
def test_operations_are_those_that_pytorch_counts(examples, train, pretrained_sources, tmp_path, family):
    train(tmp_path, settings(dropout=0.0), family)
    model, data = adapted(pretrained_sources[family]), TokenizedDataset.read(examples[family])
    expected = 0
    for rows in epoch_batches(np.arange(N), data.lengths, batch_size=16, window=50, seed=SEED, epoch=0):
        batch = {name: torch.from_numpy(array) for name, array in data.collate(rows, pad_id=0).items()}
        with (
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            model(**batch).logits.sum().backward()
        expected += counter.get_total_flops()
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().set_index("stage")
    assert cost.loc["train", "flops"] == expected


def test_operations_by_hand():
    """Of one linear layer: y = W x + B A x, and gradients for x, A and B, but none for W."""
    layer = torch.nn.Sequential(torch.nn.Linear(6, 5, bias=False))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"]), layer)
    with FlopCounterMode(display=False) as counter:
        layer(torch.ones(3, 6, requires_grad=True)).sum().backward()
    forward = 3 * 6 * 5 + 3 * 6 * 2 + 3 * 2 * 5
    backward = 3 * 6 * 5 + 2 * (3 * 6 * 2 + 3 * 2 * 5)
    assert counter.get_total_flops() == 2 * (forward + backward)


def test_training_an_adapter_takes_fewer_operations_than_training_the_whole(pretrained_sources):
    whole = FlopCount.of(classifier.build(pretrained_sources["bert"], LABELS, seed=0))
    part = FlopCount.of(
        adapters.add(
            classifier.build(pretrained_sources["bert"], LABELS, seed=0), Lora(1, 1, 0, None, False, None), seed=0
        )
    )
    assert part.train_pass(8, 32) < whole.train_pass(8, 32)
    assert part.forward_pass(8, 32) > whole.forward_pass(8, 32)


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
@pytest.mark.parametrize("family", ADAPTED)
def test_a_pipeline_of_the_saved_folder_predicts_what_the_evaluation_does(
    examples, train_data, train, pretrained_sources, tmp_path, family, merge
):
    train(tmp_path, settings(LORA | {"merge": merge}), family)
    folder = tmp_path / "models/final"
    assert (folder / "adapter_config.json").exists() is not merge
    AcceleratorState._reset_state(reset_partial_state=True)
    evaluate(
        folder, pretrained_sources[family], {"set": examples[family]}, {"set": tmp_path / "predictions.parquet"},
        tmp_path / "scores.parquet", curve=tmp_path / "metrics.parquet", trained="final", splits={"set": "test"},
        precision="fp32", device="cpu", threads=1,
    )  # fmt: skip
    logits = np.stack(artifacts.read_table(tmp_path / "predictions.parquet")["logits"].to_numpy())
    scores = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    classify = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    texts = artifacts.read_table(train_data)
    pairs = [
        {"text": a, "text_pair": b}
        for a, b in zip(*(texts[key].to_pylist()[:20] for key in ("text_a", "text_b")), strict=True)
    ]
    for row, found in enumerate(classify(pairs, truncation=True, max_length=32)):
        of = {each["label"]: each["score"] for each in found}
        np.testing.assert_allclose([of[label] for label in LABELS], scores[row], rtol=0, atol=2e-6)
    assert scores[:20].std(axis=0).min() > 1e-4  # or all would be alike
    # What the training itself said of the model, on the same examples.
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    scored = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    last = curve[(curve["step"] == curve["step"].max()) & (curve["metric"] == "accuracy")]["value"].item()
    assert scored[scored["metric"] == "accuracy"]["value"].item() == pytest.approx(last)


def test_a_saved_adapter_is_small_and_says_what_it_belongs_to(train, saved, tmp_path):
    folder = train(tmp_path) / "models/final"
    own = {path.name for path in folder.iterdir() if not path.is_symlink()}
    assert own == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "checksums.json", "config.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (folder / "model.safetensors").resolve() == (saved["bert"] / "model.safetensors").resolve()
    about = json.loads((folder / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(saved["bert"])
    assert (about["r"], about["lora_alpha"]) == (4, 8)
    assert about["target_modules"] == sorted(about["target_modules"])
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["id2label"]["2"]) == (LAYERS, "class2")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["versions"]["peft"] == about["peft_version"]


def test_the_card_says_how_to_load_it_elsewhere(train, saved, tmp_path, monkeypatch):
    folder = train(tmp_path) / "models/final"
    text = (folder / "README.md").read_text()
    assert "an adapter (LoRA, rank 4) and the head trained" in text
    code = text.split("```python\n")[1].split("```")[0]
    ids = AutoTokenizer.from_pretrained(folder)("the tall nurse saw", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = classifier.load(folder).eval()(input_ids=ids).logits
        (folder / "model.safetensors").unlink()
        names = {"FOLDER": str(folder)}
        exec(code.replace('"FOLDER OF THE BASE"', repr(str(saved["bert"]))), names)
        found = names["model"].eval()(input_ids=ids).logits
    torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match="is missing"):
        classifier.load(folder)


def test_a_base_of_another_task_gives_no_head(saved, train_data, examples, tmp_path):
    """Its classifier has two classes, the adapter's three."""
    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(saved["bert"], num_labels=2)
    model.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(saved["bert"]).save_pretrained(tmp_path / "tuned")
    pretrained.prepare({"path": str(tmp_path / "tuned")}, tmp_path / "source")
    trained = adapted(tmp_path / "source").eval()
    with torch.no_grad():
        for parameter in adapters.weights(trained).values():
            parameter.normal_(std=0.2)
        classifier.save(trained, adapters.weights(trained), tmp_path / "source", tmp_path / "out", "card")
        ids = torch.arange(5, 15)[None]
        found = classifier.load(tmp_path / "out")(input_ids=ids).logits
        torch.testing.assert_close(found, trained(input_ids=ids).logits)
    classify = pipeline(
        "text-classification", model=str(tmp_path / "out"), model_kwargs={"ignore_mismatched_sizes": True}
    )
    assert classify("the nurse")[0]["label"] in LABELS


def test_the_base_of_a_model_that_predicts_is_held_in_the_precision_of_its_passes(pretrained_sources, tmp_path):
    source = pretrained_sources["bert"]
    model = adapted(source)
    classifier.save(model, adapters.weights(model), source, tmp_path, "card")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    loaded = classifier.load(tmp_path)
    kinds = {name: parameter.dtype for name, parameter in loaded.named_parameters()}
    assert set(kinds.values()) == {torch.float32}
    adapters.compute_in_bf16(loaded)
    changed = {name for name, parameter in loaded.named_parameters() if parameter.dtype != kinds[name]}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}
    assert any("base_layer" in name for name in changed)
    assert not any("lora_" in name or "modules_to_save" in name for name in changed)


def test_an_adapter_beside_one_deep_layer_is_counted_on_the_whole_model(pretrained_sources):
    source = pretrained_sources["bert"]
    counts = [
        replay._of_model(source, 3, len(LABELS), Lora.of(LORA | {"targets": targets}))
        for targets in (["layer.0.attention.self.query"], ["layer.2.attention.self.query"], ["query"])
    ]
    first, last, all_of_them = (count.forward_pass(2, 9) for count in counts)
    assert first == last
    with_none = FlopCount.of(classifier.architecture(source, labels=len(LABELS), layers=3)).forward_pass(2, 9)
    assert all_of_them - with_none == 3 * (first - with_none) > 0


@pytest.mark.parametrize("form", ["pickle", "parts"])
def test_a_base_is_linked_in_whatever_files_its_weights_are(saved, tmp_path, form):
    model = AutoModel.from_pretrained(saved["bert"])
    AutoTokenizer.from_pretrained(saved["bert"]).save_pretrained(tmp_path / "base")
    if form == "parts":
        model.save_pretrained(tmp_path / "base", max_shard_size="20KB")
    else:
        model.config.save_pretrained(tmp_path / "base")
        torch.save(model.state_dict(), tmp_path / "base/pytorch_model.bin")
    pretrained.prepare({"path": str(tmp_path / "base")}, tmp_path / "source")
    trained = adapted(tmp_path / "source").eval()
    classifier.save(trained, adapters.weights(trained), tmp_path / "source", tmp_path / "out", "card")
    links = {path.name for path in (tmp_path / "out").iterdir() if path.is_symlink()}
    if form == "parts":
        assert "model.safetensors.index.json" in links
        assert len(links) > 2
    else:
        assert links == {"pytorch_model.bin"}
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            classifier.load(tmp_path / "out")(input_ids=ids).logits, trained(input_ids=ids).logits
        )
    # A base that is no longer what it was is noticed.
    weights = tmp_path / "base" / min(links - {"model.safetensors.index.json"})
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="is not what was written"):
        classifier.load(tmp_path / "out")


def test_a_base_from_the_hub_is_named_by_id_and_commit(pretrained_sources, saved, tmp_path, monkeypatch):
    identity = pretrained.read_source(pretrained_sources["bert"]) | {"hub": "someone/big", "revision": "c0ffee"}
    trained = adapted(pretrained_sources["bert"])
    monkeypatch.setattr(pretrained, "read_source", lambda folder: identity)
    monkeypatch.setattr(pretrained, "locate", lambda found: saved["bert"])
    classifier.save(trained, adapters.weights(trained), pretrained_sources["bert"], tmp_path, "card")
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (about["base_model_name_or_path"], about["revision"]) == ("someone/big", "c0ffee")
    cfg = settings() | {"labels": LABELS}
    text = card.text(identity, cfg, title="t", step=1, examples=1, of=1, curve=[], precision="fp32")
    assert "base_model: someone/big" in text
    assert '"someone/big", revision="c0ffee", config=config' in text
    merged = card.text(
        identity,
        cfg | {"lora": LORA | {"merge": True}},
        title="t",
        step=1,
        examples=1,
        of=1,
        curve=[],
        precision="fp32",
    )
    assert "library_name: transformers" in merged
    assert "How to load it" not in merged


def test_without_peft_an_adapter_is_refused_in_one_line(train, pretrained_sources, tmp_path, monkeypatch):
    folder = train(tmp_path) / "models/final"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for attempt in (lambda: adapted(pretrained_sources["bert"]), lambda: classifier.load(folder)):
        with pytest.raises(UserError, match="needs the Python package peft, which is not installed: pip install peft"):
            attempt()


def test_models_without_an_adapter_do_not_import_peft():
    """It takes seconds, and a small run has dozens of jobs."""
    code = "import sys, ftft.training.launch, ftft.evaluation.evaluate; print('peft' in sys.modules)"
    path = str(Path(loop.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("family", ADAPTED)
def test_frozen_weights_in_bf16_change_no_result(train, tmp_path, monkeypatch, family):
    monkeypatch.setattr(devices, "computes_bf16", lambda kind: True)
    cfg = settings(LORA | {"dropout": 0.1}, precision="bf16", epochs=None, steps=3)
    short = runs.results(train(tmp_path / "short", cfg, family))
    monkeypatch.setattr(adapters, "compute_in_bf16", lambda model: None)
    assert runs.results(train(tmp_path / "long", cfg, family)) == short


def test_a_run_holds_frozen_weights_in_bf16_where_it_computes_in_it(begun, monkeypatch):
    layer = "bert.encoder.layer.0.attention.self.query.base_layer.weight"
    assert begun().model.get_parameter(layer).dtype == torch.float32
    monkeypatch.setattr(devices, "computes_bf16", lambda kind: True)
    assert begun(settings(precision="bf16")).model.get_parameter(layer).dtype == torch.bfloat16


def test_a_head_that_was_not_loaded_is_no_model(train, tmp_path, monkeypatch):
    """As transformers 5.17 does with a file that names it as PEFT does alone."""
    folder = train(tmp_path) / "models/final"
    names = load_file(folder / "adapter_model.safetensors").keys()
    assert {"classifier.modules_to_save.default.weight", "base_model.model.classifier.weight"} <= set(names)
    load = AutoModelForSequenceClassification.from_pretrained

    def without_head(*arguments, **how):
        model = load(*arguments, **how)
        torch.nn.init.normal_(model.classifier.modules_to_save["default"].weight)
        return model

    classifier.load(folder)
    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", without_head)
    with pytest.raises(UserError, match=r"does not load the head in .*adapter_model\.safetensors: install the"):
        classifier.load(folder)


def test_only_frozen_linear_layers_are_held_in_bf16(pretrained_sources):
    model = adapted(pretrained_sources["bert"])
    adapters.compute_in_bf16(model)
    of = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert of["bert.encoder.layer.0.attention.self.query.base_layer.weight"] == torch.bfloat16
    assert of["bert.embeddings.word_embeddings.weight"] == torch.float32
    assert {of[name] for name in adapters.weights(model)} == {torch.float32}


def test_gradient_checkpointing_computes_the_same(train, tmp_path):
    cfg = settings(dropout=0.1, epochs=None, steps=6)
    plain, less = (
        train(tmp_path / "plain", cfg),
        settings(dropout=0.1, epochs=None, steps=6, gradient_checkpointing=True),
    )
    other = train(tmp_path / "checkpointed", less)
    for name, value in saved_weights(plain).items():
        torch.testing.assert_close(saved_weights(other)[name], value, atol=1e-5, rtol=1e-4)


def test_two_processes_train_what_one_does(train, examples, pretrained_sources, tmp_path):
    cfg = settings(dropout=0.1, micro_batch_size=5)
    one, two = train(tmp_path / "one", cfg), tmp_path / "two"
    runs.train_in_two_processes(cfg, files(examples, pretrained_sources["bert"], "bert", two), seed=SEED)
    found = [read_dynamics(folder / "dynamics.parquet", N) for folder in (one, two)]
    np.testing.assert_allclose(*found, atol=1e-4)
