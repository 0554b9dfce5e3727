"""A replay against the cost tables of real trainings, and against operations counted by PyTorch."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import runs
import torch
from accelerate.state import AcceleratorState
from conftest import FAMILIES
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from ftft.compute import devices, features
from ftft.compute.batching import padded
from ftft.compute.flops import FlopCount
from ftft.core import artifacts
from ftft.core.errors import UserError
from ftft.data import tokens
from ftft.data.schemas import IN_DISTRIBUTION, tokens_schema
from ftft.dynamics import selection
from ftft.experiment.config import Training
from ftft.models import classifier, heads
from ftft.models.classifier import architecture
from ftft.results import replay
from ftft.results.machine import Machine
from ftft.training import loop
from ftft.training.inputs import Inputs

LABELS = ["a", "b", "c"]
CPU = Machine()
SEED = 3
LORA = {"rank": 8, "alpha": 16, "dropout": 0.1, "targets": None, "merge": False, "quantize": None}
STOP = {"monitor": "dev", "patience": 1, "min_delta": 1.0, "every": 2}  # nothing improves by 1: it ends at step 4


@pytest.fixture(scope="module")
def source(pretrained_sources):
    return pretrained_sources["bert"]


@pytest.fixture(scope="module")
def prepared(train_data, source, tmp_path_factory):
    """Tokens, a balanced random subset and frozen features of 200 pairs; the features' cost is in ``embed.parquet``."""
    folder = tmp_path_factory.mktemp("prepared")
    tokens.tokenize(
        train_data, source / "tokenizer.json", source / "source.json", folder / "tokens.parquet", max_length=32
    )
    selection.write(train_data, folder / "subset.parquet", "random", 0.3, balance="equal", seed=SEED)
    AcceleratorState._reset_state(reset_partial_state=True)
    inputs, outputs = {"train": folder / "tokens.parquet"}, {"train": folder / "features.parquet"}
    settings = {"layers": 2, "precision": "fp32", "device": "cpu", "threads": 1}
    features.embed(source, inputs, outputs, folder / "embed.parquet", **settings)
    return folder


def work(prepared, source, *, tune="all", lora=None, select=None, budget=1.0, head=(None, None), **changes):
    settings = Training(**{"batch_size": 16, "epochs": 1.5, "evaluate_every": 7} | changes).model_dump()
    return {
        "model": "small",
        "source": str(source),
        "layers": 2,
        "tokens": str(prepared / "tokens.parquet"),
        "training": {
            "seed": SEED,
            "settings": settings,
            "budget": budget,
            "tune": tune,
            "lora": lora,
            "features": head[0],
            "hidden_size": head[1],
            "labels": len(LABELS),
            "select": select,
            "kept": 0,
        },
    }


def trained(prepared, folder, job, stops=None):
    """The stage ``train`` of the cost table of the same training, by checkpoint."""
    wanted = job["training"]
    settings = {name: wanted[name] for name in ("budget", "tune", "lora", "features", "hidden_size")}
    settings |= {"layers": job["layers"], "stops": stops or {}}
    cfg = runs.settings(LABELS, [IN_DISTRIBUTION], wanted["settings"] | {"precision": "fp32"}, **settings)
    data = prepared / ("tokens.parquet" if wanted["tune"] in ("all", "lora") else "features.parquet")
    subset = prepared / "subset.parquet" if wanted["select"] else None
    files = runs.files(
        folder, source=Path(job["source"]), train=data, dev={IN_DISTRIBUTION: data}, subset=subset, dynamics=None
    )
    AcceleratorState._reset_state(reset_partial_state=True)
    loop.train(cfg, files, seed=SEED, runtime=runs.ON_CPU, threads=1)
    cost = pq.read_table(folder / "cost.parquet").to_pandas()
    return cost[cost["stage"] == "train"].set_index("checkpoint")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": None, "steps": 5, "micro_batch_size": 3, "length_window": 0},
        {"budget": 0.5},
        {"select": {"fraction": 0.3, "balance": "equal"}, "length_window": 2},
        {"tune": "lora", "lora": LORA | {"rank": 3}},
        {"tune": "lora", "lora": LORA | {"targets": ["query"]}, "micro_batch_size": 3},
        {"tune": "head", "head": ("both", 8)},
        {"tune": "head", "head": ("mean", 0)},
        {"tune": "probe"},
    ],
)
def test_it_is_what_the_training_then_costs(prepared, source, tmp_path, changes):
    job = work(prepared, source, **changes)
    cost = trained(prepared, tmp_path, job).loc["final"]
    found = replay.replay({"run": job}, CPU)["run"]
    assert len(found.flops) == cost["steps"]
    assert found.flops.sum() == cost["flops"] > 0
    assert found.evaluate_every == 7


