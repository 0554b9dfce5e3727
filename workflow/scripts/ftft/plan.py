"""From a configuration to the runs it asks for: names, settings and who shares what.

A training run is identified by what it depends on. The run of a model on all data is its *reference* run, whichever
methods use it: as the ERM baseline, for its training dynamics, or both.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftft.config import SELF, Config, Method, Model, Select, Stop, plain
from ftft.schemas import FINAL, IN_DISTRIBUTION


@dataclass(frozen=True, order=True)
class Run:
    """One training run of one model.

    Attributes:
        model: its name.
        subset: name of the subset it is trained on; empty for all data.
        seed: its seed.
    """

    model: str
    subset: str
    seed: int

    @property
    def path(self) -> str:
        """Its folder inside ``results/{task}``."""
        if self.subset:
            return f"main/{self.model}/{self.subset}/seed{self.seed}"
        return f"reference/{self.model}/seed{self.seed}"


@dataclass(frozen=True)
class Result:
    """One row of the table of results: a method applied to a main model with one seed.

    Attributes:
        main, method: their names.
        reference: name of the reference model; empty where the method needs none.
        seed: of both the reference and the main model.
        run: the run that gives the result.
        checkpoint: which of the run's saved models.
    """

    main: str
    method: str
    reference: str
    seed: int
    run: Run
    checkpoint: str

    @property
    def reference_run(self) -> Run | None:
        """The run whose dynamics selected the subset."""
        return Run(self.reference, "", self.seed) if self.reference else None


class Plan:
    """Everything that the rules ask about a configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.methods = dict(sorted(config.methods.items(), key=lambda item: (_order(item[1]), item[0])))
        data = config.data
        self.sources = {"train": data.train, "dev": data.dev, "test": data.test}
        for name, ood in data.ood.items():
            self.sources |= {f"{name}.dev": ood.dev, f"{name}.test": ood.test}
        self.sources = {name: source for name, source in self.sources.items() if source is not None}

    @cached_property
    def results(self) -> list[Result]:
        """All rows of the table of results: by main model, and methods from the plainest on, whatever their order."""
        return [
            Result(
                main, name, reference, seed, Run(main, _subset(method, reference), seed), checkpoint_name(method.stop)
            )
            for main in self.config.mains
            for name, method in self.methods.items()
            for reference in self._references(method, main)
            for seed in self.config.seeds
        ]

    def _references(self, method: Method, main: str) -> list[str]:
        if not method.needs_reference:
            return [""]
        names = method.references if method.references is not None else self.config.references
        return list(dict.fromkeys(main if name == SELF else name for name in names))

    @cached_property
    def references(self) -> list[str]:
        """Models whose dynamics are used by some method, for data maps and the report."""
        return list(dict.fromkeys(result.reference for result in self.results if result.reference))

    @cached_property
    def subsets(self) -> dict[str, Select]:
        """The selection of each subset, by the subset's name."""
        return {
            _subset(method, reference): method.select
            for method in self.methods.values()
            if method.select is not None
            for main in self.config.mains
            for reference in self._references(method, main)
        }

    def reference_of(self, subset: str) -> str:
        """The reference model of a subset; empty for a random one."""
        return subset.rpartition("/")[0]

    def source_of(self, model: str) -> str:
        """Name of a model's source, shared by models that differ only in depth or training."""
        return self._model_sources[model]

    @cached_property
    def _model_sources(self) -> dict[str, str]:
        # Two sources may have the same short name; the later one then goes by the model's own, or by a number.
        taken: dict[str, dict[str, Any]] = {}
        names = {}
        for name, model in self.config.models.items():
            identity = _identity(model)
            short = _short_name(name, model)
            candidates = itertools.chain([short, name], (f"{short}-{number}" for number in itertools.count(2)))
            names[name] = next(each for each in candidates if taken.setdefault(each, identity) == identity)
        return names

    def tokenizer_of(self, model: str) -> str:
        """Name of a model's tokens; models with another maximum length than the common one have tokens of their own."""
        length = self.config.training_of(model).max_length
        common = length == self.config.training.max_length
        return self.source_of(model) if common else f"{self.source_of(model)}+{length}"

    @cached_property
    def model_sources(self) -> dict[str, dict[str, Any]]:
        """Settings of rule ``download_model``, by source name."""
        models = self.config.models
        return {self.source_of(name): plain(_identity(models[name])) for name in reversed(models)}

    @cached_property
    def tokenizers(self) -> dict[str, dict[str, Any]]:
        """Settings of rule ``tokenize``, by tokenizer name."""
        models = self.config.models
        return {self.tokenizer_of(name): {"max_length": self.config.training_of(name).max_length} for name in models}

    @property
    def tokenized(self) -> list[tuple[str, str]]:
        """Every tokenizer with each data artifact that some run trains or is evaluated on with it."""
        found = [
            (self.tokenizer_of(run.model), dataset)
            for run in self.runs
            for dataset in ("train", *self.dev_sets.values())
        ]
        found += [
            (self.tokenizer_of(run.model), dataset)
            for run, _ in self.evaluations()
            for dataset in self.test_sets.values()
        ]
        return sorted(set(found))

    def source_of_tokenizer(self, tokenizer: str) -> str:
        """Name of the source that a tokenizer belongs to."""
        return next(self.source_of(name) for name in self.config.models if self.tokenizer_of(name) == tokenizer)

    def download(self, dataset: str) -> dict[str, Any]:
        """Settings of rule ``download``."""
        data = self.config.data
        role = dataset.rpartition(".")[2]
        # Where the file lies is not what it is: the rule tracks the content itself.
        return plain(
            {
                "source": self.sources[dataset],
                "text": data.text,
                "label": data.label,
                "uid": data.uid,
                "labels": data.labels,
                "role": role,
            }
        )

    @property
    def dev_sets(self) -> dict[str, str]:
        """Names of the data artifacts that are evaluated during training, by dataset."""
        sets = {name: f"{name}.dev" for name in self.config.data.ood}
        # Sorted, so that the order in the configuration changes nothing.
        return {IN_DISTRIBUTION: "dev"} | {name: sets[name] for name in sorted(sets) if sets[name] in self.sources}

    @property
    def test_sets(self) -> dict[str, str]:
        """Names of the data artifacts that are evaluated after training, by dataset."""
        own = "test" if "test" in self.sources else "dev"
        return {IN_DISTRIBUTION: own} | {name: f"{name}.test" for name in sorted(self.config.data.ood)}

    def train(self, model: str, subset: str = "") -> dict[str, Any]:
        """Settings of a training run: what ``training.train`` takes as ``cfg``."""
        stops = {
            checkpoint_name(method.stop): method.stop
            for result in self.results
            if (result.run.model, result.run.subset) == (model, subset)
            and (method := self.methods[result.method]).stop is not None
        }
        final = any(
            result.checkpoint == FINAL
            for result in self.results
            if (result.run.model, result.run.subset) == (model, subset)
        )
        return plain(
            {
                "dev": list(self.dev_sets),
                "layers": self.config.models[model].layers,
                "labels": self.config.data.labels,
                "metric": self.config.data.metric,
                "training": self.config.training_of(model),
                "stops": stops,
                # A reference run goes to the end whoever asks: its dynamics are of all its epochs.
                "final": final or not subset,
            }
        )

    def select(self, subset: str) -> dict[str, Any]:
        """Settings of rule ``select_subset``."""
        return plain(self.subsets[subset])

    def evaluate(self, model: str) -> dict[str, Any]:
        """Settings of rule ``evaluate_ood``: the split of each dataset, in order, and the precision."""
        datasets = {name: file.rpartition(".")[2] for name, file in self.test_sets.items()}
        return {"datasets": datasets, "precision": self.config.training_of(model).precision}

    def evaluations(self) -> list[tuple[Run, str]]:
        """Every saved model that some result needs, once."""
        return list(dict.fromkeys((result.run, result.checkpoint) for result in self.results))

    @property
    def runs(self) -> list[Run]:
        """Every training run, once: those that give results, and the references that these depend on."""
        runs = [run for result in self.results for run in (result.reference_run, result.run) if run is not None]
        return list(dict.fromkeys(runs))

    def entries(self, results: str) -> list[dict[str, Any]]:
        """What ``summary.summarize`` needs to know of every row of the table of results."""
        return [
            {
                "task": self.config.task,
                "main": result.main,
                "method": result.method,
                "reference": result.reference,
                "seed": result.seed,
                "metrics": f"{results}/evaluation/{result.run.path}/{result.checkpoint}/metrics.parquet",
                "cost": f"{results}/{result.run.path}/cost.parquet",
                "checkpoint": result.checkpoint,
                "reference_cost": f"{results}/{result.reference_run.path}/cost.parquet"
                if result.reference_run
                else None,
            }
            for result in self.results
        ]

    def datamap_entries(self, results: str) -> list[dict[str, Any]]:
        """The data maps of the experiment, and where they lie."""
        return [
            {"reference": reference, "seed": seed, "path": f"{results}/datamap/{reference}/seed{seed}.parquet"}
            for reference in self.references
            for seed in self.config.seeds
        ]

    def subset_entries(self, results: str) -> list[dict[str, Any]]:
        """The subsets of the experiment, and where they lie."""
        return [
            {
                "reference": self.reference_of(subset),
                "by": select.by,
                "fraction": select.fraction,
                "seed": seed,
                "path": f"{results}/subset/{subset}/seed{seed}.parquet",
            }
            for subset, select in self.subsets.items()
            for seed in self.config.seeds
        ]

    def report(self, results: str) -> dict[str, Any]:
        """Settings of rule ``report``."""
        # What changes no result is not shown, so that it does not rerun the page either.
        hidden: Any = {
            "runtime": True,
            "data_dir": True,
            "models": {name: {"resources"} for name in self.config.models},
        }
        return plain(
            {
                "task": self.config.task,
                "config": self.config.model_dump(exclude_unset=True, exclude=hidden),
                "datamaps": self.datamap_entries(results),
                "subsets": self.subset_entries(results),
                "group": self.config.data.group,
                "metric": self.config.data.metric,
            }
        )


