"""An experiment's results of any size, made up in seconds without a model: all tables that the page is made from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ftft.compute.schemas import COST
from ftft.core.artifacts import write_table
from ftft.data import inspection
from ftft.data.schemas import data_schema
from ftft.display import webpage
from ftft.dynamics import datamap, selection
from ftft.dynamics.artifact import write_dynamics
from ftft.evaluation.metrics import detailed_scores
from ftft.evaluation.schemas import METRICS, predictions_schema
from ftft.experiment import config, outputs, stages, workload
from ftft.experiment.layout import Layout
from ftft.experiment.naming import Run
from ftft.experiment.plan import Plan
from ftft.results import comparison, cost_curve, forecast, memory, summary, transfer
from ftft.results.entries import Entry
from ftft.results.schemas import MEMORY

LABELS = ["entailment", "neutral", "contradiction"]
EPOCHS, STEPS, EVALUATIONS = 4, 1200, 6
# How surely a model of this name gets there, from 0 to 1; others are as good as the first.
STRENGTH = {"large": 1.0, "small": 0.8, "tiny": 0.3}
KINDS = ("shortcut", "counter_example", "wrong_label")


def experiment(seeds: int = 1, **report: bool) -> Plan:
    """Three models, all kinds of methods, two OOD sets, pairs of texts, a group."""
    source = {"path": "unused.csv"}
    model = {"scratch": {"architecture": "bert", "layers": 1, "hidden_size": 16, "vocab_size": 200}}
    select = {"select": {"by": "ambiguous", "fraction": 0.33}}
    return Plan(
        config.load(
            {
                "task": "made-up",
                "data": {
                    "text": ["text_a", "text_b"],
                    "labels": LABELS,
                    "group": "kind",
                    "train": source,
                    "dev": source,
                    "ood": {"plain": {"dev": source, "test": source}, "reversed": {"dev": source, "test": source}},
                },
                "models": dict.fromkeys(STRENGTH, model),
                "references": ["small", "tiny"],
                "mains": ["large"],
                "methods": {
                    "erm": {},
                    "erm_stop": {"stop": {"patience": 2}},
                    "random": {"select": {"by": "random", "fraction": 0.33}},
                    "jtt": {"upweight": {"factor": 4}},
                    "dm": select | {"references": ["self"]},
                    "ftft": select | {"stop": {"patience": 2}},
                },
                "seeds": list(range(seeds)),
                "training": {"batch_size": 32, "steps": STEPS, "evaluate_every": STEPS // EVALUATIONS},
                "report": report,
            }
        )
    )


def write(plan: Plan, results: Path, rows: int, *, text: str | None = None) -> None:
    """Write the results of an experiment with ``rows`` training examples; ``text`` is the first one's."""
    layout = Layout(str(results))
    rng = np.random.default_rng(0)
    kinds = np.searchsorted([0.8, 0.95], rng.random(rows))
    labels = _write_data(results / "data/train.parquet", kinds, rng, text)
    _write_data(results / "data/dev.parquet", np.zeros(300, int), rng)
    for run in plan.runs:
        _write_run(plan, results / run.path, _strength(run), run.seed)
    for entry in outputs.datamap_entries(plan, layout):
        logits = _dynamics(labels, kinds, STRENGTH[entry["reference"]], entry["seed"])
        write_dynamics(list(logits), entry["dynamics"], len(LABELS), {})
        datamap.write(entry["dynamics"], results / "data/train.parquet", entry["path"])
        _write_cost(layout.datamap_cost(entry["reference"], entry["seed"]), {"datamap": (0, 3.0)}, ["final"])
    for name in plan.subsets:
        for seed in plan.config.seeds:
            runs = plan.reference_runs_of(name, seed)
            maps = [results / f"datamap/{run.model}/seed{run.seed}.parquet" for run in runs]
            path = results / f"subset/{name}/seed{seed}.parquet"
            selection.write(maps or [results / "data/train.parquet"], path, **stages.select(plan, name), seed=seed)
            _write_cost(path.with_suffix(".cost.parquet"), {"select": (0, 1.0)}, ["final"])
    data = {name: results / f"data/{name}.parquet" for name in ("train", "dev")}
    inspection.check(data, LABELS, "kind", results / "data_checks.parquet", results / "data_checks.txt")
    entries = outputs.entries(plan, layout)
    for row in entries:
        _write_evaluation(row, plan)
    tables = {
        name: (results / f"{name}.parquet", results / f"{name}.csv")
        for name in ("summary", "comparison", "cost_curve", "memory", "references", "transfer")
    }
    comparison.compare(entries, *tables["comparison"])
    cost_curve.trace(entries, *tables["cost_curve"])
    metric = plan.config.data.metric
    summary.write(entries, tables["comparison"][0], metric, *tables["summary"], results / "summary.txt")
    told = workload.forecast(plan, layout)
    forecasts = [results / f"forecast.{suffix}" for suffix in ("parquet", "csv", "txt")]
    forecast.write(told["methods"], {name: _replay(name, plan) for name in told["work"]}, *forecasts)
    memory.write(_memory(plan), *tables["memory"])
    judged = tables["references"], tables["transfer"], results / "references.txt"
    transfer.write(outputs.transfer(plan, layout), results / "data/dev.parquet", *judged)


