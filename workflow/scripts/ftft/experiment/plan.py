"""From a configuration to the runs it asks for: names, settings and who shares what.

A training run is identified by what it depends on. The run of a model on all data is its *reference* run, whichever
methods use it: as the ERM baseline, for its training dynamics, or both.
"""

import itertools
from functools import cached_property
from typing import Any

from ftft.core.errors import without_credentials
from ftft.core.files import is_url
from ftft.data.schemas import IN_DISTRIBUTION, TRAIN
from ftft.experiment.config import (
    ERM,
    SELF,
    Config,
    Method,
    Model,
    ProductOfExperts,
    Select,
    Upweight,
    plain,
)
from ftft.experiment.lineage import lineage
from ftft.experiment.naming import Recipe, Result, Run, check_names, checkpoint_name, criterion, short_name, title_of
from ftft.models.saved import FINAL


class Plan:
    """Everything that the rules ask about a configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.methods = dict(sorted(config.methods.items(), key=lambda item: (_order(item[1]), item[0])))
        data = config.data
        sources = {"train": data.train, "dev": data.dev, "test": data.test}
        for name, ood in data.ood.items():
            sources |= {f"{name}.dev": ood.dev, f"{name}.test": ood.test}
        self.sources = {name: source for name, source in sources.items() if source is not None}
        self._check()

    def _check(self) -> None:
        """No two things that differ have one name, or they would share a folder.

        Raises:
            UserError: two have.
        """
        models, methods = self.config.models, self.methods
        tokens = {name: (self.source_of(name), self.config.training_of(name).max_length) for name in models}
        features = {
            name: (tokens[name], model.layers, self.config.training_of(name).precision)
            for name, model in models.items()
        }
        settles = {name: model.stop for name, model in models.items() if model.stop is not None}
        recipes = [(name, recipe) for name, method in methods.items() for recipe in self._recipes_of(method)]
        subsets = [(recipe.data, f"method {name}", recipe.choice) for name, recipe in recipes if recipe.use is not None]
        results = [(result, methods[result.method].stop) for result in self.results]
        check_names([(self.tokenizer_of(name), f"model {name}", each) for name, each in tokens.items()])
        check_names([(self.encoder_of(name), f"model {name}", each) for name, each in features.items()])
        check_names([(checkpoint_name(stop), f"model {name}", plain(stop)) for name, stop in settles.items()])
        check_names([*((name, f"model {name}", name) for name in models), *subsets])
        check_names([(each.name, f"method {name}", (each.choice, each.budget, each.probe)) for name, each in recipes])
        check_names(
            [(each.checkpoint, f"method {each.method}", (plain(stop), each.interpolate)) for each, stop in results]
        )

    @cached_property
    def results(self) -> list[Result]:
        """All rows of the table of results: by main model, and methods from the plainest on, whatever their order."""
        return [
            Result(
                main,
                name,
                "+".join(group),
                seed,
                Run(main, recipe.name, seed),
                checkpoint_name(method.stop),
                method.interpolate,
                tuple(self._reference_runs(recipe, seed)),
            )
            for main in self.config.mains
            for name, method in self.methods.items()
            for group in self._groups(method, main)
            for recipe in [self._recipe(method, group, main)]
            for seed in self.config.seeds
        ]

    def _recipe(self, method: Method, group: tuple[str, ...], main: str) -> Recipe:
        probe = method.head == "probe" and self.config.models[main].head != "probe"
        return Recipe(method.recipe, group, method.budget or 1.0, probe)

    def _groups(self, method: Method, main: str) -> list[tuple[str, ...]]:
        """The reference models of each of a method's recipes; several in a group select together."""
        if not method.needs_reference:
            return [()]
        names = method.references if method.references is not None else self.config.references
        models = list(dict.fromkeys(main if name == SELF else name for name in names))
        joint = method.select is not None and method.select.over_references
        return [tuple(sorted(models))] if joint else [(model,) for model in models]

    @cached_property
    def references(self) -> list[str]:
        """Models whose dynamics are used by some method, for data maps and the report."""
        return list(dict.fromkeys(run.model for result in self.results for run in result.reference_runs))

    @cached_property
    def subsets(self) -> dict[str, Select]:
        """The selection of each subset, by the subset's name."""
        return {recipe.data: recipe.use for recipe in self._recipes.values() if isinstance(recipe.use, Select)}

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        found = (recipe for method in self.methods.values() for recipe in self._recipes_of(method))
        return {"": Recipe()} | {recipe.name: recipe for recipe in found}

    def _recipes_of(self, method: Method) -> list[Recipe]:
        mains = self.config.mains
        return [self._recipe(method, group, main) for main in mains for group in self._groups(method, main)]

    @cached_property
    def _selections(self) -> dict[str, Recipe]:
        """A recipe with each subset, by the subset's name."""
        return {recipe.data: recipe for recipe in self._recipes.values() if recipe.data in self.subsets}

    def subset_of(self, recipe: str) -> str:
        """Name of the subset that a recipe trains on; empty where it uses all data."""
        data = self._recipes[recipe].data
        return data if data in self.subsets else ""

    def reference_of(self, subset: str) -> str:
        """The reference model of a subset, of several the names joined by ``+``; empty for a random one."""
        return subset.rpartition("/")[0]

    def budget_of(self, recipe: str) -> float:
        """The share of the planned steps that a recipe takes."""
        return self._recipes[recipe].budget

    def reference_runs_of(self, name: str, seed: int) -> list[Run]:
        """The reference runs whose dynamics a subset or recipe uses; none for a random subset."""
        return self._reference_runs(self._selections.get(name) or self._recipes[name], seed)

    def _reference_runs(self, recipe: Recipe, seed: int) -> list[Run]:
        over_seeds = isinstance(recipe.use, Select) and recipe.use.over_seeds
        seeds = sorted(self.config.seeds) if over_seeds else [seed]
        return [Run(model, "", each) for model in recipe.group for each in seeds]

    def source_of(self, model: str) -> str:
        """Name of a model's source, shared by models that differ only in depth or training."""
        return self._model_sources[model]

    @cached_property
    def _model_sources(self) -> dict[str, str]:
        # Two sources may have the same short name; the later one then goes by the model's own, or by a number. In lower
        # case, since not every file system tells it from upper case.
        taken: dict[str, dict[str, Any]] = {}
        names = {}
        for name, model in self.config.models.items():
            identity = _identity(model)
            short = short_name(name, model)
            candidates = itertools.chain([short, name], (f"{short}-{number}" for number in itertools.count(2)))
            names[name] = next(each for each in candidates if taken.setdefault(each.lower(), identity) == identity)
        return names

    def tokenizer_of(self, model: str) -> str:
        """Name of a model's tokens; models with another maximum length than the common one have tokens of their own."""
        length = self.config.training_of(model).max_length
        common = length == self.config.training.max_length
        return self.source_of(model) if common else f"{self.source_of(model)}+{length}"

    def encoder_of(self, model: str) -> str:
        """Name of a model's frozen features: those of one source, depth and maximum length, in one precision."""
        layers = self.config.models[model].layers
        precision = self.config.training_of(model).precision
        name = self.tokenizer_of(model) + (f"+layers{layers}" if layers else "")
        return name if precision == self.config.training.precision else f"{name}+{precision}"

    @cached_property
    def encoders(self) -> dict[str, dict[str, Any]]:
        """Settings of rule ``embed``, by the name of the features."""
        return {
            self.encoder_of(name): {
                "datasets": self.embedded_sets,
                "layers": model.layers,
                "precision": self.config.training_of(name).precision,
            }
            for name, model in self.config.models.items()
        }

    @property
    def embedded_sets(self) -> list[str]:
        """Names of the data artifacts that heads are trained and evaluated on."""
        return [TRAIN, *self.dev_sets.values()]

    def model_of_encoder(self, encoder: str) -> str:
        """The first model that has these features; its resources are those of the job."""
        return next(name for name in self.config.models if self.encoder_of(name) == encoder)

    def trains_head(self, model: str) -> bool:
        """Whether only a head on frozen features is trained of a model."""
        return self.config.models[model].tune == "head"

    @cached_property
    def probes(self) -> list[tuple[str, int]]:
        """Every model whose head starts from a trained one, with each seed."""
        return list(dict.fromkeys(probe for result in self.results for probe in self._probes_of(result)))

    def _probes_of(self, result: Result) -> list[tuple[str, int]]:
        """The models and seeds of the trained heads that a result starts from, its references included, each once."""
        runs = (*result.reference_runs, result.run)
        return list(dict.fromkeys((run.model, run.seed) for run in runs if self.needs_probe(run.model, run.recipe)))

    def probe_path(self, model: str, seed: int) -> str:
        """Folder of a trained head inside ``results/{task}``."""
        return f"probe/{model}/seed{seed}"

    @cached_property
    def embedded(self) -> list[str]:
        """Names of the features that some head is trained on."""
        return list(dict.fromkeys(name for result in self.results for name in self._features_of(result)))

    def _features_of(self, result: Result) -> list[str]:
        """Names of the frozen features that a result is paid for, each once, whatever shares them."""
        heads = [run.model for run in result.reference_runs if self.trains_head(run.model)]
        heads += [model for model, _ in self._probes_of(result)]
        return list(dict.fromkeys(map(self.encoder_of, heads)))

    def needs_probe(self, model: str, recipe: str) -> bool:
        """Whether a training run starts from a trained head."""
        return self._recipes[recipe].probe or self.config.models[model].head == "probe"

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
        source = self.sources[dataset]
        role = dataset.rpartition(".")[2]
        # Where the file lies is not what it is: the rule tracks the content itself.
        return plain(
            {
                "source": source.model_copy(update={"path": source.path and without_credentials(source.path)}),
                "text": data.text,
                "label": data.label,
                "uid": data.uid,
                "labels": data.labels,
                "role": role,
            }
        )

    def check(self) -> dict[str, Any]:
        """Settings of rule ``check_data``."""
        data = self.config.data
        return plain({"datasets": sorted(self.sources), "labels": data.labels, "group": data.group})

    @property
    def urls(self) -> dict[str, str]:
        """Where data is fetched from, by data artifact, where no setting may show it: it has a password or the like."""
        paths = {name: source.path for name, source in self.sources.items() if source.path and is_url(source.path)}
        return {name: path for name, path in paths.items() if path != without_credentials(path)}

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

    def train(self, model: str, recipe: str = "") -> dict[str, Any]:
        """Settings of a training run: what ``loop.train`` takes as ``cfg``."""
        found = self._recipes[recipe]
        settings = self.config.models[model]
        results = [result for result in self.results if (result.run.model, result.run.recipe) == (model, recipe)]
        stops = [self.methods[result.method].stop for result in results]
        settles = settings.stop if not recipe else None
        return plain(
            {
                "dev": list(self.dev_sets),
                "tune": settings.tune,
                "features": settings.features,
                "hidden_size": settings.hidden_size,
                "budget": found.budget,
                "layers": settings.layers,
                "labels": self.config.data.labels,
                "metric": self.config.data.metric,
                "training": self.config.training_of(model),
                "stops": {checkpoint_name(stop): stop for stop in stops if stop is not None},
                "reference_stop": settles and {"name": checkpoint_name(settles), **settles.model_dump()},
                # The dynamics of a reference are of all its epochs, unless it may stop.
                "final": None in stops or not (recipe or settles),
                "upweight": found.use if isinstance(found.use, Upweight) else None,
                "product_of_experts": found.use if isinstance(found.use, ProductOfExperts) else None,
            }
        )

    def probe(self, model: str) -> dict[str, Any]:
        """Settings of rule ``train_probe``: those of a run that trains a classifier's own head on frozen features."""
        settings: dict[str, Any] = {"tune": "probe", "stops": {}, "reference_stop": None, "final": True, "budget": 1.0}
        return plain(self.train(model) | settings | {"training": self.config.head_training()})

    def trained_of(self, checkpoint: str) -> str:
        """Name of the saved model of an evaluated one, which may be its mean with the pretrained weights."""
        return self._evaluated[checkpoint].trained

    def interpolate(self, checkpoint: str) -> dict[str, Any]:
        """Settings of rule ``interpolate_weights``."""
        return {"checkpoint": self.trained_of(checkpoint), "share": self._evaluated[checkpoint].interpolate}

    @cached_property
    def _evaluated(self) -> dict[str, Result]:
        """A result with each evaluated model, by the model's name."""
        return {result.checkpoint: result for result in self.results}

    def datamap(self) -> dict[str, Any]:
        """Settings of rule ``compute_datamap``."""
        return plain(self.config.datamap)

    def select(self, subset: str) -> dict[str, Any]:
        """Settings of rule ``select_subset``; which data maps are averaged follows from its inputs."""
        return plain(self.subsets[subset].model_dump(exclude={"mean_over"}))

    def evaluate(self, model: str, checkpoint: str) -> dict[str, Any]:
        """Settings of rule ``evaluate_ood``: the datasets' splits in order, the precision, the saved model."""
        datasets = {name: file.rpartition(".")[2] for name, file in self.test_sets.items()}
        precision = self.config.training_of(model).precision
        return {"datasets": datasets, "precision": precision, "trained": self.trained_of(checkpoint)}

    def evaluations(self) -> list[tuple[Run, str]]:
        """Every saved model that some result needs, once."""
        return list(dict.fromkeys((result.run, result.checkpoint) for result in self.results))

    @property
    def runs(self) -> list[Run]:
        """Every training run, once: those that give results, and the references that these depend on."""
        runs = [run for result in self.results for run in (*result.reference_runs, result.run)]
        return list(dict.fromkeys(runs))

    def entries(self, results: str) -> list[dict[str, Any]]:
        """What summary, comparison and cost curve need to know of every row of the table of results."""
        return [self._entry(result, results) for result in self.results]

    def _entry(self, result: Result, results: str) -> dict[str, Any]:
        evaluation = f"{results}/evaluation/{result.run.path}/{result.checkpoint}"
        others = [f"{results}/features/{name}/cost.parquet" for name in self._features_of(result)]
        trainings = [self._reference_cost(run, results) for run in result.reference_runs]
        trainings += [
            {"cost": f"{results}/{self.probe_path(model, seed)}/cost.parquet", "checkpoint": FINAL}
            for model, seed in self._probes_of(result)
        ]
        if subset := self.subset_of(result.run.recipe):
            others += [f"{results}/datamap/{run.model}/seed{run.seed}.cost.parquet" for run in result.reference_runs]
            others.append(f"{results}/subset/{subset}/seed{result.seed}.cost.parquet")
        return {
            "task": self.config.task,
            "main": result.main,
            "method": result.method,
            "reference": result.reference,
            "seed": result.seed,
            "metrics": f"{evaluation}/metrics.parquet",
            "predictions": {name: f"{evaluation}/predictions/{name}.parquet" for name in self.test_sets},
            "curve": f"{results}/{result.run.path}/metrics.parquet",
            "cost": f"{results}/{result.run.path}/cost.parquet",
            "checkpoint": result.trained,
            "interpolated": result.interpolate is not None,
            "training_costs": trainings,
            "other_costs": others,
        }

    def forecast(self, results: str) -> dict[str, Any]:
        """Settings of rule ``forecast``: every method with the first seed, and the work that it and ERM take."""
        seed = self.config.seeds[0]
        chosen = [result for result in self.results if result.seed == seed]
        work: dict[str, dict[str, Any]] = {}
        methods = []
        for result in chosen:
            erm = next(each for each in chosen if (each.main, each.method) == (result.main, ERM))
            work |= self._work(result, results) | self._work(erm, results)
            stop = self.methods[result.method].stop
            methods.append(
                {
                    "task": self.config.task,
                    "main": result.main,
                    "method": result.method,
                    "reference": result.reference,
                    "training": result.run.path,
                    "preparation": list(self._preparation(result, results)),
                    "at_most": any(self.config.models[run.model].stop for run in result.reference_runs),
                    "erm_training": erm.run.path,
                    "erm_preparation": list(self._preparation(erm, results)),
                    "stop": stop and {"patience": stop.patience, "every": stop.every},
                }
            )
        return plain({"methods": methods, "work": work})

    def _work(self, result: Result, results: str) -> dict[str, dict[str, Any]]:
        """All that a result takes, for ``replay.replay``: what comes before its training, and that."""
        return self._preparation(result, results) | {
            result.run.path: self._training_work(result.run, self.train(result.run.model, result.run.recipe), results)
        }

    def _preparation(self, result: Result, results: str) -> dict[str, dict[str, Any]]:
        """What is paid for before a main model's training, as in ``_entry``."""
        work = {
            f"features/{name}": self._model_work(self.model_of_encoder(name), results) | {"training": None}
            for name in self._features_of(result)
        }
        work |= {run.path: self._training_work(run, self.train(run.model), results) for run in result.reference_runs}
        for model, seed in self._probes_of(result):
            run = Run(model, "", seed)
            work[self.probe_path(model, seed)] = self._training_work(run, self.probe(model), results)
        return work

    def _training_work(self, run: Run, settings: dict[str, Any], results: str) -> dict[str, Any]:
        keys = ("batch_size", "micro_batch_size", "steps", "epochs", "evaluate_every", "length_window")
        select = self.subsets.get(self.subset_of(run.recipe))
        training = {name: settings[name] for name in ("budget", "features", "hidden_size", "tune")} | {
            "seed": run.seed,
            "batches": {key: settings["training"][key] for key in keys},
            "labels": len(self.config.data.labels),
            "select": select and {"fraction": select.fraction, "balance": select.balance},
        }
        return self._model_work(run.model, results) | {"training": training}

    def _model_work(self, model: str, results: str) -> dict[str, Any]:
        return {
            "model": model,
            "source": f"{results}/source/{self.source_of(model)}",
            "layers": self.config.models[model].layers,
            "tokens": f"{results}/tokens/{self.tokenizer_of(model)}/{TRAIN}.parquet",
        }

    def _reference_cost(self, run: Run, results: str) -> dict[str, str]:
        """The cost table of a reference run, and which of its rows says where it ended as a reference."""
        checkpoint = checkpoint_name(self.config.models[run.model].stop)
        return {"cost": f"{results}/{run.path}/cost.parquet", "checkpoint": checkpoint}

    def costs(self, results: str) -> list[str]:
        """Every cost table, once: of training runs, data maps and subsets."""
        costs = [f"{results}/{run.path}/cost.parquet" for run in self.runs]
        costs += [f"{results}/{self.probe_path(*probe)}/cost.parquet" for probe in self.probes]
        return costs + sorted({path for entry in self.entries(results) for path in entry["other_costs"]})

    def datamap_entries(self, results: str) -> list[dict[str, Any]]:
        """The data maps of the experiment, those of main models last, and where they and their dynamics lie."""
        return [
            {
                "reference": reference,
                "seed": seed,
                "path": f"{results}/datamap/{reference}/seed{seed}.parquet",
                "dynamics": f"{results}/reference/{reference}/seed{seed}/dynamics.parquet",
            }
            for reference in sorted(self.references, key=lambda name: name in self.config.mains)
            for seed in self.config.seeds
        ]

    @property
    def _judged(self) -> list[str]:
        """The references that get a verdict: those that are no main models, unless all are.

        So that the verdicts need no main model.
        """
        return [name for name in self.references if name not in self.config.mains] or self.references

    def transfer(self, results: str) -> dict[str, Any]:
        """Settings of rule ``compare_references``: the runs of the references that get a verdict."""
        runs = [Run(model, "", seed) for model in self._judged for seed in self.config.seeds]
        return {
            "runs": [
                {
                    "reference": run.model,
                    "seed": run.seed,
                    "datamap": f"{results}/datamap/{run.model}/seed{run.seed}.parquet",
                    "curve": f"{results}/{run.path}/metrics.parquet",
                    "head": self.trains_head(run.model),
                    **self._reference_cost(run, results),
                }
                for run in runs
            ],
            "metric": self.config.data.metric,
            "labels": len(self.config.data.labels),
        }

    def judging(self, main: str) -> list[str]:
        """The methods that show for a main model what the verdicts are worth.

        They train it on the plainly ambiguous examples of a single run that has a verdict; the differences are to ERM.
        """
        found = [
            result.method
            for result in self.results
            if result.main == main and (subset := self.subset_of(result.run.recipe))
            if len(result.reference_runs) == 1 and result.reference_runs[0].model in self._judged
            if criterion(self.subsets[subset]) == "ambiguous"
        ]
        return list(dict.fromkeys(found))

    def subset_entries(self, results: str) -> list[dict[str, Any]]:
        """The subsets of the experiment, and where they lie."""
        return [
            {
                "reference": self.reference_of(subset),
                "by": criterion(select),
                "fraction": select.fraction,
                "seed": seed,
                "path": f"{results}/subset/{subset}/seed{seed}.parquet",
            }
            for subset, select in self.subsets.items()
            for seed in self.config.seeds
        ]

    def figures(self, results: str) -> list[dict[str, Any]]:
        """The figures that apply to the experiment: what ``figures.draw`` takes."""
        folder = f"{results}/figures"
        found: list[dict[str, Any]] = []
        for main in self.config.mains:
            # A mean of weights has a score, but was not trained.
            trained = any(result.main == main and result.interpolate is None for result in self.results)
            for kind in ("robustness-cost", *(("learning-curves", "cost-curve") if trained else ())):
                found.append({"kind": kind, "main": main, "stem": f"{folder}/{kind}-{main}"})
        if self.references and len(self.transfer(results)["runs"]) > 1:
            found.append({"kind": "transfer", "stem": f"{folder}/transfer"})
        for entry in self.datamap_entries(results):
            names = {"reference": entry["reference"], "seed": entry["seed"]}
            stem = f"{folder}/datamap-{entry['reference']}-seed{entry['seed']}"
            found.append({"kind": "datamap", **names, "datamap": entry["path"], "stem": stem})
        return plain(found)

    def tables(self, results: str) -> list[dict[str, Any]]:
        """The tables for papers that apply to the experiment: what ``tables.write`` takes."""
        folder = f"{results}/tables"
        found: list[dict[str, Any]] = [
            {"kind": "results", "main": main, "stem": f"{folder}/results-{main}"} for main in self.config.mains
        ]
        if self.references:
            found.append({"kind": "references", "stem": f"{folder}/references"})
        found += [
            {"kind": "outcomes", "main": main, "methods": methods, "stem": f"{folder}/outcomes-{main}"}
            for main in self.config.mains
            if (methods := self.judging(main))
        ]
        return plain(found)

    def report(self, results: str) -> dict[str, Any]:
        """Settings of rule ``report``."""
        # What changes no result is not shown, so that it does not rerun the page either.
        hidden: Any = {
            "runtime": True,
            "report": True,
            "data_dir": True,
            "models": {name: {"resources"} for name in self.config.models},
        }
        return plain(
            {
                "task": self.config.task,
                "config": _without_credentials(self.config.model_dump(exclude_unset=True, exclude=hidden)),
                "labels": self.config.data.labels,
                "datamaps": self.datamap_entries(results),
                "subsets": self.subset_entries(results),
                "group": self.config.data.group,
                "metric": self.config.data.metric,
                "judging": {main: self.judging(main) for main in self.config.mains},
                "costs": self.named_costs(results),
                "lineage": lineage(self),
                "budgets": {name: method.budget for name, method in self.methods.items() if (method.budget or 1) < 1},
                "blur_text": self.config.report.blur_text,
            }
        )

    def named_costs(self, results: str) -> list[dict[str, str]]:
        """Every cost table, with the rule that wrote it and what for, whatever the seed."""
        named = [
            {
                "rule": "train_main" if run.recipe else "train_reference",
                "name": title_of(run),
                "path": f"{results}/{run.path}/cost.parquet",
            }
            for run in self.runs
        ]
        named += [
            {
                "rule": "compute_datamap",
                "name": entry["reference"],
                "path": f"{entry['path'].removesuffix('.parquet')}.cost.parquet",
            }
            for entry in self.datamap_entries(results)
        ]
        named += [
            {"rule": "embed", "name": encoder, "path": f"{results}/features/{encoder}/cost.parquet"}
            for encoder in self.embedded
        ]
        named += [
            {"rule": "train_probe", "name": model, "path": f"{results}/{self.probe_path(model, seed)}/cost.parquet"}
            for model, seed in self.probes
        ]
        return named + [
            {"rule": "select_subset", "name": subset, "path": f"{results}/subset/{subset}/seed{seed}.cost.parquet"}
            for subset in self.subsets
            for seed in self.config.seeds
        ]


def _without_credentials(section: Any) -> Any:
    """A section in which no URL has a password or the like."""
    if isinstance(section, dict):
        return {key: _without_credentials(value) for key, value in section.items()}
    return without_credentials(section) if isinstance(section, str) else section


def _order(method: Method) -> tuple[bool, ...]:
    """ERM, random, what weighs all data, the selections by own dynamics, by a reference's.

    Each comes before its forms with a trained head, as a mean of weights, at a smaller budget, and stopped early.
    """
    own = method.references == [SELF]
    return (
        method.recipe is not None,
        method.needs_reference,
        method.needs_reference and method.select is not None,
        method.needs_reference and not own,
        method.head is not None,
        method.interpolate is not None,
        method.budget is not None,
        method.stop is not None,
    )


def _identity(model: Model) -> dict[str, Any]:
    keys = ("hub", "revision", "package", "path", "scratch", "sha256")
    return {key: getattr(model, key) for key in keys}
