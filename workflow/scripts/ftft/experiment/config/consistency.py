"""What has to hold between the sections of a configuration. The first thing that does not is said."""

from typing import TYPE_CHECKING

from ftft.core.errors import listed, named, shown
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.experiment.config.methods import Method
from ftft.experiment.config.sections import LARGEST, SELF, allowed
from ftft.results.schemas import ERM, HEADINGS
from ftft.training.steps import budgeted

if TYPE_CHECKING:
    from ftft.experiment.config.experiment import Config


def check(config: "Config") -> None:
    """See that all sections together make an experiment.

    Raises:
        ValueError: they do not; its text names the key, what was found, and what is allowed.
    """
    for key in ("references", "mains"):
        for name in getattr(config, key):
            _defined(config, key, name)
    _different(config)
    _names(config)
    _erm(config)
    _filled(config)
    for name, method in config.methods.items():
        _references(config, name, method)
        _monitor(config, name, method)
    for main in config.mains:
        if config.models[main].tune == "head":
            raise ValueError(
                f"mains names the model {main!r}, of which only a head is trained (tune: head): it can be a "
                "reference; leave tune out to make it a main model"
            )
    for name in config.models:
        config.training_of(name)
    for name, method in config.methods.items():
        for main in config.mains:
            _pretrained(config, f"methods.{name}", method, main)
            _steps(config, f"methods.{name}", method, main)


def _defined(config: "Config", key: str, name: str) -> None:
    if name not in config.models:
        raise ValueError(f"{key} names the model {shown(name)}, which is not defined; {allowed(name, config.models)}")


def _different(config: "Config") -> None:
    for key in ("references", "mains", "seeds"):
        values = getattr(config, key)
        if len(set(values)) != len(values):
            raise ValueError(f"{key} must differ from each other; found {listed(values)}")
    if min(config.seeds) < 0:
        raise ValueError(f"seeds are from 0 to {LARGEST}; found {listed(config.seeds)}")


def _names(config: "Config") -> None:
    for key, names in (("models", config.models), ("methods", config.methods), ("data.ood", config.data.ood)):
        _case(key, list(names))
    if SELF in config.models:
        raise ValueError(f"models: the name {SELF!r} stands for the main model itself; choose another")
    for name in config.data.ood:
        if name.lower() in (IN_DISTRIBUTION, *HEADINGS):
            raise ValueError(f"data.ood: the name {name!r} is taken; choose another")


def _case(key: str, names: list[str]) -> None:
    """Names become folders, and not every file system tells upper from lower case."""
    found: dict[str, str] = {}
    for name in names:
        if other := found.get(name.lower()):
            raise ValueError(f"{key}: {shown(other)} and {shown(name)} differ in case alone; rename one")
        found[name.lower()] = name


def _filled(config: "Config") -> None:
    """Only plain training has no settings; a method that lost its own would have the scores of ERM."""
    for name, method in config.methods.items():
        if name != ERM and not any(getattr(method, key) is not None for key in type(method).model_fields):
            raise ValueError(f"methods.{name} is empty, which is plain training, as {ERM} is; fill it or leave it out")


def _erm(config: "Config") -> None:
    """Every cost and gain is relative to plain training on all data."""
    if ERM not in config.methods:
        raise ValueError(
            "methods has no erm, plain training on all data, to which every cost and gain is relative; add erm: {}"
        )
    if extra := sorted(config.methods[ERM].model_fields_set):
        raise ValueError(
            f"methods.erm is plain training on all data, to which every cost and gain is relative; found "
            f"{named(extra)}: give this method another name, and let erm be {{}}"
        )


def _references(config: "Config", name: str, method: Method) -> None:
    """The references of a method are defined, and there are as many as it needs."""
    for reference in method.references or []:
        if reference != SELF:
            _defined(config, f"methods.{name}.references", reference)
    if method.needs_reference and not (method.references or config.references):
        raise ValueError(f"methods.{name} needs a reference, but references is empty: name a model there")
    if method.select and method.select.over_references:
        _joint(config, name, method.references or config.references)


def _monitor(config: "Config", name: str, method: Method) -> None:
    """The dev sets that a stop rule watches are there."""
    ood = config.data.ood
    monitors = ["dev", *(["ood_dev"] if any(each.dev for each in ood.values()) else [])]
    monitors += [f"ood_dev/{each}" for each, sets in ood.items() if sets.dev]
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


def _joint(config: "Config", method: str, references: list[str]) -> None:
    """References that select together: there are several, and the name of the group is no model's."""
    key = f"methods.{method}.select.mean_over"
    if len(set(references)) < 2:
        raise ValueError(f"{key} is about two or more references; found {named(references)}; name more")
    if plus := [name for name in config.models if "+" in name]:
        raise ValueError(f"{key} joins names of models by '+', but {plus[0]!r} has one: rename this model")


def _pretrained(config: "Config", key: str, method: Method, main: str) -> None:
    """What is about pretrained weights has some, and a mean of weights has a pretrained classifier."""
    wanted = [name for name in ("interpolate", "head") if getattr(method, name) is not None]
    if wanted and config.models[main].scratch is not None:
        raise ValueError(
            f"{key}.{wanted[0]} is about pretrained weights, which the main model {main!r} (scratch) has none of; "
            "leave it out"
        )
    if method.interpolate is not None and config.models[main].tune == "lora":
        raise ValueError(
            f"{key}.interpolate takes a mean of whole models, but of {main!r} only an adapter is trained (tune: lora); "
            f"leave out interpolate, or tune: lora of {main!r}"
        )
    if method.interpolate is not None and not config.starts_from_probe(method, main):
        raise ValueError(
            f"{key}.interpolate takes the mean with a pretrained classifier, but {main!r} has a new head, which is "
            f"not pretrained: add head: probe to {key} or to models.{main}"
        )


def _steps(config: "Config", key: str, method: Method, main: str) -> None:
    """A budget has room for an evaluation, and a stop rule looks at a divisor of the interval."""
    training = config.training_of(main)
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
    if training.steps is not None and budgeted(training.steps, method.budget) < (every or interval or 1):
        raise ValueError(
            f"{key}.budget is {method.budget:g} of the {training.steps} steps of {main!r}, fewer than the "
            f"{every or interval} to the first evaluation; raise budget, or lower training.evaluate_every"
        )
