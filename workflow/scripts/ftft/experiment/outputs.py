"""What summary, comparison, page, figures and tables are made from, and where it lies.

Each function takes the plan and the folder ``results/{task}``.
"""

from typing import Any

from ftft.core.errors import without_credentials
from ftft.experiment.config import plain
from ftft.experiment.lineage import lineage
from ftft.experiment.naming import Result, Run, checkpoint_name, criterion, probe_path, title_of
from ftft.experiment.plan import Plan
from ftft.models.saved import FINAL


def entries(plan: Plan, results: str) -> list[dict[str, Any]]:
    """What summary, comparison and cost curve need to know of every row of the table of results."""
    return [_entry(plan, result, results) for result in plan.results]


def _entry(plan: Plan, result: Result, results: str) -> dict[str, Any]:
    evaluation = f"{results}/evaluation/{result.run.path}/{result.checkpoint}"
    others = [f"{results}/features/{name}/cost.parquet" for name in plan.features_of(result)]
    trainings = [reference_cost(plan, run, results) for run in result.reference_runs]
    trainings += [
        {"cost": f"{results}/{probe_path(model, seed)}/cost.parquet", "checkpoint": FINAL}
        for model, seed in plan.probes_of(result)
    ]
    if subset := plan.subset_of(result.run.recipe):
        others += [f"{results}/datamap/{run.model}/seed{run.seed}.cost.parquet" for run in result.reference_runs]
        others.append(f"{results}/subset/{subset}/seed{result.seed}.cost.parquet")
    return {
        "task": plan.config.task,
        "main": result.main,
        "method": result.method,
        "reference": result.reference,
        "seed": result.seed,
        "metrics": f"{evaluation}/metrics.parquet",
        "predictions": {name: f"{evaluation}/predictions/{name}.parquet" for name in plan.test_sets},
        "curve": f"{results}/{result.run.path}/metrics.parquet",
        "cost": f"{results}/{result.run.path}/cost.parquet",
        "checkpoint": result.trained,
        "interpolated": result.interpolate is not None,
        "training_costs": trainings,
        "other_costs": others,
    }


def reference_cost(plan: Plan, run: Run, results: str) -> dict[str, str]:
    """The cost table of a reference run, and which of its rows says where it ended as a reference."""
    checkpoint = checkpoint_name(plan.config.models[run.model].stop)
    return {"cost": f"{results}/{run.path}/cost.parquet", "checkpoint": checkpoint}


def costs(plan: Plan, results: str) -> list[str]:
    """Every cost table, once: of training runs, data maps and subsets."""
    costs = [f"{results}/{run.path}/cost.parquet" for run in plan.runs]
    costs += [f"{results}/{probe_path(*probe)}/cost.parquet" for probe in plan.probes]
    return costs + sorted({path for entry in entries(plan, results) for path in entry["other_costs"]})


def named_costs(plan: Plan, results: str) -> list[dict[str, str]]:
    """Every cost table, with the rule that wrote it and what for, whatever the seed."""
    named = [
        {
            "rule": "train_main" if run.recipe else "train_reference",
            "name": title_of(run),
            "path": f"{results}/{run.path}/cost.parquet",
        }
        for run in plan.runs
    ]
    named += [
        {
            "rule": "compute_datamap",
            "name": entry["reference"],
            "path": f"{entry['path'].removesuffix('.parquet')}.cost.parquet",
        }
        for entry in datamap_entries(plan, results)
    ]
    named += [
        {"rule": "embed", "name": encoder, "path": f"{results}/features/{encoder}/cost.parquet"}
        for encoder in plan.embedded
    ]
    named += [
        {"rule": "train_probe", "name": model, "path": f"{results}/{probe_path(model, seed)}/cost.parquet"}
        for model, seed in plan.probes
    ]
    return named + [
        {"rule": "select_subset", "name": subset, "path": f"{results}/subset/{subset}/seed{seed}.cost.parquet"}
        for subset in plan.subsets
        for seed in plan.config.seeds
    ]


def datamap_entries(plan: Plan, results: str) -> list[dict[str, Any]]:
    """The data maps of the experiment, those of main models last, and where they and their dynamics lie."""
    return [
        {
            "reference": reference,
            "seed": seed,
            "path": f"{results}/datamap/{reference}/seed{seed}.parquet",
            "dynamics": f"{results}/reference/{reference}/seed{seed}/dynamics.parquet",
        }
        for reference in sorted(plan.references, key=lambda name: name in plan.config.mains)
        for seed in plan.config.seeds
    ]


