"""Which settings a head on a frozen encoder should have: data maps from heads, one setting changed at a time.

    python benchmarks/heads.py planted --reference results/planted/datamap/minilm-l4/seed0.parquet

prints Markdown tables for one of planted, cad and nli; the last two need --data. The encoder is MiniLM, cut to some
depth. Its features are computed once, which takes minutes, and kept under --cache: empty that folder when the data
change. A head is trained on them by a plain loop, and its training dynamics make a data map as those of any reference
do. ``--reference`` names the data map of a model that was fine-tuned as a whole on the same train set, to compare with.
"""

import argparse
import itertools
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
import yaml
from agreement import FRACTION
from basis import ROOT, tokenized
from torch import nn
from torch.nn import functional
from training_speed import BATCH, MINILM

from ftft.compute.batching import TokenizedDataset
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.dynamics import datamap
from ftft.dynamics.ranking import correlation, first
from ftft.evaluation import metrics
from ftft.experiment import config
from ftft.experiment.plan import Plan
from ftft.models import pretrained

CONFIGS = ROOT / "config"
EXPERIMENTS = {"planted": "planted.yaml", "cad": "hsd-cad-minilm.yaml", "nli": "nli-minilm.yaml"}


@dataclass(frozen=True)
class Settings:
    """The settings of a head; these are the defaults of ``tune: head``, on three layers."""

    layers: int = 3
    features: str = "mean"  # or first, both
    hidden: int = 384  # 0: a linear head
    learning_rate: float = 1e-3
    epochs: int = 5
    warmup: float = 0.0
    dropout: float = 0.1
    standardise: bool = True


CHANGES: dict[str, tuple[Any, ...]] = {
    "features": ("first", "both"),
    "hidden": (0, 128),
    "learning_rate": (3e-4, 3e-3),
    "warmup": (0.1,),
    "dropout": (0.0,),
    "standardise": (False,),
    "epochs": (3, 10, 20),
    "layers": (1, 2, 6),
}
ONE_AT_A_TIME = [{}, *({name: value} for name, values in CHANGES.items() for value in values)]
DEPTHS = [{"layers": layers, "epochs": epochs} for layers in (1, 2, 3, 6) for epochs in (3, 5, 10, 20)]


@dataclass(frozen=True)
class Split:
    """One data set, and what the encoder made of it."""

    states: np.ndarray  # (N, layers, 2, width): after each layer, the first token's state and the mean over tokens
    rows: pd.DataFrame


@dataclass(frozen=True)
class Task:
    train: Split
    dev: dict[str, Split]
    classes: int
    metric: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=EXPERIMENTS)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the corpora")
    parser.add_argument("--cache", type=Path, help="folder that keeps the features; a temporary one by default")
    parser.add_argument("--reference", type=Path, help="data map of a fine-tuned model")
    parser.add_argument("--seeds", type=int, default=5, help="two or more")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        task = load(arguments.task, arguments.data, Path(name), arguments.cache or Path(name))
    reference = None
    if arguments.reference:
        reference = pd.read_parquet(arguments.reference).set_index("uid").loc[task.train.rows["uid"]].reset_index()
    labels = task.dev[IN_DISTRIBUTION].rows["label"].to_numpy()
    constant = np.eye(task.classes)[np.full(len(labels), np.bincount(labels).argmax())]
    chance = metrics.scores(constant, labels)[task.metric]
    print(f"{arguments.task}: {len(labels):,} dev examples, chance {100 * chance:.1f}, {arguments.seeds} seeds")
    table("One at a time", ONE_AT_A_TIME, task, reference, arguments.seeds)
    if "kind" in task.train.rows:
        table("Depth and epochs", DEPTHS, task, reference, arguments.seeds)


