"""The configuration of an experiment: all sections together, and what has to hold between them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ftft.core.errors import listed, named, shown
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.experiment.config.data import Data
from ftft.experiment.config.methods import DataMap, Method
from ftft.experiment.config.models import HEAD, Model, Training
from ftft.experiment.config.sections import ERM, LARGEST, SELF, Name, Section, Strings, allowed, as_list, as_section
from ftft.training.steps import budgeted


class Runtime(Section):
    """Settings that change only speed and display; none of them ever triggers a rerun."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto takes CUDA, else Apple's MPS, else the CPU"
    )
    tracker: Literal["wandb", "tensorboard", "trackio"] | None = Field(
        None, description="also send the curves to this tracker (install it first)"
    )
    progress: bool = Field(True, description="a progress bar for a training that has the terminal to itself")
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="compile the training pass; auto does so on CUDA for runs of 5,000 steps and more whose passes are "
        "not recorded",
    )
    cuda_graphs: bool = Field(
        True,
        description="on CUDA, record the training passes of a few shapes and launch each as a whole, which is several "
        "times faster where the host cannot launch kernels as fast as the GPU computes them; texts are padded to those "
        "shapes",
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="minutes between checkpoints that a killed run resumes from"
    )


class Report(Section):
    """How the results are shown."""

    blur_text: bool = Field(False, description="texts of examples appear only at a click, for texts that may offend")