def test_each_step_is_counted_where_a_stop_rule_looks(prepared, source, tmp_path, monkeypatch):
    monkeypatch.setattr(Inputs, "chance", lambda *_: -1.0)  # in so few steps it learns nothing
    job = work(prepared, source)
    cost = trained(prepared, tmp_path, job, {"early": STOP}).loc["early"]
    assert cost["steps"] == 4
    assert replay.replay({"run": job}, CPU)["run"].flops[:4].sum() == cost["flops"]


def test_frozen_features_are_one_pass_over_the_train_set(prepared, source):
    job = work(prepared, source) | {"training": None}
    cost = pq.read_table(prepared / "embed.parquet").to_pandas().set_index("stage")
    assert replay.replay({"features": job}, CPU)["features"].flops.tolist() == [cost.loc["embed", "flops"]]


def test_jobs_that_share_their_batches_are_still_counted_each_with_its_own_model(prepared, source):
    whole = work(prepared, source)
    jobs = {"two": whole, "one": whole | {"layers": 1}, "half": work(prepared, source, budget=0.5)}
    found = replay.replay(jobs, CPU)
    for name, job in jobs.items():
        np.testing.assert_array_equal(found[name].flops, replay.replay({name: job}, CPU)[name].flops)
    assert found["one"].flops.sum() < found["two"].flops.sum()
    np.testing.assert_array_equal(found["half"].flops, found["two"].flops[: len(found["half"].flops)])


@pytest.fixture
def three(tmp_path, source):
    """A train set of texts of 3, 9 and 17 tokens, and a training on it: one step of all three."""
    columns = {"uid": ["x", "y", "z"], "label": [0, 1, 2], "input_ids": [[1] * 3, [1] * 9, [1] * 17]}
    schema = tokens_schema(token_types=False)
    table = pa.table(columns | {"length": [3, 9, 17]}).cast(schema)
    artifacts.write_table(table, tmp_path / "tokens.parquet", schema)
    return work(tmp_path, source, epochs=None, steps=1)


@pytest.mark.parametrize(
    ("machine", "micro_batch_size", "passes"),
    [
        (CPU, None, [(3, 17)]),
        (CPU, 1, [(1, 17), (1, 9), (1, 3)]),
        (Machine({"small": 0, "other": 1}), None, [(3, 17)]),
        (Machine({"small": 1}, device="cpu"), None, [(3, 17)]),
        (Machine({"small": 0.25}, cuda_graphs=False), None, [(3, 24)]),  # lengths are multiples of eight
        (Machine({"small": 1}, cuda_graphs=False), 2, [(2, 24), (1, 8)]),  # the longest come first
        (Machine({"small": 1}), 2, [(2, 24), (2, 16)]),  # few shapes: the second is filled up
        (Machine({"small": 2}), 2, [(2, 24), (1, 8)]),  # several processes record none
        (Machine({"small": 1}, compile=True), 2, [(2, 24), (1, 8)]),  # nor do compiled models
    ],
)
def test_passes_are_padded_as_on_the_device(three, source, machine, micro_batch_size, passes):
    three["training"]["settings"]["micro_batch_size"] = micro_batch_size
    real = FlopCount.of(classifier.build(source, LABELS, seed=0, layers=2))
    expected = sum(real.train_pass(*shape) for shape in passes)
    found = replay.replay({"run": three}, machine)["run"]
    assert found.flops.tolist() == [expected]
    assert found.shapes.tolist() == sorted(map(list, passes))


def test_each_of_several_gpus_gets_a_part_of_a_batch(three):
    three["training"]["settings"]["batch_size"] = 3
    found = replay.replay({"run": three}, Machine({"small": 2}))["run"]
    assert found.shapes.tolist() == [[1, 8], [2, 24]]
    alone = replay.replay({"run": three}, Machine({"small": 2}, device="cpu"))["run"]  # one process does their work
    assert alone.shapes.tolist() == [[3, 17]]


def test_layers_that_are_computed_again_are_not_recorded(three):
    three["training"]["settings"] |= {"gradient_checkpointing": True, "micro_batch_size": 2}
    found = replay.replay({"run": three}, Machine({"small": 1}))["run"]
    assert found.shapes.tolist() == [[1, 8], [2, 24]]  # as they are; recorded, the second would be filled up