def table(title: str, changes: list[dict[str, Any]], task: Task, reference: pd.DataFrame | None, seeds: int) -> None:
    """One row for each change of the settings, means over seeds in percent; the last row has the largest spread."""
    print(f"\n{title}; otherwise {Settings()}\n")
    spreads: list[pd.Series] = []
    for change in changes:
        rows, maps = [], []
        for seed in range(seeds):
            logits, scores = train(task, replace(Settings(), **change), seed)
            maps.append(datamap.compute(logits, task.train.rows["label"], task.train.rows["uid"]))
            rows.append(scores | facts(maps[-1], task, reference))
        found = pd.DataFrame(rows)
        if not spreads:
            columns = [*found, "two seeds"]
            print(f"| setting | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
            if reference is not None:
                line("the reference", pd.Series(facts(reference, task, None)).reindex(columns))
        spreads.append(found.std())
        pairs = [correlation(*(each["variability"] for each in pair)) for pair in itertools.combinations(maps, 2)]
        name = ", ".join(f"{key} {value}" for key, value in change.items()) or "the defaults"
        line(name, pd.Series([*found.mean(), np.mean(pairs)]))
    line("largest standard deviation", pd.DataFrame(spreads).max().reindex(columns))


def line(name: str, values: pd.Series) -> None:
    cells = ["" if pd.isna(value) else f"{100 * value:.1f}" for value in values]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def facts(columns: Any, task: Task, reference: pd.DataFrame | None) -> dict[str, float]:
    """How much is hard to learn; of what was planted, how much is ambiguous or close to the threshold, and hard.

    And the rank correlation with the reference's variability, and how much of what that finds ambiguous is hard.
    """
    hard = np.asarray(columns["region"] == datamap.HARD)
    found: dict[str, float] = {}
    if "kind" in task.train.rows:
        members = {
            where: first(task.train.rows["uid"], columns[measure], FRACTION, descending=True)
            for where, measure in (("ambiguous", "variability"), ("close", "threshold_closeness"))
        }
        for kind, name in (("counter_example", "counter-examples"), ("wrong_label", "wrong labels")):
            planted = task.train.rows["kind"] == kind
            found |= {f"{name} {where}": each[planted].mean() for where, each in (members | {"hard": hard}).items()}
    else:
        found["hard"] = hard.mean()
    if reference is not None:
        found["reference"] = correlation(columns["variability"], reference["variability"])
        found["lost"] = hard[reference["region"] == datamap.AMBIGUOUS].mean()
    return found


def train(task: Task, settings: Settings, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """Train one head: its (E, N, C) training dynamics, and its dev scores at the end."""
    inputs = features(task.train, settings)
    centre, scale = torch.zeros(()), torch.ones(())
    if settings.standardise:
        centre, scale = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    inputs = (inputs - centre) / scale
    labels = torch.tensor(task.train.rows["label"].to_numpy(), dtype=torch.long)
    torch.manual_seed(seed)
    width, hidden, dropout = inputs.shape[1], settings.hidden, nn.Dropout(settings.dropout)
    layers = [nn.Linear(width, hidden), nn.ReLU()] if hidden else []
    model = nn.Sequential(*layers, dropout, nn.Linear(hidden or width, task.classes))
    optimizer = torch.optim.AdamW(model.parameters(), eps=1e-6, weight_decay=0.0)
    steps = settings.epochs * math.ceil(len(inputs) / BATCH)
    warmup = int(settings.warmup * steps)
    logits = torch.zeros(settings.epochs, len(inputs), task.classes)
    step = 0
    for epoch in range(settings.epochs):
        for rows in torch.randperm(len(inputs)).split(BATCH):
            rate = step / warmup if step < warmup else (steps - step) / (steps - warmup)
            optimizer.param_groups[0]["lr"] = settings.learning_rate * rate
            output = model(inputs[rows])
            logits[epoch, rows] = output.detach()
            functional.cross_entropy(output, labels[rows]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    model.eval()
    scores = {}
    with torch.no_grad():
        for name, split in task.dev.items():
            predicted = model((features(split, settings) - centre) / scale).numpy()
            scores[name] = metrics.scores(predicted, split.rows["label"])[task.metric]
    ood = [score for name, score in scores.items() if name != IN_DISTRIBUTION]
    return logits.numpy(), {"dev": scores[IN_DISTRIBUTION], "OOD dev": float(np.mean(ood))}


def features(split: Split, settings: Settings) -> torch.Tensor:
    """(N, width) what the settings ask for."""
    both = torch.from_numpy(split.states[:, settings.layers - 1])
    return {"first": both[:, 0], "mean": both[:, 1], "both": both.flatten(1)}[settings.features]


def load(name: str, corpora: Path, folder: Path, cache: Path) -> Task:
    """The train and dev sets of an experiment."""
    raw = yaml.safe_load((CONFIGS / EXPERIMENTS[name]).read_text())
    plan = Plan(config.load(raw | {"data_dir": str(corpora)}))
    pretrained.prepare(MINILM, folder / "source")
    splits = {}
    for dataset in ("train", *plan.dev_sets.values()):
        longest = plan.config.training_of("minilm-l6").max_length
        data, tokens = tokenized(plan, dataset, corpora, folder, longest)
        file = cache / f"{name}-{dataset}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, encode(tokens, folder / "source"))
        splits[dataset] = Split(np.load(file), pd.read_parquet(data))
    dev = {dataset: splits[artifact] for dataset, artifact in plan.dev_sets.items()}
    return Task(splits["train"], dev, len(plan.config.data.labels), plan.config.data.metric)


def encode(tokens: Path, source: Path) -> np.ndarray:
    """(N, layers, 2, width) states without dropout; what MiniLM has after L layers is what it gives when cut to L."""
    dataset = TokenizedDataset.read(tokens)
    weights = pretrained.weights_folder(source)
    assert weights is not None
    encoder = transformers.AutoModel.from_pretrained(weights, dtype=torch.float32).eval()
    found = np.zeros((len(dataset), encoder.config.num_hidden_layers, 2, encoder.config.hidden_size), np.float32)
    order = np.argsort(dataset.lengths, kind="stable")
    with torch.inference_mode():
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            batch = {key: torch.from_numpy(value) for key, value in dataset.collate(rows).items()}
            mask = batch["attention_mask"][:, :, None]
            for layer, state in enumerate(encoder(**batch, output_hidden_states=True).hidden_states[1:]):
                found[rows, layer, 0] = state[:, 0]
                found[rows, layer, 1] = (state * mask).sum(1) / mask.sum(1)
    return found


if __name__ == "__main__":
    main()
