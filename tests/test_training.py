"""The training loop on a real, very small model."""

import importlib.util
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import runs
import torch
from accelerate.state import AcceleratorState
from conftest import DECODERS, FAMILIES

from ftft.compute import devices, graphs
from ftft.compute.batching import TokenizedDataset, epoch_batches
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount
from ftft.core import artifacts
from ftft.core.errors import InterruptedRunError, UserError
from ftft.data import tokens
from ftft.data.schemas import IN_DISTRIBUTION, data_schema
from ftft.dynamics import datamap, selection
from ftft.dynamics.artifact import write_dynamics
from ftft.dynamics.schemas import SUBSET
from ftft.experiment import config
from ftft.jobs.environment import Environment, Runtime
from ftft.models import classifier, pretrained
from ftft.training import journal, launch, loop, outputs, passes, scoring
from ftft.training.inputs import Inputs
from ftft.training.run import Run
from ftft.training.settings import Files
from ftft.training.step import Step
from ftft.training.stopping import RankingStop

N = 70
LABELS = ["negative", "positive"]
STOP = "stop-ood_dev-patience1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Tokens of a small learnable task, and a source: the word decides the label, lengths vary."""
    folder = tmp_path_factory.mktemp("prepared")
    generator = random.Random(0)
    for name, rows in (("train", N), ("dev", 20), ("ood", 20)):
        labels = [generator.randrange(2) for _ in range(rows)]
        texts = [
            " ".join(
                ["good" if label else "bad", *generator.choices(["it", "was", "a", "film"], k=generator.randrange(12))]
            )
            for label in labels
        ]
        table = pa.table(
            {"uid": [f"{name}{row:03d}" for row in range(rows)], "text_a": texts, "label": pa.array(labels, pa.int16())}
        )
        artifacts.write_table(table, folder / f"{name}.parquet", data_schema(pairs=False))
    scratch = {"architecture": "bert", "layers": 2, "hidden_size": 32, "heads": 2, "intermediate_size": 64}
    pretrained.prepare(
        {"scratch": scratch | {"vocab_size": 200, "max_positions": 64}}, folder / "source", folder / "train.parquet"
    )
    for name in ("train", "dev", "ood"):
        inputs = (folder / f"{name}.parquet", folder / "source/tokenizer.json", folder / "source/source.json")
        tokens.tokenize(*inputs, folder / f"tokens-{name}.parquet", max_length=32)
    return folder


def files(prepared: Path, folder: Path, **changes) -> Files:
    dev = {IN_DISTRIBUTION: prepared / "tokens-dev.parquet", "other": prepared / "tokens-ood.parquet"}
    inputs = {"source": prepared / "source", "train": prepared / "tokens-train.parquet", "dev": dev}
    return runs.files(folder, **inputs | changes)


def settings(*, stops=None, reference_stop=None, final=True, upweight=None, expert=None, **training_settings) -> dict:
    defaults = {"batch_size": 16, "epochs": 2, "learning_rate": 3e-3, "precision": "fp32", "max_length": 32}
    changes = {"stops": stops or {}, "reference_stop": reference_stop, "final": final}
    changes |= {"upweight": upweight, "product_of_experts": expert}
    return runs.settings(LABELS, [IN_DISTRIBUTION, "other"], defaults | training_settings, **changes)


def train(
    prepared: Path, folder: Path, cfg: dict | None = None, *, seed: int = 0, runtime: dict | None = None, **changes
) -> Path:
    told = replace(runs.ON_CPU, **runtime or {})
    AcceleratorState._reset_state(reset_partial_state=True)  # a process has one precision; these tests want several
    loop.train(cfg or settings(), files(prepared, folder, **changes), seed=seed, runtime=told, threads=1)
    return folder


def dynamics(folder: Path) -> np.ndarray:
    """Logits (epochs, N, labels)."""
    file = pq.ParquetFile(folder / "dynamics.parquet")
    groups = [file.read_row_group(index) for index in range(file.num_row_groups)]
    return np.stack([np.stack(group["logits"].to_numpy()) for group in groups])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(prepared, tmp_path):
    once = runs.results(train(prepared, tmp_path / "once"))
    again = runs.results(train(prepared, tmp_path / "again"))
    other = runs.results(train(prepared, tmp_path / "other", seed=1))
    assert once == again
    assert set(once) == set(other)
    assert once["dynamics.parquet"] != other["dynamics.parquet"]
    assert once["models/final/model.safetensors"] != other["models/final/model.safetensors"]


def test_it_learns_and_the_saved_model_loads_as_a_pipeline(prepared, tmp_path):
    from transformers import pipeline  # slow to import, and the runs that are killed import this module

    train(prepared, tmp_path, settings(epochs=20))
    classify = pipeline("text-classification", model=str(tmp_path / "models/final"), device="cpu")
    assert [found["label"] for found in classify(["good it was", "bad it was"])] == ["positive", "negative"]
    card = (tmp_path / "models/final/README.md").read_text()
    assert "70 of 70 training examples" in card
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    last = curve[curve["step"] == curve["step"].max()].set_index(["dataset", "metric"])["value"]
    assert last["other", "accuracy"] > 0.9


def test_dynamics_have_every_example_once_per_complete_epoch(prepared, tmp_path):
    train(prepared, tmp_path, settings(epochs=None, steps=12))  # 5 steps an epoch: two whole ones and a part
    file = pq.ParquetFile(tmp_path / "dynamics.parquet")
    assert file.num_row_groups == 2
    for epoch in range(2):
        group = file.read_row_group(epoch)
        assert group["epoch"].to_pylist() == [epoch] * N
        assert group["row"].to_pylist() == list(range(N))
    assert np.isfinite(dynamics(tmp_path)).all()


def test_dynamics_are_those_of_the_training_forward_pass(prepared, tmp_path):
    """Without dropout and with a learning rate of next to nothing, they are the untrained model's own logits."""
    train(prepared, tmp_path, settings(dropout=0.0, learning_rate=1e-12, epochs=1))
    model = classifier.build(prepared / "source", LABELS, seed=0).eval()
    data = TokenizedDataset.read(prepared / "tokens-train.parquet")
    batch = {key: torch.from_numpy(value) for key, value in data.collate(np.arange(N)).items()}
    with torch.no_grad():
        expected = model(**batch).logits.numpy()
    np.testing.assert_allclose(dynamics(tmp_path)[0], expected, atol=1e-5)