@pytest.mark.parametrize(
    ("length", "kind", "limit", "fixed", "expected"),
    [
        (17, "cpu", None, False, 17),
        (17, "cuda", None, False, 24),
        (17, "cuda", 20, False, 20),  # a model has no positions beyond
        (33, "cuda", None, True, 48),
        (50, "cuda", None, True, 56),  # as long as the longest text, and no longer
    ],
)
def test_no_pass_is_longer_than_the_model_or_the_texts_allow(length, kind, limit, fixed, expected):
    found = devices.positions(length, torch.device(kind), longest=52, limit=limit, fixed=fixed)
    assert found == expected


@pytest.mark.parametrize(("length", "multiple", "expected"), [(0, 1, 1), (5, 1, 5), (1, 8, 8), (8, 8, 8), (9, 8, 16)])
def test_lengths_are_padded_to_the_next_multiple(length, multiple, expected):
    assert padded(length, multiple) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_without_weights_the_count_is_the_same(sources, saved, family):
    """Of a classifier and of an encoder; three layers are told from the first two."""
    whole = classifier.build(sources[family], LABELS, seed=0)
    encoder = AutoModel.from_pretrained(saved[family], config=whole.config)
    for trained, model in ((("all", 3, None, None), whole), (None, encoder)):
        found, real = replay._count(sources[family], None, trained), FlopCount.of(model)
        np.testing.assert_array_equal(found.forward, real.forward)
        np.testing.assert_array_equal(found.train, real.train)


@pytest.mark.parametrize("hidden_size", [0, 8])
def test_a_head_costs_what_pytorch_counts(source, hidden_size):
    found = replay._count(source, 2, ("head", len(LABELS), "both", hidden_size))
    config = heads.HeadConfig(input_size=32, hidden_size=hidden_size, num_labels=len(LABELS))
    with FlopCounterMode(display=False) as counter:
        heads.Head(config)(inputs_embeds=torch.ones(5, 1, 32)).logits.sum().backward()
    assert found.train_pass(5, 1) == counter.get_total_flops()


def test_layers_that_differ_are_counted_one_by_one(source, monkeypatch):
    whole = FlopCount.of(architecture(source, labels=3))

    def uneven(source, *, labels, layers=None, device="meta"):
        model = architecture(source, labels=labels, layers=layers, device=device)
        if layers is None:  # the third layer of the whole model is that of another
            model.bert.encoder.layer[2].intermediate = torch.nn.Sequential(
                torch.nn.Linear(16, 100, device=device), torch.nn.Linear(100, 24, device=device)
            )
        return model

    monkeypatch.setattr(classifier, "architecture", uneven)
    found = replay._count(source, None, ("all", 3, None, None))
    # Per token 16 x 24 weights are gone, and 16 x 100 + 100 x 24 have come.
    more = 2 * (16 * 100 + 100 * 24 - 16 * 24)
    assert found.forward_pass(2, 10) - whole.forward_pass(2, 10) == 2 * 10 * more


def test_an_architecture_that_cannot_be_counted_without_values_gets_random_ones(source, monkeypatch):
    built = []

    def demanding(source, *, labels, layers=None, device="meta"):
        built.append(device)
        if device == "meta":
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        return architecture(source, labels=labels, layers=layers, device=device)

    monkeypatch.setattr(classifier, "architecture", demanding)
    found = replay._count(source, 2, ("all", 3, None, None))
    assert built == ["meta", "cpu"]
    np.testing.assert_array_equal(found.train, FlopCount.of(architecture(source, labels=3, layers=2)).train)


def test_what_a_user_can_mend_is_one_line(three, prepared, source):
    three["training"]["select"] = {"fraction": 0.3, "balance": None}
    with pytest.raises(UserError, match=r"^select.fraction 0.3 of 3 examples is none; raise fraction$"):
        replay.replay({"run": three}, CPU)
    with pytest.raises(UserError, match="layers: 9 is more than the 3 layers of bert"):
        replay.replay({"run": work(prepared, source) | {"layers": 9}}, CPU)


def test_a_model_that_cannot_be_cut_is_counted_as_a_whole(source, monkeypatch):
    plain = replay._of_model(source, None, 3)

    def refuse(config, layers):
        raise UserError("layers: it cannot be cut to its first layers, leave layers out")

    monkeypatch.setattr(classifier, "truncate", refuse)
    whole = replay._of_model(source, None, 3)
    assert whole.train_pass(3, 9) == plain.train_pass(3, 9) > whole.forward_pass(3, 9) == plain.forward_pass(3, 9)