def page_arguments(plan: Plan, results: Path) -> dict[str, Any]:
    """What ``webpage.write`` takes, as rule ``report`` gives it."""
    tables = ("summary", "comparison", "cost_curve", "forecast", "memory", "references", "transfer")
    made = webpage.Inputs(
        train=results / "data/train.parquet",
        checks=results / "data_checks.parquet",
        **{name: results / f"{name}.parquet" for name in tables},
    )
    return {"output": results / "report.html", "told": outputs.report(plan, Layout(str(results))), "made": made}


def _write_data(path: Path, kinds: np.ndarray, rng: np.random.Generator, text: str | None = None) -> np.ndarray:
    """Texts of made-up words, as long as those of MultiNLI: 20 and 10 words on average."""
    rows = len(kinds)
    syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(20_000)])

    def texts(mean: int) -> list[str]:
        lengths = np.maximum(rng.poisson(mean, rows), 1)
        drawn = words[np.minimum(rng.zipf(1.2, lengths.sum()), len(words)) - 1].tolist()
        ends = np.cumsum(lengths)
        return [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]

    labels = rng.integers(0, len(LABELS), rows)
    first = texts(20)
    if text is not None:
        first[0] = text
    table = {"uid": [f"made-up-{row:06}" for row in range(rows)], "text_a": first, "text_b": texts(10)}
    table |= {"label": pa.array(labels, pa.int16()), "kind": np.array(KINDS)[kinds].tolist()}
    write_table(pa.table(table), path, data_schema(pairs=True, extra=[pa.field("kind", pa.string())]))
    return labels


