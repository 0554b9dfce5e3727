"""What the rules that make artifacts are told: the settings that each result depends on, and no others."""

from typing import Any

from ftft.core.errors import without_credentials
from ftft.experiment.config import ProductOfExperts, Upweight, plain
from ftft.experiment.naming import checkpoint_name
from ftft.experiment.plan import Plan


def download(plan: Plan, dataset: str) -> dict[str, Any]:
    """Settings of rule ``download``."""
    data = plan.config.data
    source = plan.sources[dataset]
    role = dataset.rpartition(".")[2]
    # Where the file lies is not what it is: the rule tracks the content itplan.
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


def check(plan: Plan) -> dict[str, Any]:
    """Settings of rule ``check_data``."""
    data = plan.config.data
    return plain({"datasets": sorted(plan.sources), "labels": data.labels, "group": data.group})


def train(plan: Plan, model: str, recipe: str = "") -> dict[str, Any]:
    """Settings of a training run: what ``loop.train`` takes as ``cfg``."""
    found = plan.recipes[recipe]
    settings = plan.config.models[model]
    results = [result for result in plan.results if (result.run.model, result.run.recipe) == (model, recipe)]
    stops = [plan.methods[result.method].stop for result in results]
    settles = settings.stop if not recipe else None
    return plain(
        {
            "dev": list(plan.dev_sets),
            "tune": settings.tune,
            "features": settings.features,
            "hidden_size": settings.hidden_size,
            "budget": found.budget,
            "layers": settings.layers,
            "labels": plan.config.data.labels,
            "metric": plan.config.data.metric,
            "training": plan.config.training_of(model),
            "stops": {checkpoint_name(stop): stop for stop in stops if stop is not None},
            "reference_stop": settles and {"name": checkpoint_name(settles), **settles.model_dump()},
            # The dynamics of a reference are of all its epochs, unless it may stop.
            "final": None in stops or not (recipe or settles),
            "upweight": found.use if isinstance(found.use, Upweight) else None,
            "product_of_experts": found.use if isinstance(found.use, ProductOfExperts) else None,
        }
    )


def probe(plan: Plan, model: str) -> dict[str, Any]:
    """Settings of rule ``train_probe``: those of a run that trains a classifier's own head on frozen features."""
    settings: dict[str, Any] = {"tune": "probe", "stops": {}, "reference_stop": None, "final": True, "budget": 1.0}
    return plain(train(plan, model) | settings | {"training": plan.config.head_training()})


def datamap(plan: Plan) -> dict[str, Any]:
    """Settings of rule ``compute_datamap``."""
    return plain(plan.config.datamap)


def select(plan: Plan, subset: str) -> dict[str, Any]:
    """Settings of rule ``select_subset``; which data maps are averaged follows from its inputs."""
    return plain(plan.subsets[subset].model_dump(exclude={"mean_over"}))


def interpolate(plan: Plan, checkpoint: str) -> dict[str, Any]:
    """Settings of rule ``interpolate_weights``."""
    return {"checkpoint": plan.trained_of(checkpoint), "share": plan.evaluated[checkpoint].interpolate}


def evaluate(plan: Plan, model: str, checkpoint: str) -> dict[str, Any]:
    """Settings of rule ``evaluate_ood``: the datasets' splits in order, the precision, the saved model."""
    datasets = {name: file.rpartition(".")[2] for name, file in plan.test_sets.items()}
    precision = plan.config.training_of(model).precision
    return {"datasets": datasets, "precision": precision, "trained": plan.trained_of(checkpoint)}
