"""Methods that fight shortcuts, on planted data with a strong one: each relies on it less than plain training does."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import runs
from accelerate.state import AcceleratorState

from ftft.core import artifacts
from ftft.data import planted, tokens
from ftft.data.schemas import IN_DISTRIBUTION, data_schema
from ftft.dynamics.artifact import write_dynamics
from ftft.evaluation import evaluate
from ftft.models import classifier, pretrained
from ftft.training import loop

LABELS = list(planted.LABELS)
SCRATCH = {"architecture": "bert", "layers": 2, "hidden_size": 64, "heads": 2, "intermediate_size": 128}
# Enough more than the noise between seeds, machines and methods (docs/results/ has figures of a real size).
MARGIN = 0.08


def write(path: Path, table: pa.Table) -> None:
    labels = pa.array([LABELS.index(label) for label in table["label"].to_pylist()], pa.int16())
    columns = {name: table[name] for name in ("uid", "text_a", "text_b")} | {"label": labels}
    artifacts.write_table(pa.table(columns), path, data_schema(pairs=True), {"labels": json.dumps(LABELS)})


def shortcut_mostly(rows: int) -> pa.Table:
    """A train set in which the shortcut fails for one example in twenty, and no label is wrong."""
    table = planted.generate("train", rows)
    kind = np.array(table["kind"].to_pylist())
    keep = np.concatenate([np.flatnonzero(kind == "easy"), np.flatnonzero(kind == "counter_example")[::4]])
    return table.take(np.sort(keep))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    tables = {
        "train": shortcut_mostly(1600),
        "easy": planted.generate("train", 1600).filter(pc.field("kind") == "easy"),
        "without": planted.generate("no_shortcut_dev", 1600),
        "dev": planted.generate("dev", 200),
        "reversed": planted.generate("reversed_dev", 200),
    }
    for name, table in tables.items():
        write(folder / f"{name}.parquet", table)
    source = folder / "source"
    pretrained.prepare(
        {"scratch": SCRATCH | {"vocab_size": 1000, "max_positions": 64}}, source, folder / "train.parquet"
    )
    for name in tables:
        inputs = (folder / f"{name}.parquet", source / "tokenizer.json", source / "source.json")
        tokens.tokenize(*inputs, folder / f"tokens-{name}.parquet", max_length=48)
    hints = [
        LABELS.index(planted.shortcut(*pair))
        for pair in zip(*(tables["train"][name].to_pylist() for name in ("text_a", "text_b")), strict=True)
    ]
    # The dynamics of a reference that has learned the shortcut and nothing else.
    logits = np.log(np.where(np.eye(3)[hints] > 0, 0.96, 0.02)).astype(np.float32)
    write_dynamics([logits, logits], folder / "guide.parquet", 3, {})
    return folder


def train(
    prepared: Path, name: str, *, data="train", source="source", guide=False, upweight=None, expert=None, epochs=6
) -> float:
    """Accuracy where the shortcut is always wrong."""
    out = prepared / name
    AcceleratorState._reset_state(reset_partial_state=True)
    common = {"batch_size": 32, "precision": "fp32", "max_length": 48, "evaluate_every": 10_000}
    wanted = {"epochs": epochs, "learning_rate": 1e-3} | common
    changes = {"upweight": upweight, "product_of_experts": expert}
    cfg = runs.settings(LABELS, [IN_DISTRIBUTION, "reversed"], wanted, **changes)
    files = runs.files(
        out,
        source=prepared / source,
        train=prepared / f"tokens-{data}.parquet",
        dev={IN_DISTRIBUTION: prepared / "tokens-dev.parquet", "reversed": prepared / "tokens-reversed.parquet"},
        guide=prepared / "guide.parquet" if guide else None,
        dynamics=None,
    )
    loop.train(cfg, files, seed=0, runtime=runs.ON_CPU, threads=1)
    curve = pq.read_table(files.metrics).to_pandas()
    return curve[(curve["metric"] == "accuracy") & (curve["dataset"] == "reversed")]["value"].iloc[-1]


@pytest.fixture(scope="module")
def plain(prepared) -> float:
    return train(prepared, "plain")


def test_upweighting_what_the_shortcut_gets_wrong(prepared, plain):
    assert train(prepared, "jtt", guide=True, upweight={"factor": 20, "epoch": 1}) > plain + MARGIN


def test_a_product_with_the_shortcut_as_expert(prepared, plain):
    assert train(prepared, "poe", guide=True, expert={"epoch": 1}) > plain + MARGIN


def test_a_mean_with_the_weights_from_before_the_shortcut(prepared):
    """Fine-tuning where the shortcut always works unlearns what the pretrained model knew; the mean does so less."""
    train(prepared, "general", data="without", epochs=10)
    pretrained.prepare({"path": str(prepared / "general/models/final")}, prepared / "pretrained")
    fine_tuned = train(prepared, "tuned", data="easy", source="pretrained", epochs=10)
    start = prepared / "general/models/final"
    folders = (prepared / "tuned/models/final", start, prepared / "pretrained", prepared / "mean/final")
    classifier.interpolate(*folders, share=0.3)
    AcceleratorState._reset_state(reset_partial_state=True)
    evaluate.evaluate(
        prepared / "mean/final",
        prepared / "pretrained",
        {"reversed": prepared / "tokens-reversed.parquet"},
        {"reversed": prepared / "mean/reversed.parquet"},
        prepared / "mean/metrics.parquet",
        curve=prepared / "tuned/metrics.parquet",
        trained="final",
        splits={"reversed": "dev"},
        precision="fp32",
        device="cpu",
        threads=1,
    )
    rows = pq.read_table(prepared / "mean/metrics.parquet").to_pandas().set_index("metric")["value"]
    assert rows["accuracy"] > fine_tuned + MARGIN