def _dynamics(labels: np.ndarray, kinds: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """(E, N, C) logits: of the KINDS the first is learnt at once, the second late, the third as another class."""
    rng = np.random.default_rng([seed, round(100 * strength)])
    rows, pull = np.arange(len(labels)), strength * rng.uniform(0.5, 1.5, len(labels))
    logits = rng.normal(0, 0.5, (EPOCHS, len(labels), len(LABELS))).astype(np.float32)
    for epoch in range(EPOCHS):
        logits[epoch, rows, labels] += np.choose(kinds, [1 + epoch * pull, epoch * pull - 1, -1.0])
        logits[epoch, rows, (labels + 1) % len(LABELS)] += np.choose(kinds, [0.0, 0.0, epoch * pull])
    return logits


def _strength(run: Run) -> float:
    return STRENGTH[run.model] * (1 if not run.recipe else 0.95)


def _replay(name: str, plan: Plan) -> forecast.Replay:
    """The work of a run as its cost table has it, in steps that are all alike."""
    run = next(run for run in plan.runs if run.path == name)
    return forecast.Replay(np.full(STEPS, 1e15 * _strength(run) / STEPS), STEPS // EVALUATIONS)


def _memory(plan: Plan) -> pa.Table:
    """The memory of trainings, of which the stronger take more."""
    parts = ("weights", "gradients", "moments", "activations", "other", "total")
    rows = [
        {"model": name, "device": "gpu", "precision": "bf16", "batch": 32, "length": 128, "enough": True}
        | {f"{part}_mb": 1000 * STRENGTH[name] * (place + 1) for place, part in enumerate(parts)}
        | {"available_mb": 80_000}
        for name in plan.config.models
    ]
    return pa.Table.from_pylist(rows, MEMORY)


def _write_run(plan: Plan, folder: Path, strength: float, seed: int) -> None:
    """The dev curve and the costs of one training."""
    rng = np.random.default_rng([seed, round(100 * strength)])
    steps = np.arange(1, EVALUATIONS + 1) * (STEPS // EVALUATIONS)
    checkpoints = ["final", "stop-ood_dev-patience2"]
    rows = [
        {"step": step, "epoch": step / 300, "dataset": dataset, "split": "dev", "metric": metric, "value": value}
        for place, step in enumerate(steps.tolist())
        for dataset in plan.dev_sets
        for metric in ("accuracy", "macro_f1")
        for value in [0.4 + 0.5 * strength * (1 - 0.5 ** (place + 1)) + rng.normal(0, 0.01)]
    ]
    saved = json.dumps(dict(zip(checkpoints, steps[[-1, -3]].tolist(), strict=True)))
    write_table(pa.Table.from_pylist(rows, METRICS), folder / "metrics.parquet", METRICS, {"checkpoints": saved})
    _write_cost(
        folder / "cost.parquet",
        {"start": (0, 3.0), "train": (1e15 * strength, 600 * strength), "evaluate": (1e14 * strength, 60.0)},
        checkpoints,
    )


def _write_cost(path: str | Path, stages: dict[str, tuple[float, float]], checkpoints: list[str]) -> None:
    rows = [
        {"checkpoint": checkpoint, "stage": stage, "steps": round(STEPS * share), "examples": round(32 * STEPS * share)}
        | {"tokens": 0, "tokens_padded": 0, "flops": flops * share, "seconds": seconds * share}
        | {"device": "made up", "precision": "bf16", "peak_memory_mb": 1000.0}
        for checkpoint, share in zip(checkpoints, (1.0, 5 / 6), strict=False)
        for stage, (flops, seconds) in stages.items()
    ]
    write_table(pa.Table.from_pylist(rows, COST), path, COST)


def _write_evaluation(entry: Entry, plan: Plan) -> None:
    """Predictions on every test set, the better the later the method stands in the experiment."""
    order = list(plan.methods)
    rows = []
    for dataset, path in entry["predictions"].items():
        rng = np.random.default_rng([0, *dataset.encode()])
        labels = rng.integers(0, len(LABELS), 300)
        rng = np.random.default_rng([entry["seed"], *(entry["method"] + dataset).encode()])
        logits = rng.normal(0, 1, (300, len(LABELS))).astype(np.float32)
        logits[np.arange(300), labels] += 1 + 0.2 * order.index(entry["method"])
        schema = predictions_schema(len(LABELS))
        columns = {"uid": [f"{dataset}-{row}" for row in range(300)], "label": pa.array(labels, pa.int16())}
        flat = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), type=schema.field("logits").type)
        write_table(pa.table(columns | {"logits": flat}), path, schema)
        found = detailed_scores(logits, labels, LABELS)
        common = {"step": STEPS, "epoch": 4.0, "dataset": dataset, "split": "test"}
        rows += [common | {"metric": metric, "value": value} for metric, value in found.items()]
    write_table(pa.Table.from_pylist(rows, METRICS), entry["metrics"], METRICS)