class Config(Section):
    """One experiment: a task and a matrix of models, methods and seeds."""

    task: Name = Field(description="its name; results go to results/{task}")
    data_dir: str = Field(
        ".", description="where relative data paths start, itself from the working folder; may change without a rerun"
    )
    data: Data = Field(description="the labelled text")
    models: dict[Name, Model] = Field(min_length=1, description="by names that become part of paths")
    references: Strings = Field(default_factory=list, description="models whose training dynamics select subsets")
    mains: Strings = Field(min_length=1, description="models to make robust")
    methods: dict[Name, Annotated[Method, BeforeValidator(as_section)]] = Field(
        min_length=1,
        description="by names; one is erm: {}, plain training, to which costs and gains are relative",
    )
    seeds: Annotated[list[int], BeforeValidator(as_list)] = Field(
        min_length=1,
        description=f"from 0 to {LARGEST}; the reference of seed s is paired with the main model of seed s",
    )
    datamap: DataMap = Field(default_factory=DataMap, description="how the data maps are computed")
    training: Training = Field(description="settings that change results, common to all models")
    report: Report = Field(default_factory=Report, description="how the results are shown")
    runtime: Runtime = Field(default_factory=Runtime, description="settings that change no result")

    @model_validator(mode="after")
    def _check(self) -> Self:
        def defined(key: str, name: str) -> None:
            if name not in self.models:
                raise ValueError(
                    f"{key} names the model {shown(name)}, which is not defined; {allowed(name, self.models)}"
                )

        for key in ("references", "mains"):
            for name in getattr(self, key):
                defined(key, name)
        for key in ("references", "mains", "seeds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} must differ from each other; found {listed(values)}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds are from 0 to {LARGEST}; found {listed(self.seeds)}")
        for key, names in (("models", self.models), ("methods", self.methods), ("data.ood", self.data.ood)):
            self._check_case(key, list(names))
        if SELF in self.models:
            raise ValueError(f"models: the name {SELF!r} stands for the main model itself; choose another")
        if IN_DISTRIBUTION in self.data.ood:
            raise ValueError(f"data.ood: the name {IN_DISTRIBUTION!r} is taken; choose another")
        self._check_erm()
        monitors = ["dev", *(["ood_dev"] if any(o.dev for o in self.data.ood.values()) else [])]
        monitors += [f"ood_dev/{name}" for name, ood in self.data.ood.items() if ood.dev]
        for name, method in self.methods.items():
            for reference in method.references or []:
                if reference != SELF:
                    defined(f"methods.{name}.references", reference)
            if method.needs_reference and not (method.references or self.references):
                raise ValueError(f"methods.{name} needs a reference, but references is empty: name a model there")
            if method.select and method.select.over_references:
                self._check_joint(name, method.references or self.references)
            if method.stop and method.stop.monitor in ("ranking", "subset"):
                raise ValueError(
                    f"methods.{name}.stop.monitor is {shown(method.stop.monitor)}, which ends a reference and no main "
                    "model: set models.NAME.stop for that"
                )
            if method.stop and method.stop.monitor not in monitors:
                raise ValueError(
                    f"methods.{name}.stop.monitor is {shown(method.stop.monitor)}, which no data.dev or data.ood.*.dev "
                    f"gives; {allowed(method.stop.monitor, monitors)}"
                )
        for main in self.mains:
            if self.models[main].tune == "head":
                raise ValueError(
                    f"mains names the model {main!r}, of which only a head is trained (tune: head): it can be a "
                    "reference; leave tune out to make it a main model"
                )
        for name in self.models:
            self.training_of(name)
        for name, method in self.methods.items():
            for main in self.mains:
                self._check_pretrained(f"methods.{name}", method, main)
                self._check_steps(f"methods.{name}", method, main)
        return self

    @staticmethod
    def _check_case(key: str, names: list[str]) -> None:
        """Names become folders, and not every file system tells upper from lower case."""
        found: dict[str, str] = {}
        for name in names:
            if other := found.get(name.lower()):
                raise ValueError(f"{key}: {shown(other)} and {shown(name)} differ in case alone; rename one")
            found[name.lower()] = name

    def _check_erm(self) -> None:
        """Every cost and gain is relative to plain training on all data."""
        if ERM not in self.methods:
            raise ValueError(
                "methods has no erm, plain training on all data, to which every cost and gain is relative; add erm: {}"
            )
        if extra := sorted(self.methods[ERM].model_fields_set):
            raise ValueError(
                f"methods.erm is plain training on all data, to which every cost and gain is relative; found "
                f"{named(extra)}: give this method another name, and let erm be {{}}"
            )

    def _check_pretrained(self, key: str, method: Method, main: str) -> None:
        """What is about pretrained weights has some, and a mean of weights has a pretrained classifier."""
        wanted = [name for name in ("interpolate", "head") if getattr(method, name) is not None]
        if wanted and self.models[main].scratch is not None:
            raise ValueError(
                f"{key}.{wanted[0]} is about pretrained weights, which the main model {main!r} (scratch) has none of; "
                "leave it out"
            )
        if method.interpolate is not None and not self.starts_from_probe(method, main):
            raise ValueError(
                f"{key}.interpolate takes the mean with a pretrained classifier, but {main!r} has a new head, which is "
                f"not pretrained: add head: probe to {key} or to models.{main}"
            )

    def _check_steps(self, key: str, method: Method, main: str) -> None:
        """A budget has room for the warm-up and an evaluation, and a stop rule looks at a divisor of the interval."""
        training = self.training_of(main)
        interval = training.evaluate_every
        every = method.stop.every if method.stop else None
        if every is not None:
            if interval is None:
                raise ValueError(
                    f"{key}.stop.every is {every}, but {main!r} has no training.evaluate_every that it could divide: "
                    "set that too"
                )
            if interval % every:
                allowed = named(str(number) for number in range(1, min(interval, 10**6) + 1) if interval % number == 0)
                raise ValueError(
                    f"{key}.stop.every is {every}, which does not divide the evaluate_every of {main!r}, {interval}; "
                    f"allowed: {allowed}"
                )
        if method.budget is None or method.budget == 1:
            return
        if method.budget <= training.warmup:
            raise ValueError(
                f"{key}.budget is {method.budget:g} of the steps, no more than the warm-up of {main!r}, "
                f"{training.warmup:g}; raise budget, or lower training.warmup"
            )
        if training.steps is not None and budgeted(training.steps, method.budget) < (every or interval or 1):
            raise ValueError(
                f"{key}.budget is {method.budget:g} of the {training.steps} steps of {main!r}, fewer than the "
                f"{every or interval} to the first evaluation; raise budget, or lower training.evaluate_every"
            )

    def starts_from_probe(self, method: Method, main: str) -> bool:
        """Whether a main model's head starts from a trained one."""
        return "probe" in (method.head, self.models[main].head)

    def _check_joint(self, method: str, references: list[str]) -> None:
        """References that select together: there are several, and the name of the group is no model's."""
        key = f"methods.{method}.select.mean_over"
        if len(set(references)) < 2:
            raise ValueError(f"{key} is about two or more references; found {named(references)}; name more")
        if plus := [name for name in self.models if "+" in name]:
            raise ValueError(f"{key} joins names of models by '+', but {plus[0]!r} has one: rename this model")

    def training_of(self, model: str) -> Training:
        """The training settings of a model: the common ones, or those of a head, with its own put over them."""
        overrides = self.models[model].overrides()
        common = self.training.model_dump()
        if self.models[model].tune == "head":
            common = self.head_training()
        if {"steps", "epochs"} & set(overrides):
            common |= {"steps": None, "epochs": None}
        training = Training(**(common | overrides))
        if (training.steps is None) == (training.epochs is None):
            found = "both" if training.steps else "neither"
            raise ValueError(f"training needs either steps or epochs (model {model!r}); found {found}")
        return training

    def head_training(self) -> dict[str, Any]:
        """The training settings of a head on frozen features; the common ones that its encoder needs are kept."""
        common = self.training.model_dump(include={"max_length", "precision"})
        return Training(**(HEAD | common)).model_dump()
