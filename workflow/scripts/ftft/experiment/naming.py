"""The names of runs, recipes, results and saved models, which become parts of paths.

Objects with a name: nothing is ever parsed back out of one, and ``check_names`` refuses two things of one name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ftft.core.errors import UserError, shown
from ftft.experiment.config import NAME, Model, ProductOfExperts, ReferenceStop, Select, Stop, Upweight, plain
from ftft.experiment.layout import main_run, reference_run
from ftft.models.saved import FINAL

LONGEST = 200  # characters of a folder's name; file systems take 255, some of which Snakemake needs


@dataclass(frozen=True, order=True)
class Run:
    """One training run of one model.

    Attributes:
        model: its name.
        recipe: name of how it is trained, see ``Recipe``; empty for all data alike and all the steps.
        seed: its seed.
    """

    model: str
    recipe: str
    seed: int

    @property
    def path(self) -> str:
        """Its folder inside that of the experiment."""
        if self.recipe:
            return main_run(self.model, self.recipe, self.seed)
        return reference_run(self.model, self.seed)


@dataclass(frozen=True)
class Recipe:
    """How a main model is trained.

    Attributes:
        use: how it uses the training data; None: all alike.
        group: the reference models that decide it; several select together.
        budget: share of the planned steps.
        probe: whether its head starts from a trained one where the model's own does not.
    """

    use: Select | Upweight | ProductOfExperts | None = None
    group: tuple[str, ...] = ()
    budget: float = 1.0
    probe: bool = False

    @property
    def kind(self) -> str:
        """Name of how it uses the training data, whichever reference models decide it; empty for all alike."""
        match self.use:
            case None:
                return ""
            case Select() as select:
                return f"{select.by}-{number(select.fraction)}{variant(select)}"
            case Upweight() as upweight:
                return f"upweight-{upweight.factor}-epoch{upweight.epoch}"
            case ProductOfExperts() as product:
                return f"product-epoch{product.epoch}"

    @property
    def data(self) -> str:
        """Name of what it is trained on: a subset, or how a reference weighs all data; empty for all alike."""
        return "/".join(["+".join(self.group), self.kind] if self.group else [self.kind])

    @property
    def choice(self) -> tuple[Any, ...]:
        """What ``data`` names: two recipes of one name have the same."""
        over_seeds = isinstance(self.use, Select) and self.use.over_seeds
        use = self.use and plain(self.use.model_dump(exclude={"mean_over"}))
        return (self.group, type(self.use).__name__, use, over_seeds)

    @property
    def name(self) -> str:
        """Its name in paths; empty where nothing is special about the run, which may then serve as a reference."""
        special = f"+budget{number(self.budget)}" if self.budget != 1 else ""
        special += "+probe" if self.probe else ""
        return f"{self.data or 'all'}{special}" if special else self.data


@dataclass(frozen=True)
class Result:
    """One row of the table of results: a method applied to a main model with one seed.

    Attributes:
        main, method: their names.
        reference: name of the reference model, of several that select together joined by ``+``; empty where the
            method needs none.
        seed: of both the reference and the main model.
        run: the run that gives the result.
        trained: which of the run's saved models.
        interpolate: share of its weights in a mean with the pretrained ones; None where it is taken as it is.
        reference_runs: the runs whose dynamics were used.
    """

    main: str
    method: str
    reference: str
    seed: int
    run: Run
    trained: str
    interpolate: float | None = None
    reference_runs: tuple[Run, ...] = ()

    @property
    def checkpoint(self) -> str:
        """Name of the model that is evaluated."""
        return self.trained if self.interpolate is None else f"{self.trained}+wise{number(self.interpolate)}"


def checkpoint_name(stop: Stop | ReferenceStop | None) -> str:
    """Name of the saved model of a stop rule; ``final`` without one."""
    if stop is None:
        return FINAL
    if isinstance(stop, ReferenceStop):
        size = f"-{number(stop.fraction)}" if stop.monitor == "subset" else ""
        return f"stop-{stop.monitor}-{stop.by}{size}-bound{number(stop.bound)}"
    delta = f"-delta{number(stop.min_delta)}" if stop.min_delta else ""
    every = f"-every{stop.every}" if stop.every else ""
    return f"stop-{stop.monitor.replace('/', '.')}-patience{stop.patience}{delta}{every}"


def number(value: float) -> str:
    """A number for a name: no other number has the same."""
    short = f"{value:.15g}"
    return short if float(short) == value else repr(value)


def criterion(select: Select) -> str:
    """What a selection goes by, with what sets it apart from the plain one."""
    return select.by + variant(select)


def variant(select: Select) -> str:
    """What sets a selection apart from the plain one of the same criterion and size, for its name."""
    easy = f"+easy{number(select.easy_share)}" if select.easy_share else ""
    balance = f"+{select.balance}" if select.balance else ""
    return easy + balance + ("+seeds" if select.over_seeds else "")


def title_of(run: Run) -> str:
    """What to call a trained model, whatever the seed."""
    return f"{run.model} on {run.recipe}" if run.recipe else run.model


def short_name(name: str, model: Model) -> str:
    """A name for a model's source: its id, package or folder, where that is fit for a path; else the model's own.

    And its separator of pairs, by its characters' numbers, where it is not the usual one.
    """
    separator = model.pair_separator or ""
    more = f"+pair{separator.encode().hex()}" if separator not in ("", "\n") else ""
    if model.scratch is not None:
        return name + more
    text = (model.hub or model.package or str(model.path).rstrip("/").rpartition("/")[2]).replace("/", "--")
    return (text if re.fullmatch(r"\w[\w .,@=()+-]*", text) and len(text) <= NAME else name) + more


def check_names(named: Iterable[tuple[str, str, Any]]) -> None:
    """Refuse one name for two things, given as name, whose it is, and what decides it; upper case or lower is the same.

    Raises:
        UserError: two things that differ have one name, or a name is too long for a folder.
    """
    found: dict[str, tuple[str, str, Any]] = {}
    for name, owner, thing in named:
        other, first, known = found.setdefault(name.lower(), (name, owner, thing))
        if (name, thing) != (other, known):
            raise UserError(
                f"config: {first} and {owner} differ, but both would have their results in folders called "
                f"{shown(name)}; rename a model or an OOD set of which the name is a part"
            )
        if any(len(part) > LONGEST for part in name.split("/")):
            raise UserError(
                f"config: {owner} would have its results in a folder whose name has more than {LONGEST} characters, "
                f"{shown(name)}; give its models shorter names"
            )