def subset_entries(plan: Plan, results: str) -> list[dict[str, Any]]:
    """The subsets of the experiment, and where they lie."""
    return [
        {
            "reference": "+".join(plan.group_of(subset)),
            "by": criterion(select),
            "fraction": select.fraction,
            "seed": seed,
            "path": f"{results}/subset/{subset}/seed{seed}.parquet",
        }
        for subset, select in plan.subsets.items()
        for seed in plan.config.seeds
    ]


def transfer(plan: Plan, results: str) -> dict[str, Any]:
    """Settings of rule ``compare_references``: the runs of the references that get a verdict."""
    runs = [Run(model, "", seed) for model in plan.judged for seed in plan.config.seeds]
    return {
        "runs": [
            {
                "reference": run.model,
                "seed": run.seed,
                "datamap": f"{results}/datamap/{run.model}/seed{run.seed}.parquet",
                "curve": f"{results}/{run.path}/metrics.parquet",
                "head": plan.trains_head(run.model),
                **reference_cost(plan, run, results),
            }
            for run in runs
        ],
        "metric": plan.config.data.metric,
        "labels": len(plan.config.data.labels),
    }


def judging(plan: Plan, main: str) -> list[str]:
    """The methods that show for a main model what the verdicts are worth.

    They train it on the plainly ambiguous examples of a single run that has a verdict; the differences are to ERM.
    """
    found = [
        result.method
        for result in plan.results
        if result.main == main and (subset := plan.subset_of(result.run.recipe))
        if len(result.reference_runs) == 1 and result.reference_runs[0].model in plan.judged
        if criterion(plan.subsets[subset]) == "ambiguous"
    ]
    return list(dict.fromkeys(found))


def figures(plan: Plan, results: str) -> list[dict[str, Any]]:
    """The figures that apply to the experiment: what ``figures.draw`` takes."""
    folder = f"{results}/figures"
    found: list[dict[str, Any]] = []
    for main in plan.config.mains:
        # A mean of weights has a score, but was not trained.
        trained = any(result.main == main and result.interpolate is None for result in plan.results)
        for kind in ("robustness-cost", *(("learning-curves", "cost-curve") if trained else ())):
            found.append({"kind": kind, "main": main, "stem": f"{folder}/{kind}-{main}"})
    if plan.references and len(transfer(plan, results)["runs"]) > 1:
        found.append({"kind": "transfer", "stem": f"{folder}/transfer"})
    for entry in datamap_entries(plan, results):
        names = {"reference": entry["reference"], "seed": entry["seed"]}
        stem = f"{folder}/datamap-{entry['reference']}-seed{entry['seed']}"
        found.append({"kind": "datamap", **names, "datamap": entry["path"], "stem": stem})
    return plain(found)


def tables(plan: Plan, results: str) -> list[dict[str, Any]]:
    """The tables for papers that apply to the experiment: what ``tables.write`` takes."""
    folder = f"{results}/tables"
    found: list[dict[str, Any]] = [
        {"kind": "results", "main": main, "stem": f"{folder}/results-{main}"} for main in plan.config.mains
    ]
    if plan.references:
        found.append({"kind": "references", "stem": f"{folder}/references"})
    found += [
        {"kind": "outcomes", "main": main, "methods": methods, "stem": f"{folder}/outcomes-{main}"}
        for main in plan.config.mains
        if (methods := judging(plan, main))
    ]
    return plain(found)


def report(plan: Plan, results: str) -> dict[str, Any]:
    """Settings of rule ``report``."""
    # What changes no result is not shown, so that it does not rerun the page either.
    hidden: Any = {
        "runtime": True,
        "report": True,
        "data_dir": True,
        "models": {name: {"resources"} for name in plan.config.models},
    }
    return plain(
        {
            "task": plan.config.task,
            "config": _without_credentials(plan.config.model_dump(exclude_unset=True, exclude=hidden)),
            "labels": plan.config.data.labels,
            "datamaps": datamap_entries(plan, results),
            "subsets": subset_entries(plan, results),
            "group": plan.config.data.group,
            "metric": plan.config.data.metric,
            "judging": {main: judging(plan, main) for main in plan.config.mains},
            "costs": named_costs(plan, results),
            "lineage": lineage(plan),
            "budgets": {name: method.budget for name, method in plan.methods.items() if (method.budget or 1) < 1},
            "blur_text": plan.config.report.blur_text,
        }
    )


def _without_credentials(section: Any) -> Any:
    """A section in which no URL has a password or the like."""
    if isinstance(section, dict):
        return {key: _without_credentials(value) for key, value in section.items()}
    return without_credentials(section) if isinstance(section, str) else section
