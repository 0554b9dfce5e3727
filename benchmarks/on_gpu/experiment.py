"""A real experiment on a device, without Snakemake: hate speech from CAD to DynaHate, as its configuration has it.

    python benchmarks/on_gpu/experiment.py --data FOLDER

One seed after the other, as many as the time allows; the table has what was evaluated so far. It calls what the rules
call, in the order of the plan, and keeps nothing.
"""

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from common import ROOT, device, parse

# isort: split
import runs
import yaml
from training_speed import MINILM

from ftft.compute import features
from ftft.core import artifacts
from ftft.data import prepare, tokens
from ftft.dynamics import datamap, selection
from ftft.evaluation import evaluate
from ftft.experiment import config
from ftft.experiment.plan import Plan, Run
from ftft.models import pretrained
from ftft.training import loop

EXPERIMENT = ROOT / "config" / "hsd-cad-budget.yaml"
SMOKE = {"steps": 18, "evaluate_every": 6, "max_length": 32, "batch_size": 8}


def main() -> None:
    arguments = parse(__doc__)
    experiment = yaml.safe_load(EXPERIMENT.read_text(encoding="utf-8")) | {"data_dir": str(arguments.data)}
    if arguments.smoke:
        experiment = small(experiment)
    plan = Plan(config.load(experiment))
    with tempfile.TemporaryDirectory() as name:
        chain = Chain(plan, Path(name))
        chain.prepare()
        begin = time.monotonic()
        for done, seed in enumerate(plan.config.seeds, 1):
            chain.seed(seed)
            chain.table()
            each = (time.monotonic() - begin) / done
            print(f"\n{each:.0f} s for a seed, evaluations included\n", flush=True)
            if arguments.smoke or time.monotonic() + each > arguments.deadline:
                break


def small(experiment: dict[str, Any]) -> dict[str, Any]:
    """The same experiment on the first few texts, with one head, one layer and few steps."""
    for source in sources(experiment["data"]):
        source["rows"] = 64
    models = {name: model | {"layers": 1} for name, model in experiment["models"].items()}
    changes = {"training": experiment["training"] | SMOKE, "references": ["head-l1"], "models": models}
    return experiment | changes


def sources(section: Any) -> list[dict[str, Any]]:
    """Every data source of a configuration."""
    if not isinstance(section, dict):
        return []
    return [section] if "path" in section else [found for value in section.values() for found in sources(value)]


class Chain:
    """The rules' work on one experiment, in a folder of its own.

    Attributes:
        scores: by method and reference, for each seed the mean score over the OOD test sets.
        seconds: of each training, by the folder of its run.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.source = folder / "source"
        self.scores: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.seconds: dict[str, float] = defaultdict(float)

    def prepare(self) -> None:
        """Data, tokens, and the features that heads are trained on."""
        plan, folder = self.plan, self.folder
        for dataset in plan.sources:
            prepare.download(plan.download(dataset), folder / f"data/{dataset}.parquet", plan.config.data_dir)
        pretrained.prepare(MINILM, self.source)  # its weights, whichever they are
        length = plan.config.training.max_length
        for dataset in plan.sources:
            inputs = (folder / f"data/{dataset}.parquet", self.source / "tokenizer.json", self.source / "source.json")
            tokens.tokenize(*inputs, folder / f"tokens/{dataset}.parquet", length)
        sets = ["train", *plan.dev_sets.values()]
        for layers in {self.plan.config.models[name].layers for name in plan.config.references if self.is_head(name)}:
            features.embed(
                self.source,
                {dataset: folder / f"tokens/{dataset}.parquet" for dataset in sets},
                {dataset: folder / f"features-{layers}/{dataset}.parquet" for dataset in sets},
                folder / f"features-{layers}/cost.parquet",
                layers=layers,
                precision=plan.config.training.precision,
                device=device(),
            )

    def is_head(self, model: str) -> bool:
        return self.plan.trains_head(model)

    def seed(self, seed: int) -> None:
        """Everything of one seed: runs on all data, data maps, subsets, main models, scores."""
        plan = self.plan
        runs = sorted((run for run in plan.runs if run.seed == seed), key=lambda run: bool(run.recipe))
        for run in runs:
            if not run.recipe:
                self.train(run)
                if run.model in plan.config.references:
                    path = self.folder / f"datamap/{run.model}.parquet"
                    dynamics = self.folder / run.path / "dynamics.parquet"
                    datamap.write(dynamics, self.folder / "data/train.parquet", path, **plan.datamap())
        for run in runs:
            if run.recipe:
                self.select(run)
                self.train(run)
        for result in plan.results:
            if result.seed == seed:
                self.evaluate(result)

    def select(self, run: Run) -> None:
        """The subset that a run is trained on, where it is one."""
        if subset := self.plan.subset_of(run.recipe):
            maps = [
                self.folder / f"datamap/{one.model}.parquet" for one in self.plan.reference_runs_of(subset, run.seed)
            ]
            out = self.folder / f"subset/{subset}.parquet"
            selection.write(
                maps or [self.folder / "data/train.parquet"], out, **self.plan.select(subset), seed=run.seed
            )

    def train(self, run: Run) -> None:
        """One training run, as rule train_reference or train_main has it."""
        head = self.is_head(run.model)
        examples = f"features-{self.plan.config.models[run.model].layers}" if head else "tokens"
        subset = self.plan.subset_of(run.recipe)
        out = self.folder / run.path
        out.mkdir(parents=True, exist_ok=True)
        files = runs.files(
            out,
            source=self.source,
            train=self.folder / f"{examples}/train.parquet",
            dev={name: self.folder / f"{examples}/{dataset}.parquet" for name, dataset in self.plan.dev_sets.items()},
            subset=self.folder / f"subset/{subset}.parquet" if subset else None,
            **({"dynamics": None} if run.recipe else {}),
        )
        begin = time.perf_counter()
        runtime = {"device": "cpu" if head else device(), "progress": False}
        loop.train(self.plan.train(run.model, run.recipe), files, seed=run.seed, runtime=runtime)
        self.seconds[run.path] = time.perf_counter() - begin

    def evaluate(self, result: Any) -> None:
        """The mean score of one result over the OOD test sets."""
        plan, out = self.plan, self.folder / "evaluation" / result.run.path / result.trained
        sets = {name: dataset for name, dataset in plan.test_sets.items() if name in plan.config.data.ood}
        evaluate.evaluate(
            self.folder / result.run.path / "models" / result.trained,
            self.source,
            {name: self.folder / f"tokens/{dataset}.parquet" for name, dataset in sets.items()},
            {name: out / f"{name}.parquet" for name in sets},
            out / "metrics.parquet",
            curve=self.folder / result.run.path / "metrics.parquet",
            trained=result.trained,
            splits=dict.fromkeys(sets, "test"),
            precision=plan.config.training.precision,
            device=device(),
        )
        table = artifacts.read_table(out / "metrics.parquet").to_pylist()
        scores = [row["value"] for row in table if row["metric"] == plan.config.data.metric]
        self.scores[result.method, result.reference].append(mean(scores))

    def table(self) -> None:
        """Print the scores so far, and the seconds of the trainings."""
        seeds = len(next(iter(self.scores.values())))
        print(f"| method | reference | OOD mean, {seeds} seeds | each |\n|---|---|---|---|")
        for (method, reference), scores in self.scores.items():
            each = ", ".join(f"{100 * score:.2f}" for score in scores)
            print(f"| {method} | {reference} | {100 * mean(scores):.2f} | {each} |")
        print("\n| training | seconds |\n|---|---|")
        for path, seconds in self.seconds.items():
            print(f"| {path} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