def checkpoint_name(stop: Stop | None) -> str:
    """Name of the saved model of a stop rule; ``final`` without one."""
    if stop is None:
        return FINAL
    delta = f"-delta{stop.min_delta:g}" if stop.min_delta else ""
    return f"stop-{stop.monitor.replace('/', '.')}-patience{stop.patience}{delta}"


def _subset(method: Method, reference: str) -> str:
    if method.select is None:
        return ""
    name = f"{method.select.by}-{method.select.fraction:.15g}"
    return f"{reference}/{name}" if reference else name


def _order(method: Method) -> tuple[bool, bool, bool, bool]:
    """ERM, random, the main model's own dynamics, a reference's; each before its early-stopped form."""
    own = method.references == [SELF]
    return (
        method.select is not None,
        method.needs_reference,
        method.needs_reference and not own,
        method.stop is not None,
    )


def _identity(model: Model) -> dict[str, Any]:
    keys = ("hub", "revision", "package", "path", "scratch", "sha256")
    return {key: getattr(model, key) for key in keys}


def _short_name(name: str, model: Model) -> str:
    """A name for a model's source: its id, package or folder; a ``scratch`` model is its own."""
    if model.scratch is not None:
        return name
    text = model.hub or model.package or str(model.path).rstrip("/").rpartition("/")[2]
    return text.replace("/", "--") or name
