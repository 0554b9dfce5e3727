"""What each method takes, for the forecast of its cost before the first step."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from ftft.data.schemas import TRAIN
from ftft.experiment import stages
from ftft.experiment.config import ERM, plain
from ftft.experiment.layout import Layout, SourceFolder, features_folder, probe_run
from ftft.experiment.naming import Result, Run
from ftft.experiment.plan import Plan
from ftft.training.settings import Settings

if TYPE_CHECKING:
    from ftft.results.forecast import Method
    from ftft.results.replay import ForecastSettings, Training, Work


def forecast(plan: Plan, layout: Layout) -> "ForecastSettings":
    """Settings of rule ``forecast``: every method with the first seed, and the work that it and ERM take."""
    seed = plan.config.seeds[0]
    chosen = [result for result in plan.results if result.seed == seed]
    work: dict[str, Work] = {}
    methods: list[Method] = []
    for result in chosen:
        erm = next(each for each in chosen if (each.main, each.method) == (result.main, ERM))
        work |= _work(plan, result, layout) | _work(plan, erm, layout)
        stop = plan.methods[result.method].stop
        methods.append(
            {
                "task": plan.config.task,
                "main": result.main,
                "method": result.method,
                "reference": result.reference,
                "training": result.run.path,
                "preparation": list(_preparation(plan, result, layout)),
                "at_most": any(plan.config.models[run.model].stop for run in result.reference_runs),
                "erm_training": erm.run.path,
                "erm_preparation": list(_preparation(plan, erm, layout)),
                "stop": None if stop is None else {"patience": stop.patience, "every": stop.every},
            }
        )
    found: ForecastSettings = {"methods": methods, "work": work}
    return plain(found)


def inputs(plan: Plan, layout: Layout) -> list[str]:
    """The files that the forecast reads."""
    work = forecast(plan, layout)["work"].values()
    return sorted({path for job in work for path in (str(job["tokens"]), SourceFolder(str(job["source"])).config)})


def _work(plan: Plan, result: Result, layout: Layout) -> "dict[str, Work]":
    """All that a result takes, for ``replay.replay``: what comes before its training, and that."""
    return _preparation(plan, result, layout) | {
        result.run.path: _training_work(
            plan, result.run, stages.training(plan, result.run.model, result.run.recipe), layout
        )
    }


def _preparation(plan: Plan, result: Result, layout: Layout) -> "dict[str, Work]":
    """What is paid for before a main model's training; data maps and subsets take next to nothing."""
    paid = plan.preparation_of(result)
    work = {features_folder(name): _work_of(plan, plan.model_of_encoder(name), layout, None) for name in paid.features}
    work |= {run.path: _training_work(plan, run, stages.training(plan, run.model), layout) for run in paid.references}
    for model, seed in paid.probes:
        run = Run(model, "", seed)
        work[probe_run(model, seed)] = _training_work(plan, run, stages.head_training(plan, model), layout)
    return work


def _training_work(plan: Plan, run: Run, settings: Settings, layout: Layout) -> "Work":
    batches = ("batch_size", "micro_batch_size", "steps", "epochs", "evaluate_every", "length_window")
    memory = ("precision", "optimizer", "momentum", "gradient_checkpointing", "dropout")
    select = plan.subsets.get(plan.subset_of(run.recipe))
    training: Training = {
        "seed": run.seed,
        "settings": {key: getattr(settings.training, key) for key in (*batches, *memory)},
        "budget": settings.budget,
        "tune": settings.tune,
        "lora": None if settings.lora is None else asdict(settings.lora),
        "features": settings.features,
        "hidden_size": settings.hidden_size,
        "labels": len(plan.config.data.labels),
        "select": None if select is None else {"fraction": select.fraction, "balance": select.balance},
        "kept": len(settings.stops) + (not settings.final and settings.reference_stop is not None),
    }
    return _work_of(plan, run.model, layout, training)


def _work_of(plan: Plan, model: str, layout: Layout, training: "Training | None") -> "Work":
    return {
        "model": model,
        "source": layout.source(plan.source_of(model)).folder,
        "layers": plan.config.models[model].layers,
        "tokens": layout.tokens(plan.tokenizer_of(model), TRAIN),
        "training": training,
    }