def test_a_step_is_that_of_a_plain_loop(prepared, tmp_path):
    """One epoch against a loop written with nothing but torch: same batches, same optimizer, same logits."""
    train(prepared, tmp_path, settings(dropout=0.0, epochs=1, warmup=0.0, schedule="constant"))
    data = TokenizedDataset.read(prepared / "tokens-train.parquet")
    model = classifier.build(prepared / "source", LABELS, seed=0, dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, eps=1e-6, weight_decay=0.0)
    expected = np.zeros((N, 2), dtype=np.float32)
    for rows in epoch_batches(np.arange(N), data.lengths, batch_size=16, window=50, seed=0, epoch=0):
        batch = {key: torch.from_numpy(value) for key, value in data.collate(rows).items()}
        output = model(**batch, labels=torch.from_numpy(data.labels[rows]))
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        expected[rows] = output.logits.detach().numpy()
    np.testing.assert_allclose(dynamics(tmp_path)[0], expected, atol=1e-4)


def test_micro_batches_add_up_to_the_batch(prepared, tmp_path):
    whole = dynamics(train(prepared, tmp_path / "whole", settings(dropout=0.0)))
    parts = dynamics(train(prepared, tmp_path / "parts", settings(dropout=0.0, micro_batch_size=3)))
    np.testing.assert_allclose(whole, parts, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES + DECODERS)
def test_gradients_of_micro_batches_are_those_of_the_batch(family, sources, decoder_sources, train_data, tmp_path):
    """For every family: loss and gradients of one step in fp32, in passes of 5 rows or 40 tokens against one pass.

    And in the few shapes that can be recorded: padded to other lengths, and filled up to five rows with others.
    """
    source = (sources | decoder_sources)[family]
    inputs = (train_data, source / "tokenizer.json", source / "source.json")
    tokens.tokenize(*inputs, tmp_path / "tokens.parquet", max_length=32)
    cfg = settings(dropout=0.0, batch_size=32) | {"labels": ["class0", "class1", "class2"]}
    found = []
    for size, limit, fixed in ((None, None, False), (5, None, False), (None, 40, False), (5, None, True)):
        AcceleratorState._reset_state(reset_partial_state=True)
        paths = files(source, tmp_path, source=source, train=tmp_path / "tokens.parquet", dev={})
        runtime = Runtime(device="cpu")
        run = Run(cfg, paths, 0, runtime, 1, "micro-batches")
        step = run.step
        step.micro_batch_size, step.micro_batch_tokens, step.fixed = size, limit, fixed
        loss = step.gradients(0, run.order.batch(0), Stage())
        found.append([loss, *(parameter.grad for parameter in run.model.parameters() if parameter.grad is not None)])
    for other in found[1:]:
        assert len(found[0]) == len(other)
        for expected, value in zip(found[0], other, strict=True):
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd"},
        {"schedule": "cosine"},
        {"schedule": "plateau"},
        {"gradient_checkpointing": True},
        {"max_grad_norm": 0.01},
        {"length_window": 0},
        {"precision": "bf16"},
        {"weight_decay": 0.1},
    ],
    ids=str,
)
def test_every_setting_trains(prepared, tmp_path, changes):
    plain = dynamics(train(prepared, tmp_path / "plain", settings(dropout=0.0, epochs=3)))
    other = dynamics(train(prepared, tmp_path / "other", settings(dropout=0.0, epochs=3, **changes)))
    assert np.isfinite(other).all()
    # Only gradient checkpointing may not change anything, and bf16 where the processor has none.
    same = "gradient_checkpointing" in changes or ("precision" in changes and not devices.computes_bf16("cpu"))
    assert np.allclose(plain[-1], other[-1], atol=1e-5) == same


@pytest.mark.parametrize("has", [True, False])
def test_onednn_computes_in_bf16_alone(monkeypatch, has):
    """What it keeps for every shape lets a process grow, and in fp32 it gains nothing."""
    monkeypatch.setattr(devices, "computes_bf16", lambda _: has)
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        devices.accelerator("cpu", "bf16")
        assert torch.backends.mkldnn.enabled == has
    finally:
        torch.backends.mkldnn.set_flags(True)


