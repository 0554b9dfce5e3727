"""From a configuration to the runs it asks for, and which of them share what.

A training run is identified by what it depends on. The run of a model on all data is its *reference* run, whichever
methods use it: as the ERM baseline, for its training dynamics, or both.
"""

from dataclasses import dataclass
from functools import cached_property

from ftft.experiment.config import SELF, Config, Method, Select, plain
from ftft.experiment.materials import Materials
from ftft.experiment.naming import Recipe, Result, Run, check_names, checkpoint_name


@dataclass(frozen=True)
class Preparation:
    """What a result is paid for beside its own training, each once, whatever shares it.

    Attributes:
        features: names of the frozen features that heads are trained on.
        references: the runs whose dynamics are used.
        probes: the models and seeds of the trained heads that runs start from, the references included.
        subset: name of the subset that data maps of the references, if there are any, have selected; empty without.
    """

    features: tuple[str, ...]
    references: tuple[Run, ...]
    probes: tuple[tuple[str, int], ...]
    subset: str


class Plan(Materials):
    """Everything that the rules ask about the runs of an experiment.

    Attributes:
        methods: from the plainest on, whatever their order in the configuration.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.methods = dict(sorted(config.methods.items(), key=lambda item: (_order(item[1]), item[0])))
        _check(self)

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
        """Models whose dynamics are used by some method, for data maps and the page."""
        return list(dict.fromkeys(run.model for result in self.results for run in result.reference_runs))

    @cached_property
    def subsets(self) -> dict[str, Select]:
        """The selection of each subset, by the subset's name."""
        return {recipe.data: recipe.use for recipe in self.recipes.values() if isinstance(recipe.use, Select)}

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        found = (recipe for method in self.methods.values() for recipe in self.recipes_of(method))
        return {"": Recipe()} | {recipe.name: recipe for recipe in found}

    def recipes_of(self, method: Method) -> list[Recipe]:
        mains = self.config.mains
        return [self._recipe(method, group, main) for main in mains for group in self._groups(method, main)]

    @cached_property
    def _selections(self) -> dict[str, Recipe]:
        """A recipe with each subset, by the subset's name."""
        return {recipe.data: recipe for recipe in self.recipes.values() if recipe.data in self.subsets}

    def subset_of(self, recipe: str) -> str:
        """Name of the subset that a recipe trains on; empty where it uses all data."""
        data = self.recipes[recipe].data
        return data if data in self.subsets else ""

    def group_of(self, subset: str) -> tuple[str, ...]:
        """The reference models that select a subset together; none for a random one."""
        return self._selections[subset].group

    def reference_runs_of(self, name: str, seed: int) -> list[Run]:
        """The reference runs whose dynamics a subset or recipe uses; none for a random subset."""
        return self._reference_runs(self._selections.get(name) or self.recipes[name], seed)

    def _reference_runs(self, recipe: Recipe, seed: int) -> list[Run]:
        over_seeds = isinstance(recipe.use, Select) and recipe.use.over_seeds
        seeds = sorted(self.config.seeds) if over_seeds else [seed]
        return [Run(model, "", each) for model in recipe.group for each in seeds]

    @property
    def runs(self) -> list[Run]:
        """Every training run, once: those that give results, and the references that these depend on."""
        runs = [run for result in self.results for run in (*result.reference_runs, result.run)]
        return list(dict.fromkeys(runs))

    @cached_property
    def run_at(self) -> dict[str, Run]:
        """Every training run, by its folder inside that of the experiment."""
        return {run.path: run for run in self.runs}

    def evaluations(self) -> list[tuple[Run, str]]:
        """Every saved model that some result needs, once."""
        return list(dict.fromkeys((result.run, result.checkpoint) for result in self.results))

    @cached_property
    def evaluated(self) -> dict[str, Result]:
        """A result with each evaluated model, by the model's name."""
        return {result.checkpoint: result for result in self.results}

    def trained_of(self, checkpoint: str) -> str:
        """Name of the saved model of an evaluated one, which may be its mean with the pretrained weights."""
        return self.evaluated[checkpoint].trained

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

    @cached_property
    def probes(self) -> list[tuple[str, int]]:
        """Every model whose head starts from a trained one, with each seed."""
        return list(dict.fromkeys(each for result in self.results for each in self.preparation_of(result).probes))

    @cached_property
    def embedded(self) -> list[str]:
        """Names of the features that some head is trained on."""
        return list(dict.fromkeys(name for result in self.results for name in self.preparation_of(result).features))

    def preparation_of(self, result: Result) -> Preparation:
        """What a result is paid for beside its own training."""
        references = result.reference_runs
        starting = [run for run in (*references, result.run) if self.needs_probe(run.model, run.recipe)]
        heads = [run.model for run in references if self.trains_head(run.model)] + [run.model for run in starting]
        return Preparation(
            features=tuple(dict.fromkeys(map(self.encoder_of, heads))),
            references=references,
            probes=tuple(dict.fromkeys((run.model, run.seed) for run in starting)),
            subset=self.subset_of(result.run.recipe),
        )

    def needs_probe(self, model: str, recipe: str) -> bool:
        """Whether a training run starts from a trained head."""
        return self.recipes[recipe].probe or self.config.models[model].head == "probe"

    @property
    def judged(self) -> list[str]:
        """The references that get a verdict: those that are no main models, unless all are.

        So that the verdicts need no main model.
        """
        return [name for name in self.references if name not in self.config.mains] or self.references


def _check(plan: Plan) -> None:
    """No two things that differ have one name, or they would share a folder.

    Raises:
        UserError: two have.
    """
    models, methods = plan.config.models, plan.methods
    tokens = {name: (plan.source_of(name), plan.config.training_of(name).max_length) for name in models}
    features = {
        name: (tokens[name], model.layers, plan.config.training_of(name).precision) for name, model in models.items()
    }
    settles = {name: model.stop for name, model in models.items() if model.stop is not None}
    recipes = [(name, recipe) for name, method in methods.items() for recipe in plan.recipes_of(method)]
    subsets = [(recipe.data, f"method {name}", recipe.choice) for name, recipe in recipes if recipe.use is not None]
    results = [(result, methods[result.method].stop) for result in plan.results]
    check_names([(plan.tokenizer_of(name), f"model {name}", each) for name, each in tokens.items()])
    check_names([(plan.encoder_of(name), f"model {name}", each) for name, each in features.items()])
    check_names([(checkpoint_name(stop), f"model {name}", plain(stop)) for name, stop in settles.items()])
    check_names([*((name, f"model {name}", name) for name in models), *subsets])
    check_names([(each.name, f"method {name}", (each.choice, each.budget, each.probe)) for name, each in recipes])
    check_names([(each.checkpoint, f"method {each.method}", (plain(stop), each.interpolate)) for each, stop in results])


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
