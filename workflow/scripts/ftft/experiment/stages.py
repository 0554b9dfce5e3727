"""What the rules that make artifacts are told: the settings that each result depends on, and no others.

Their types are those of the modules that read them.
"""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ftft.core.errors import without_credentials
from ftft.core.files import is_url
from ftft.experiment.config import ProductOfExperts, ReferenceStop, Upweight, plain
from ftft.experiment.naming import checkpoint_name
from ftft.experiment.plan import Plan
from ftft.models.lora import Lora
from ftft.training.settings import Optimization, Settings, SettleRule

if TYPE_CHECKING:  # the Snakefile, which imports this, is not to wait for the libraries of the stages
    from ftft.data.inspection import Check
    from ftft.data.settings import Download
    from ftft.dynamics.datamap import DataMapSettings
    from ftft.dynamics.selection import SelectSettings
    from ftft.evaluation.evaluate import Evaluate
    from ftft.models.saved import Mean


def download(plan: Plan, dataset: str) -> "Download":
    """Settings of rule ``download``."""
    data = plan.config.data
    source = plan.sources[dataset]
    # Where the file lies is not what it is: the rule tracks the content.
    shown = source.model_copy(update={"path": source.path and _shown(source.path)})
    found: Download = {
        "source": plain(shown),
        "text": data.text,
        "label": data.label,
        "uid": data.uid,
        "labels": data.labels,
        "role": plan.roles[dataset],
    }
    return plain(found)


def _shown(path: str) -> str:
    return without_credentials(path) if is_url(path) else path


def check(plan: Plan) -> "Check":
    """Settings of rule ``check_data``."""
    data = plan.config.data
    found: Check = {"datasets": sorted(plan.sources), "labels": data.labels, "group": data.group}
    return plain(found)


def train(plan: Plan, model: str, recipe: str = "") -> dict[str, Any]:
    """Settings of a training run, as plain values: what ``loop.train`` takes as ``cfg``."""
    return plain(asdict(training(plan, model, recipe)))


def training(plan: Plan, model: str, recipe: str = "") -> Settings:
    """Settings of a training run."""
    found = plan.recipes[recipe]
    settings = plan.config.models[model]
    results = [result for result in plan.results if (result.run.model, result.run.recipe) == (model, recipe)]
    stops = [plan.methods[result.method].stop for result in results]
    settles = settings.stop if not recipe else None
    return Settings(
        dev=list(plan.dev_sets),
        tune=settings.tune,
        lora=None if settings.adapter is None else Lora.of(plain(settings.adapter) | {"quantize": settings.quantize}),
        features=settings.features,
        hidden_size=settings.hidden_size,
        budget=found.budget,
        layers=settings.layers,
        labels=plan.config.data.labels,
        metric=plan.config.data.metric,
        training=Optimization(**plan.config.training_of(model).model_dump()),
        stops={checkpoint_name(stop): plain(stop) for stop in stops if stop is not None},
        reference_stop=None if settles is None else _settles(plan, model, settles),
        # The dynamics of a reference are of all its epochs, unless it may stop.
        final=None in stops or not (recipe or settles),
        upweight=plain(found.use) if isinstance(found.use, Upweight) else None,
        product_of_experts=plain(found.use) if isinstance(found.use, ProductOfExperts) else None,
    )


def _settles(plan: Plan, model: str, stop: ReferenceStop) -> "SettleRule":
    """When a reference stops: not before its dynamics have the epochs that its data map and methods name."""
    datamap = plan.config.datamap
    guides = [recipe.use for recipe in plan.recipes.values() if model in recipe.group]
    named = [each.epoch for each in guides if isinstance(each, Upweight | ProductOfExperts)]
    least = max([datamap.burn_in + 2, *(epoch + 1 for epoch in [datamap.el2n_epoch or 0, *named])])
    rule: SettleRule = plain(stop) | {"name": checkpoint_name(stop)}
    return rule | {"least": least} if least > 3 else rule


def probe(plan: Plan, model: str) -> dict[str, Any]:
    """Settings of rule ``train_probe``, likewise."""
    return plain(asdict(head_training(plan, model)))


def head_training(plan: Plan, model: str) -> Settings:
    """Settings of a run that trains a classifier's own head on frozen features."""
    own = Optimization(**plan.config.head_training())
    whole = training(plan, model)
    return replace(whole, tune="probe", lora=None, stops={}, reference_stop=None, final=True, budget=1.0, training=own)


def datamap(plan: Plan) -> "DataMapSettings":
    """Settings of rule ``compute_datamap``."""
    return plain(plan.config.datamap)


def select(plan: Plan, subset: str) -> "SelectSettings":
    """Settings of rule ``select_subset``; which data maps are averaged follows from its inputs."""
    return plain(plan.subsets[subset].model_dump(exclude={"mean_over"}))


def interpolate(plan: Plan, checkpoint: str) -> "Mean":
    """Settings of rule ``interpolate_weights``."""
    share = plan.evaluated[checkpoint].interpolate
    assert share is not None
    return {"checkpoint": plan.trained_of(checkpoint), "share": share}


def evaluate(plan: Plan, model: str, checkpoint: str) -> "Evaluate":
    """Settings of rule ``evaluate_ood``: the datasets' splits in order, the precision, the saved model."""
    datasets = {name: plan.roles[file] for name, file in plan.test_sets.items()}
    precision = plan.config.training_of(model).precision
    return {"datasets": datasets, "precision": precision, "trained": plan.trained_of(checkpoint)}