def test_memory_goes_back_now_and_then(prepared, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(devices, "give_back_memory", lambda device: given.append(device.type))
    # Batches of four times 16 texts and one of 6, in fours: 18 passes an epoch.
    train(prepared, tmp_path, settings(epochs=6, micro_batch_size=4))
    assert given == ["cpu"] * (6 * 18 // 32)


def test_the_runtime_of_other_callers_is_that_of_the_configuration():
    assert config.Runtime().model_dump() == asdict(Runtime())


def test_an_operation_that_varies_is_let_through_with_a_warning(prepared, tmp_path, monkeypatch, caplog):
    def picky(*arguments, **options):
        if not torch.is_deterministic_algorithms_warn_only_enabled():
            raise RuntimeError("this operation does not have a deterministic implementation")
        return cross_entropy(*arguments, **options)

    cross_entropy = torch.nn.functional.cross_entropy
    plain = train(prepared, tmp_path / "plain", settings())
    monkeypatch.setattr(devices, "varies", lambda device: True)
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", picky)
    other = train(prepared, tmp_path / "other", settings())
    np.testing.assert_array_equal(dynamics(plain), dynamics(other))
    warnings = [record.getMessage() for record in caplog.records if "last bits" in record.getMessage()]
    assert warnings == [
        "train: the same run again may differ in its last bits: "
        "this operation does not have a deterministic implementation"
    ]


@pytest.mark.parametrize("message", ["an operation failed", "CUDA error: an illegal memory access"])
def test_other_failures_of_an_operation_are_not_let_through(message, prepared, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError(message)

    monkeypatch.setattr(devices, "varies", lambda device: True)
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", broken)
    with pytest.raises(RuntimeError, match=message):
        train(prepared, tmp_path, settings())


def test_a_run_of_recorded_passes_learns_the_same(prepared, tmp_path, monkeypatch):
    """Recordings are pretended here; batches of 32 are passes of at most 20, the last of them filled up."""

    def pretended(compute, batch, pool):
        found = tuple(map(torch.zeros_like, compute(batch)))

        def replay():
            for place, value in zip(found, compute(batch), strict=True):
                place.copy_(value)

        recorded.append(tuple(batch["input_ids"].shape))
        return graphs.Recording(SimpleNamespace(replay=replay), batch, found)

    recorded: list[tuple[int, ...]] = []
    cfg = settings(dropout=0.0, batch_size=32, micro_batch_size=20)
    plain = train(prepared, tmp_path / "plain", cfg)
    monkeypatch.setattr(devices, "records_passes", lambda device, *, wanted, **how: wanted)
    monkeypatch.setattr(graphs, "record", pretended)
    other = train(prepared, tmp_path / "recorded", cfg, runtime={"cuda_graphs": True})
    np.testing.assert_allclose(dynamics(plain), dynamics(other), atol=1e-4)
    assert recorded == [(20, 14)]  # the longest text has so many tokens
    steps = pq.read_table(tmp_path / "recorded/cost.parquet").to_pandas().set_index("stage").loc["train"]
    assert steps["tokens"] < steps["tokens_padded"]
    assert steps["tokens_padded"] % 20 == 0


def test_one_process_can_train_in_one_precision_after_the_other(prepared, tmp_path, monkeypatch):
    """As in a notebook; accelerate keeps the precision of a process where nobody tells it otherwise."""
    monkeypatch.setattr(devices, "computes_bf16", lambda kind: True)
    for precision in ("fp32", "bf16", "fp32"):
        train(prepared, tmp_path / precision, settings(precision=precision, epochs=None, steps=2))
        costs = pq.read_table(tmp_path / precision / "cost.parquet")
        assert set(costs["precision"].to_pylist()) == {precision}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
def test_a_compiled_run_learns_the_same(prepared, tmp_path):
    """On request even on CPU; without dropout, only rounding differs."""
    if shutil.which("g++") is None:
        pytest.skip("compiling needs g++")
    cfg = settings(dropout=0.0, epochs=None, steps=5)
    plain = train(prepared, tmp_path / "plain", cfg)
    compiled = train(prepared, tmp_path / "compiled", cfg, runtime={"compile": True})
    np.testing.assert_allclose(dynamics(plain), dynamics(compiled), atol=1e-3)


@pytest.mark.parametrize(("device", "steps", "wanted", "expected"), [
    ("cpu", 100_000, "auto", False),
    ("cpu", 10, True, True),
    ("cuda", 100_000, "auto", True),
    ("cuda", 1_620, "auto", False),
    ("cuda", 100_000, False, False),
])  # fmt: skip
def test_compiles_where_it_pays(device, steps, wanted, expected, monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: (model, dynamic))
    model = SimpleNamespace(device=torch.device(device))
    with caplog.at_level("INFO"):
        found = devices.compiled(model, steps=steps, wanted=wanted)
    assert found == ((model, True) if expected else model)
    # On a CPU, where nobody expects it, nothing is said of what is not done.
    said = ["compiling the training pass"] if expected else ["not compiling"] if device == "cuda" else []
    assert [record.message.partition(";")[0] for record in caplog.records] == said


def test_a_subset_trains_on_its_examples_only_for_as_many_steps(prepared, tmp_path):
    chosen = pa.table(
        {"uid": ["train005", "train003", "train060"], "score": [3.0, 2.0, 1.0], "rank": pa.array([0, 1, 2], pa.int32())}
    )
    artifacts.write_table(chosen, tmp_path / "subset.parquet", SUBSET)
    train(prepared, tmp_path, subset=tmp_path / "subset.parquet")
    logits = dynamics(tmp_path)
    seen = np.flatnonzero(np.abs(logits).sum(axis=(0, 2)))
    assert seen.tolist() == [3, 5, 60]
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().set_index("stage")
    assert cost.loc["train", "steps"] == 10  # 2 epochs of the whole set's 5 steps
    assert cost.loc["train", "examples"] == 30


def test_a_subset_of_another_train_set_is_refused(prepared, tmp_path):
    chosen = pa.table({"uid": ["elsewhere"], "score": [1.0], "rank": pa.array([0], pa.int32())})
    artifacts.write_table(chosen, tmp_path / "subset.parquet", SUBSET)
    with pytest.raises(UserError, match=r"1 of its uids, such as .elsewhere., are not in the train set"):
        train(prepared, tmp_path, subset=tmp_path / "subset.parquet")


def write_guide(folder: Path, *epochs: np.ndarray) -> Path:
    """Training dynamics of a made-up reference."""
    folder.mkdir(exist_ok=True)
    write_dynamics(epochs, folder / "guide.parquet", 2, {})
    return folder / "guide.parquet"


def test_what_the_reference_gets_wrong_is_trained_on_more_often(prepared, tmp_path):
    data = TokenizedDataset.read(prepared / "tokens-train.parquet")
    right = np.eye(2, dtype=np.float32)[data.labels]
    first = right.copy()
    first[[3, 8]] = first[[3, 8], ::-1]  # wrong at epoch 0 alone
    guide = write_guide(tmp_path, first, right)
    cfg = settings(upweight={"factor": 6, "epoch": 0}, epochs=1)
    run = Run(cfg, files(prepared, tmp_path, guide=guide), 0, Runtime(), 1, "run")
    seen = np.concatenate([run.order.batch(step) for step in range(run.order.steps_per_epoch)])
    assert np.bincount(seen).tolist() == [6 if row in (3, 8) else 1 for row in range(N)]
    assert run.steps == -(-N // 16)  # as many as on all data alike
    train(prepared, tmp_path, cfg, guide=guide)
    assert "fine-tuned from random weights on 70 of 70 training examples" in " ".join(
        (tmp_path / "models/final/README.md").read_text(encoding="utf-8").split()
    )


def test_product_of_experts_is_the_cross_entropy_of_both_together(prepared, tmp_path):
    expert = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
    guide = write_guide(tmp_path, expert, -expert)
    common = {"epochs": 1, "dropout": 0.0, "max_grad_norm": 0.0, "optimizer": "sgd"}
    cfg = settings(expert={"epoch": 1}, **common)
    run = Run(cfg, files(prepared, tmp_path, guide=guide), 0, Runtime(), 1, "run")
    rows = run.order.batch(0)
    inputs = {key: torch.from_numpy(value) for key, value in run.inputs.data.collate(rows).items()}
    with torch.no_grad():
        joint = torch.log_softmax(run.model(**inputs).logits, -1) + torch.log_softmax(
            torch.from_numpy(-expert[rows]), -1
        )
    expected = torch.nn.functional.nll_loss(
        torch.log_softmax(joint, -1), torch.from_numpy(run.inputs.data.labels[rows])
    )
    assert run.step.gradients(0, rows, Stage()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_expert_changes_the_model_and_is_not_in_it(prepared, tmp_path):
    data = TokenizedDataset.read(prepared / "tokens-train.parquet")
    guides = {
        "ignorant": write_guide(tmp_path / "ignorant", *2 * [np.zeros((N, 2), np.float32)]),
        "perfect": write_guide(tmp_path / "perfect", *2 * [20 * np.eye(2, dtype=np.float32)[data.labels]]),
    }
    for name, guide in guides.items():
        train(prepared, tmp_path / name, settings(expert={"epoch": 1}, epochs=8), guide=guide)
    train(prepared, tmp_path / "none", settings(epochs=8))
    accuracy = {}
    for name in ("ignorant", "perfect", "none"):
        curve = pq.read_table(tmp_path / name / "metrics.parquet").to_pandas()
        accuracy[name] = curve[curve["metric"] == "accuracy"].iloc[-1]["value"]
    assert accuracy["ignorant"] == accuracy["none"] == 1  # who knows nothing teaches as if it were not there
    assert accuracy["perfect"] < 1  # who knows everything leaves nothing to learn


def test_waiting_for_the_device_is_time_of_training(prepared, tmp_path, monkeypatch):
    """And so is comparing the rankings, of a reference that may stop."""
    stack, update, waits = torch.stack, RankingStop.update, []

    def waiting(losses):
        waits.append(time.sleep(0.2))
        return stack(losses)

    def thinking(rule, *arguments):
        waits.append(time.sleep(0.2))
        update(rule, *arguments)

    monkeypatch.setattr(journal, "torch", SimpleNamespace(stack=waiting))
    monkeypatch.setattr(RankingStop, "update", thinking)
    rule = {"name": "settled", "monitor": "ranking", "by": "ambiguous", "fraction": 0.33, "bound": 0.01}
    train(prepared, tmp_path, settings(reference_stop=rule, final=False, epochs=6, evaluate_every=5))
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().set_index("stage")
    assert len(waits) > 4
    assert cost.loc["train", "seconds"] > 0.2 * len(waits)


def test_a_reference_whose_ranking_has_settled_stops(prepared, tmp_path):
    """Its dynamics are those that a longer run has up to there, and so are its weights and its cost."""
    rule = {"name": "settled", "monitor": "ranking", "by": "ambiguous", "fraction": 0.33, "bound": 0.01}
    common = {"epochs": 6, "learning_rate": 1e-3}
    train(prepared, tmp_path / "whole", settings(**common))
    train(prepared, tmp_path / "stopped", settings(reference_stop=rule, final=False, **common))
    train(prepared, tmp_path / "both", settings(reference_stop=rule, **common))
    whole = dynamics(tmp_path / "whole")
    assert len(whole) == 6
    for run in ("stopped", "both"):
        assert np.array_equal(dynamics(tmp_path / run), whole[:3])
    models = {run: sorted(path.name for path in (tmp_path / run / "models").iterdir()) for run in ("stopped", "both")}
    assert models == {"stopped": ["settled"], "both": ["final"]}
    final = [(tmp_path / run / "models/final/model.safetensors").read_bytes() for run in ("whole", "both")]
    assert final[0] == final[1]
    for run in ("stopped", "both"):  # evaluated where its dynamics end
        curve = pq.read_table(tmp_path / run / "metrics.parquet").to_pandas()
        assert set(curve[curve["step"] == 15]["dataset"]) == {IN_DISTRIBUTION, "other"}
        assert curve["step"].max() == (15 if run == "stopped" else 30)
    costs = {}
    for run in ("stopped", "both"):
        cost = pq.read_table(tmp_path / run / "cost.parquet").to_pandas()
        costs[run] = cost[cost["stage"] == "train"].set_index("checkpoint")[["steps", "examples", "flops"]]
    assert costs["stopped"].loc["settled"].tolist() == costs["both"].loc["settled"].tolist()
    assert costs["both"].loc["settled", "steps"] == 15
    assert costs["both"].loc["final", "steps"] == 30


def test_a_reference_that_never_settles_is_trained_to_the_end(prepared, tmp_path):
    rule = {"name": "settled", "monitor": "subset", "by": "ambiguous", "fraction": 0.33, "bound": 1.1}
    train(prepared, tmp_path, settings(reference_stop=rule, final=False, epochs=4))
    assert len(dynamics(tmp_path)) == 4
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["settled"]
    metadata = artifacts.read_metadata(tmp_path / "metrics.parquet")
    assert json.loads(metadata["checkpoints"]) == {"settled": 20}
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().set_index(["checkpoint", "stage"])
    assert cost.loc[("settled", "train"), "steps"] == 20


def test_cost_counts_what_was_computed(prepared, tmp_path):
    train(prepared, tmp_path, settings(evaluate_every=5))
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().set_index("stage")
    data = TokenizedDataset.read(prepared / "tokens-train.parquet")
    model = classifier.build(prepared / "source", LABELS, seed=0)
    flops = FlopCount.of(model)
    padded = expected = 0
    for epoch in range(2):
        for rows in epoch_batches(np.arange(N), data.lengths, batch_size=16, window=50, seed=0, epoch=epoch):
            shape = (len(rows), int(data.lengths[rows].max()))
            padded += shape[0] * shape[1]
            expected += flops.train_pass(*shape)
    assert cost.loc["train", "steps"] == 10
    assert cost.loc["train", "examples"] == 2 * N
    assert cost.loc["train", "tokens"] == 2 * data.lengths.sum()
    assert cost.loc["train", "tokens_padded"] == padded
    assert cost.loc["train", "flops"] == expected
    assert cost.loc["evaluate", "examples"] == 2 * (20 + 20)
    assert (cost["seconds"] >= 0).all()
    assert cost.loc["train", "seconds"] > 0


def test_early_stopping_really_stops_and_keeps_the_best_model(prepared, tmp_path):
    stops = {STOP: {"monitor": "ood_dev", "patience": 1, "min_delta": 0.0}}
    cfg = settings(stops=stops, final=False, epochs=40, evaluate_every=5, learning_rate=1e-2)
    train(prepared, tmp_path, cfg)
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    score = curve[(curve["metric"] == "accuracy") & (curve["dataset"] == "other")].set_index("step")["value"]
    metadata = artifacts.read_metadata(tmp_path / "metrics.parquet")
    best = json.loads(metadata["checkpoints"])[STOP]
    assert score.index.max() == best + 5 < 200  # one evaluation of patience after the best, far from the end
    assert score[best] == score.max()
    assert score[best + 5] <= score[best]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [STOP]


def test_a_full_run_also_yields_its_early_stopped_result(prepared, tmp_path):
    """Model and cost of the stop rule are the same whether training goes on afterwards or not."""
    stops = {STOP: {"monitor": "ood_dev", "patience": 1, "min_delta": 0.0}}
    common = {"stops": stops, "epochs": 20, "evaluate_every": 5, "learning_rate": 1e-2}
    train(prepared, tmp_path / "stopped", settings(final=False, **common))
    train(prepared, tmp_path / "full", settings(final=True, **common))
    weights = [(tmp_path / run / "models" / STOP / "model.safetensors").read_bytes() for run in ("stopped", "full")]
    assert weights[0] == weights[1]
    costs = [pq.read_table(tmp_path / run / "cost.parquet").to_pandas() for run in ("stopped", "full")]
    flops = [cost[(cost["checkpoint"] == STOP) & (cost["stage"] == "train")]["flops"].item() for cost in costs]
    assert flops[0] == flops[1]
    final = costs[1][(costs[1]["checkpoint"] == "final") & (costs[1]["stage"] == "train")]
    assert final["flops"].item() > flops[1]
    assert final["steps"].item() == 100


def test_a_budget_is_a_run_of_so_many_steps(prepared, tmp_path):
    """Warm-up and decay lie inside it: the run is that of the smaller number of steps, not the start of the longer."""
    steps = {"epochs": None, "evaluate_every": 5, "warmup": 0.2}
    part = train(prepared, tmp_path / "part", settings(steps=20, **steps) | {"budget": 0.5})
    short = train(prepared, tmp_path / "short", settings(steps=10, **steps))
    whole = train(prepared, tmp_path / "whole", settings(steps=20, **steps))
    for name in ("models/final/model.safetensors", "metrics.parquet", "dynamics.parquet"):
        assert (part / name).read_bytes() == (short / name).read_bytes()
    assert not np.allclose(dynamics(part)[-1], dynamics(whole)[len(dynamics(part)) - 1], atol=1e-3)


def test_a_budget_without_an_evaluation_is_one_line(prepared, tmp_path):
    """Five epochs of 70 examples in batches of 16 are 25 steps; a tenth of them are 2."""
    cfg = settings(epochs=5, evaluate_every=4, warmup=0.0) | {"budget": 0.1}
    with pytest.raises(
        UserError, match=r"budget 0.1 is 2 of 25 steps, fewer than the 4 to the first evaluation: raise"
    ):
        train(prepared, tmp_path, cfg)


def test_a_rule_that_looks_more_often_scores_what_it_watches_alone(prepared, tmp_path):
    """It stops where it would if everything were scored as often, with the same model, and sees less."""
    rule = {"monitor": "ood_dev", "patience": 5, "min_delta": 0.0}
    rate = {"epochs": 8, "learning_rate": 3e-4}
    fine = settings(stops={STOP: rule | {"every": 2}}, final=False, evaluate_every=8, **rate)
    dense = settings(stops={STOP: rule | {"every": None}}, final=False, evaluate_every=2, **rate)
    train(prepared, tmp_path / "fine", fine)
    train(prepared, tmp_path / "dense", dense)
    weights = [(tmp_path / run / "models" / STOP / "model.safetensors").read_bytes() for run in ("fine", "dense")]
    assert weights[0] == weights[1]
    fine, dense = (pq.read_table(tmp_path / run / "metrics.parquet").to_pandas() for run in ("fine", "dense"))
    assert fine["step"].max() == dense["step"].max() > 8
    assert set(fine[fine["step"] % 8 > 0]["dataset"]) == {"other"}
    assert set(fine[fine["step"] % 8 == 0]["dataset"]) == {IN_DISTRIBUTION, "other"}
    common = fine.merge(dense, how="left")
    assert len(common) == len(fine) < len(dense)
    assert len(fine.merge(dense)) == len(fine)


def test_a_rule_without_looks_of_its_own_waits_for_the_others(prepared, tmp_path):
    stops = {
        "stop-a": {"monitor": "dev", "patience": 99, "min_delta": 0.0, "every": 2},
        "stop-b": {"monitor": "dev", "patience": 1, "min_delta": 1.0, "every": None},
    }
    train(prepared, tmp_path, settings(stops=stops, epochs=5, evaluate_every=8, learning_rate=1e-2))
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().query("stage == 'train'").set_index("checkpoint")
    assert cost["steps"].to_dict() == {"stop-b": 16, "final": 25, "stop-a": 25}


def test_a_rule_that_has_stopped_is_not_asked_about_scores_that_only_others_look_at(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Inputs, "chance", lambda *_: -1.0)
    stops = {
        "stop-a": {"monitor": "dev", "patience": 1, "min_delta": 1.0, "every": 2},
        "stop-b": {"monitor": "ood_dev", "patience": 99, "min_delta": 0.0, "every": 2},
    }
    train(prepared, tmp_path, settings(stops=stops, epochs=None, steps=12, evaluate_every=8))
    cost = pq.read_table(tmp_path / "cost.parquet").to_pandas().query("stage == 'train'").set_index("checkpoint")
    assert cost["steps"].to_dict() == {"stop-a": 4, "final": 12, "stop-b": 12}
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    assert set(curve[curve["step"].isin([6, 10])]["dataset"]) == {"other"}


def test_a_loss_that_is_not_finite_names_the_step_and_the_examples(prepared, tmp_path):
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+, on the examples train\d+") as failure:
        train(prepared, tmp_path, settings(learning_rate=1e9, weight_decay=1e9, warmup=0.0, optimizer="sgd"))
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "models").exists()


# A configuration allows smaller rates alone, by which it takes some steps.
DIVERGES = {"learning_rate": 3e38, "weight_decay": 1e3, "warmup": 0.0, "optimizer": "sgd", "max_grad_norm": 0.0}


@pytest.mark.parametrize(("dev", "steps", "message"), [
    # The loss of a step is that of the weights before it, so the last step's divergence is in no loss.
    (False, 1, r"train: \d+ weights of step 1, such as [\w.]+, are not finite: lower learning_rate"),
    (False, 2, r"train: the loss is nan at step 2, on the examples train\d+, .* and 11 more: lower learning_rate"),
    (True, 1, r"train, step 1 on in_distribution: the logits of 20 of 20 examples are not finite"),
])  # fmt: skip
def test_a_run_that_diverges_in_its_last_step_is_not_finished(prepared, tmp_path, dev, steps, message):
    cfg, changes = settings(epochs=None, steps=steps), {} if dev else {"dev": {}}
    cfg["training"] |= DIVERGES
    with pytest.raises(UserError, match=message):
        train(prepared, tmp_path, cfg, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_model_that_has_diverged_is_refused_whoever_saves_it(prepared, tmp_path):
    stops = {STOP: {"monitor": "ood_dev", "patience": 1, "min_delta": 0.0}}
    run = Run(settings(stops=stops), files(prepared, tmp_path), 0, Runtime(), 1, "run")
    run.state.best[STOP] = run.weights()
    run.state.best[STOP]["classifier.bias"][1] = torch.nan
    run.state.stops[STOP].best_step = 3
    with pytest.raises(UserError, match=r"run: 1 weights of step 3, such as classifier\.bias, are not finite"):
        outputs.write(run, {})
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_predicts_one_class_is_reported(prepared, tmp_path, caplog):
    """Trained on one class alone."""
    table = artifacts.read_table(prepared / "tokens-train.parquet", ["uid", "label"])
    uids = [row["uid"] for row in table.to_pylist() if row["label"] == 1]
    columns = {"uid": uids, "score": [0.0] * len(uids), "rank": pa.array(range(len(uids)), pa.int32())}
    artifacts.write_table(pa.table(columns), tmp_path / "subset.parquet", SUBSET)
    stops = {STOP: {"monitor": "ood_dev", "patience": 1, "min_delta": 0.0}}
    train(prepared, tmp_path, settings(epochs=5, stops=stops), subset=tmp_path / "subset.parquet")
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "train: the model final of step 25 predicts one class on every dev set: it has learned nothing" in warned
    caplog.clear()
    train(prepared, tmp_path / "both", settings(epochs=20))
    assert "one class" not in caplog.text


@pytest.mark.parametrize(("monitor", "splits"), [("dev", ["dev"]), ("ood_dev", ["ood"]), ("ood_dev/other", ["ood"])])
def test_a_stop_rule_knows_what_one_class_scores(prepared, tmp_path, monitor, splits):
    stops = {STOP: {"monitor": monitor, "patience": 1, "min_delta": 0.0}}
    run = Run(settings(stops=stops), files(prepared, tmp_path), 0, Runtime(), 1, "run")
    labels = [artifacts.read_table(prepared / f"{split}.parquet", ["label"])["label"].to_numpy() for split in splits]
    assert run.state.stops[STOP].chance == np.mean([max(each.mean(), 1 - each.mean()) for each in labels])


def test_a_stop_rule_does_not_keep_a_collapsed_model(prepared, tmp_path):
    """Flat at chance while the rate is next to nothing, it waits for the warm-up to end, and then learns."""
    stops = {STOP: {"monitor": "ood_dev", "patience": 1, "min_delta": 0.0}}
    cfg = settings(stops=stops, epochs=20, evaluate_every=2, warmup=0.5, final=False, dropout=0.0)
    train(prepared, tmp_path, cfg | {"metric": "macro_f1"})
    curve = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    scores = curve[(curve["metric"] == "macro_f1") & (curve["dataset"] == "other")].set_index("step")["value"]
    labels = artifacts.read_table(prepared / "ood.parquet", ["label"])["label"].to_numpy()
    chance = max(2 * share / (1 + share) / 2 for share in (labels.mean(), 1 - labels.mean()))
    improved = scores.cummax().diff().fillna(1) > 0
    above = scores[scores.cummax() > chance].index[0]
    assert not improved[:above].iloc[:-1].all()  # without a chance, patience 1 would have ended it before
    assert scores.index.max() > above
    assert scores.max() > 0.9


@pytest.mark.parametrize("has", [True, False])
def test_the_precision_that_was_computed_in_is_recorded(prepared, tmp_path, monkeypatch, has):
    monkeypatch.setattr(devices, "computes_bf16", lambda _: has)
    train(prepared, tmp_path, settings(precision="bf16", epochs=1))
    expected = "bf16" if has else "fp32"
    assert set(pq.read_table(tmp_path / "cost.parquet")["precision"].to_pylist()) == {expected}
    made_from = json.loads((tmp_path / "manifest.json").read_text())
    assert (made_from["precision"], made_from["settings"]["training"]["precision"]) == (expected, "bf16")
    card = (tmp_path / "models/final/README.md").read_text()
    assert f"- precision: {'bf16' if has else 'fp32 (bf16 was asked for, and the device has none)'}\n" in card


def test_out_of_memory_halves_the_micro_batch_and_gives_the_same_result(prepared, tmp_path, monkeypatch):
    expected = dynamics(train(prepared, tmp_path / "plain", settings(dropout=0.0)))
    forward = torch.nn.functional.cross_entropy

    def limited(logits, labels, **kwargs):
        if len(labels) > 4:
            raise torch.OutOfMemoryError("pretended")
        return forward(logits, labels, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", limited)
    found = dynamics(train(prepared, tmp_path / "limited", settings(dropout=0.0)))
    np.testing.assert_allclose(expected, found, atol=1e-4)


def test_out_of_memory_with_one_example_is_one_line(prepared, tmp_path, monkeypatch):
    def never(*_, **__):
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", never)
    with pytest.raises(UserError, match=r"out of memory on cpu .* with 1 examples per forward pass"):
        train(prepared, tmp_path)


def test_a_tracker_that_is_not_installed_is_one_line(prepared, tmp_path):
    if importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed")
    with pytest.raises(UserError, match=r"runtime\.tracker is wandb, which is not installed: pip install wandb"):
        train(prepared, tmp_path, runtime={"tracker": "wandb"})


def test_a_device_that_is_not_there_is_one_line(prepared, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"runtime\.device is cuda, .* allowed: auto, cpu"):
        train(prepared, tmp_path, runtime={"device": "cuda"})


RUNNER = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from test_training import Path, Runtime, files, settings, loop, STOP
prepared, folder = Path(sys.argv[2]), Path(sys.argv[3])
stops = {STOP: {"monitor": "ood_dev", "patience": 3, "min_delta": 0.0}}
settles = {"name": "settled", "monitor": "ranking", "by": "ambiguous", "fraction": 0.33, "bound": 0.97}
cfg = settings(stops=stops, reference_stop=settles, epochs=12, evaluate_every=4)
runtime = Runtime(device="cpu", progress=False, checkpoint_minutes=0.0)
loop.train(cfg, files(prepared, folder), seed=0, runtime=runtime, threads=1)
"""


def start(prepared: Path, folder: Path, stderr: int = subprocess.PIPE, runner: str = RUNNER) -> subprocess.Popen:
    paths = json.dumps([str(Path(__file__).parent), str(Path(loop.__file__).parents[2])])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", runner, paths, str(prepared), str(folder)],
        env=environment,
        stderr=stderr,
        stdout=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen) -> None:
    """Wait for a run that must succeed."""
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def wait_for_state(folder: Path, process: subprocess.Popen, step: int) -> None:
    """Until the run has a state of ``step`` or later, or has ended."""
    while process.poll() is None:
        names = [path.name for path in (folder / "state").glob("step-*.pt")] if (folder / "state").is_dir() else []
        if any(int(name.split("-")[1]) >= step for name in names):
            return
        time.sleep(0.002)


def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(prepared, tmp_path):
    """Ten times SIGKILL at a random moment; with a state after each step, many fall into its writing."""
    finish(start(prepared, tmp_path / "whole"))
    generator = random.Random(0)
    folder = tmp_path / "killed"
    for kill in range(10):
        process = start(prepared, folder)
        wait_for_state(folder, process, step=3 + 5 * kill)
        time.sleep(generator.uniform(0, 0.03))
        process.kill()
        process.communicate()
    finish(start(prepared, folder))
    assert runs.results(tmp_path / "whole") == runs.results(folder)
    assert 3 < len(dynamics(folder)) < 12  # the rule for references waited through some kills, and then fired
    costs = [pq.read_table(tmp_path / run / "cost.parquet").to_pandas() for run in ("whole", "killed")]
    for column in ("steps", "examples", "tokens", "tokens_padded", "flops"):
        assert costs[0][column].tolist() == costs[1][column].tolist()


def test_a_run_asked_to_stop_saves_its_state_and_goes_on(prepared, tmp_path):
    finish(start(prepared, tmp_path / "whole"))
    process = start(prepared, tmp_path / "stopped")
    wait_for_state(tmp_path / "stopped", process, step=8)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert "asked to stop at step" in errors.decode()
    assert not (tmp_path / "stopped/models").exists()
    finish(start(prepared, tmp_path / "stopped"))
    assert runs.results(tmp_path / "whole") == runs.results(tmp_path / "stopped")


@pytest.mark.parametrize("which", [1, 3, -1], ids=["first", "third", "last"])
def test_a_run_interrupted_in_the_middle_of_an_evaluation_goes_on_with_it(prepared, tmp_path, monkeypatch, which):
    """It ends within a pass, saves the state before the evaluation, and counts what it was to do only once."""
    stops = {STOP: {"monitor": "ood_dev", "patience": 2, "min_delta": 0.0}}
    cfg = settings(stops=stops, epochs=None, steps=12, evaluate_every=3)
    monkeypatch.setattr(devices, "tokens_per_pass", lambda _, train: 2_048 if train else 30)
    whole = train(prepared, tmp_path / "whole", cfg)
    predict, evaluated, passes = scoring.predict, [], []

    def interrupting(model, data, accelerator, *, before_each, **options):
        evaluated.append(data)

        def wrapped():
            if len(evaluated) == (2 * which if which > 0 else 8):  # the second dev set of an evaluation
                passes.append(data)
                if len(passes) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
            before_each()

        return predict(model, data, accelerator, before_each=wrapped, **options)

    monkeypatch.setattr(scoring, "predict", interrupting)
    folder = tmp_path / "interrupted"
    step = 3 * which if which > 0 else 12
    with pytest.raises(InterruptedRunError, match=rf"train: asked to stop at step {step}; the state is saved"):
        train(prepared, folder, cfg)
    assert len(passes) == 3
    assert not (folder / "models").exists()
    evaluated.clear()
    train(prepared, folder, cfg)
    assert len(evaluated) == 8 - 2 * (step // 3 - 1)  # this evaluation from its beginning, and those after it
    assert runs.results(whole) == runs.results(folder)
    costs = [pq.read_table(run / "cost.parquet").to_pandas() for run in (whole, folder)]
    for column in ("checkpoint", "stage", "steps", "examples", "tokens", "tokens_padded", "flops"):
        assert costs[0][column].tolist() == costs[1][column].tolist()


def test_the_log_says_what_is_trained_and_how_far_it_is(prepared, tmp_path, caplog):
    caplog.set_level("INFO", "ftft.training")
    train(prepared, tmp_path, settings(steps=4, epochs=None, evaluate_every=2))
    # In so few steps it learns nothing, and a warning says so.
    first, middle, last = (record.getMessage() for record in caplog.records if record.levelname == "INFO")
    assert first == f"train: 4 steps on {N} examples, with 2 dev sets scored every 2"
    assert re.fullmatch(
        r"train: step 2/4 epoch \d\.\d\d loss [\d.]+ dev [\d.]+ ood_dev [\d.]+ "
        r"\([\d.]+ examples/s, \d\d:\d\d left\)",
        middle,
    )
    assert last.startswith("train: step 4/4")
    assert last.endswith("00:00 left)")


def test_what_is_left_counts_evaluations_too(prepared, tmp_path):
    run = Run(settings(steps=40, epochs=None), files(prepared, tmp_path), 0, Runtime(), 1, "train")
    run.state.step = 10
    run.state.meter.stages["train"].seconds, run.state.meter.stages["evaluate"].seconds = 15.0, 5.0
    assert run.journal.seconds_left(run.state) == 60.0


@pytest.mark.parametrize("progress", [True, False])
def test_a_terminal_gets_a_bar_and_whole_lines(prepared, tmp_path, progress):
    """On a terminal the bar is drawn over and over, and the lines of the log stay whole above it."""
    runner = RUNNER.replace("progress=False", f"progress={progress}")
    runner = runner.replace("loop.train(", "from ftft.jobs.job import reporting\nwith reporting(None): loop.train(")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    process = start(prepared, tmp_path, theirs, runner)
    os.close(theirs)
    shown = b""
    while part := read_terminal(ours):
        shown += part
    process.wait()
    assert process.returncode == 0, shown.decode()
    # What a line shows in the end: each carriage return starts it anew.
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in shown.decode().split("\n")]
    assert sum("INFO train: step " in line for line in lines) > 5
    assert [line for line in lines if line and not re.fullmatch(r"\d\d:\d\d:\d\d INFO train: [^|]+", line)] == []
    assert ("step/s" in shown.decode()) == progress


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody is at the other end
        return b""


@pytest.mark.parametrize(("threads", "cores", "bar"), [(1, 2, False), (2, 2, True), (1, None, True)])
def test_only_a_training_with_the_terminal_to_itself_has_a_bar(monkeypatch, threads, cores, bar):
    asked = []
    monkeypatch.setattr(launch, "_train", asked.append)
    job = SimpleNamespace(
        input={"source": "source/source.json", "train": "train", "dev": []},
        output=dict.fromkeys(("models", "metrics", "cost", "manifest"), "folder/file"),
        params=SimpleNamespace(cfg={"dev": [], "tune": "all"}, code=""),
        wildcards=SimpleNamespace(seed="0"),
        environment=Environment(runtime=Runtime(device="cpu"), cores=cores),
        threads=threads,
        gpus=0,
        log=None,
    )
    launch.train(job, "a training")
    assert asked[0].runtime == Runtime(device="cpu", progress=bar)


@pytest.mark.parametrize(
    ("micro_batch_size", "tokens", "processes", "expected"),
    [(None, None, 1, None), (None, None, 2, 17), (None, 2_048, 2, None), (4, None, 2, 4), (33, None, 2, 17)],
)
def test_each_of_several_processes_gets_a_part_of_a_batch(micro_batch_size, tokens, processes, expected):
    assert passes.largest(33, micro_batch_size, tokens=tokens, processes=processes) == expected


def test_where_nothing_else_cuts_a_batch_several_processes_do(prepared, tmp_path, monkeypatch):
    """As on GPUs: the second process has passes of its own in every step."""
    monkeypatch.setattr(devices, "tokens_per_pass", lambda device, *, train: None)
    step = Run(settings(), files(prepared, tmp_path), 0, runs.ON_CPU, 1, "run").step
    monkeypatch.setattr(type(step.accelerator), "num_processes", 2)
    monkeypatch.setattr(type(step.accelerator), "process_index", 1)
    step = Step(step.update.model, step.inputs, step.training, step.accelerator, runs.ON_CPU, seed=0, steps=1, title="")
    step.update.clear()
    step.gradients(0, np.arange(step.training.batch_size), Stage())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in step.update.model.parameters())


@pytest.mark.parametrize("settings_of_run", [{}, {"dropout": 0.0, "micro_batch_size": None}], ids=["dropout", "whole"])
def test_two_processes_compute_what_one_does(prepared, tmp_path, settings_of_run):
    """The micro-batch is the unit of batches and of dropout masks, so only the order of a sum differs."""
    cfg = settings(**{"micro_batch_size": 5, "epochs": 3} | settings_of_run)
    one = train(prepared, tmp_path / "one", cfg)
    two = tmp_path / "two"
    runs.train_in_two_processes(cfg, files(prepared, two))
    np.testing.assert_allclose(dynamics(one), dynamics(two), atol=1e-4)
    for folder in (one, two):
        uids = pa.table({"uid": [f"train{row:03d}" for row in range(N)], "label": pa.array([0] * N, pa.int16())})
        labels = artifacts.read_table(prepared / "train.parquet", ["label"])["label"]
        artifacts.write_table(
            uids.set_column(1, "label", labels).append_column("text_a", uids["uid"]),
            folder / "data.parquet",
            data_schema(pairs=False),
        )
        datamap.write(folder / "dynamics.parquet", folder / "data.parquet", folder / "datamap.parquet")
        selection.write(folder / "datamap.parquet", folder / "subset.parquet", "ambiguous", 0.33)
    chosen = [artifacts.read_table(folder / "subset.parquet")["uid"].to_pylist() for folder in (one, two)]
    assert chosen[0] == chosen[1]
    costs = [pq.read_table(folder / "cost.parquet").to_pandas().set_index("stage") for folder in (one, two)]
    for column in ("steps", "examples", "tokens"):
        assert costs[0].loc["train", column] == costs[1].loc["train", column]


def test_the_largest_memory_of_a_job_is_not_that_of_the_process_that_started_it():
    """A small child of a parent that has 600 MB more; and 300 MB that the child takes are seen."""
    own = "from ftft.compute.cost import peak_memory_mb as peak; a = peak(); x = b'1' * 300_000_000; print(a, peak())"
    code = (
        f"import subprocess, sys; big = b'1' * 600_000_000; subprocess.run([sys.executable, '-c', {own!r}], check=True)"
    )
    path = {"PYTHONPATH": str(Path(loop.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True, check=True
    )
    before, after = map(float, done.stdout.split())
    assert before < 500
    assert 290 < after - before < 400
