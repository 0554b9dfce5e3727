"""What each method takes, for the forecast of its cost before the first step."""

from typing import Any

from ftft.data.schemas import TRAIN
from ftft.experiment import stages
from ftft.experiment.config import ERM, plain
from ftft.experiment.layout import Layout, SourceFolder, features_folder, probe_run
from ftft.experiment.naming import Result, Run
from ftft.experiment.plan import Plan


def forecast(plan: Plan, layout: Layout) -> dict[str, Any]:
    """Settings of rule ``forecast``: every method with the first seed, and the work that it and ERM take."""
    seed = plan.config.seeds[0]
    chosen = [result for result in plan.results if result.seed == seed]
    work: dict[str, dict[str, Any]] = {}
    methods = []
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
                "stop": stop and {"patience": stop.patience, "every": stop.every},
            }
        )
    return plain({"methods": methods, "work": work})


def inputs(plan: Plan, layout: Layout) -> list[str]:
    """The files that the forecast reads."""
    work = forecast(plan, layout)["work"].values()
    return sorted({path for job in work for path in (job["tokens"], SourceFolder(job["source"]).config)})


def _work(plan: Plan, result: Result, layout: Layout) -> dict[str, dict[str, Any]]:
    """All that a result takes, for ``replay.replay``: what comes before its training, and that."""
    return _preparation(plan, result, layout) | {
        result.run.path: _training_work(
            plan, result.run, stages.train(plan, result.run.model, result.run.recipe), layout
        )
    }


def _preparation(plan: Plan, result: Result, layout: Layout) -> dict[str, dict[str, Any]]:
    """What is paid for before a main model's training, as in ``_entry``."""
    work = {
        features_folder(name): _model_work(plan, plan.model_of_encoder(name), layout) | {"training": None}
        for name in plan.features_of(result)
    }
    work |= {
        run.path: _training_work(plan, run, stages.train(plan, run.model), layout) for run in result.reference_runs
    }
    for model, seed in plan.probes_of(result):
        run = Run(model, "", seed)
        work[probe_run(model, seed)] = _training_work(plan, run, stages.probe(plan, model), layout)
    return work


def _training_work(plan: Plan, run: Run, settings: dict[str, Any], layout: Layout) -> dict[str, Any]:
    keys = ("batch_size", "micro_batch_size", "steps", "epochs", "evaluate_every", "length_window")
    select = plan.subsets.get(plan.subset_of(run.recipe))
    training = {name: settings[name] for name in ("budget", "features", "hidden_size", "tune")} | {
        "seed": run.seed,
        "batches": {key: settings["training"][key] for key in keys},
        "labels": len(plan.config.data.labels),
        "select": select and {"fraction": select.fraction, "balance": select.balance},
    }
    return _model_work(plan, run.model, layout) | {"training": training}


def _model_work(plan: Plan, model: str, layout: Layout) -> dict[str, Any]:
    return {
        "model": model,
        "source": layout.source(plan.source_of(model)).folder,
        "layers": plan.config.models[model].layers,
        "tokens": layout.tokens(plan.tokenizer_of(model), TRAIN),
    }
