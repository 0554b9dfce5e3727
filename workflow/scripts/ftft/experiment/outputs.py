"""What summary, comparison, page, figures and tables are made from, and where it lies."""

from typing import TYPE_CHECKING, Any

from ftft.core.errors import without_credentials
from ftft.experiment.config import plain
from ftft.experiment.layout import Layout
from ftft.experiment.lineage import lineage
from ftft.experiment.naming import Result, Run, checkpoint_name, criterion, title_of
from ftft.experiment.plan import Plan
from ftft.models.saved import FINAL

if TYPE_CHECKING:
    from ftft.display.explorer import DataMap, Subset
    from ftft.display.figures import Drawing
    from ftft.display.sections import Cost
    from ftft.display.tables import Table
    from ftft.display.webpage import Page
    from ftft.results.entries import Entry, ReferenceCost
    from ftft.results.transfer import TransferSettings


def entries(plan: Plan, layout: Layout) -> "list[Entry]":
    """What summary, comparison and cost curve need to know of every row of the table of results."""
    return [_entry(plan, result, layout) for result in plan.results]


def _entry(plan: Plan, result: Result, layout: Layout) -> "Entry":
    own, evaluation = layout.run(result.run.path), layout.evaluation(result.run.path, result.checkpoint)
    paid = plan.preparation_of(result)
    trainings = [reference_cost(plan, run, layout) for run in paid.references]
    trainings += [{"cost": layout.probe(model, seed).cost, "checkpoint": FINAL} for model, seed in paid.probes]
    others = [layout.features_cost(name) for name in paid.features]
    if paid.subset:
        others += [layout.datamap_cost(run.model, run.seed) for run in paid.references]
        others.append(layout.subset_cost(paid.subset, result.seed))
    return {
        "task": plan.config.task,
        "main": result.main,
        "method": result.method,
        "reference": result.reference,
        "seed": result.seed,
        "metrics": evaluation.metrics,
        "predictions": {name: evaluation.predictions(name) for name in plan.test_sets},
        "curve": own.metrics,
        "cost": own.cost,
        "checkpoint": result.trained,
        "interpolated": result.interpolate is not None,
        "training_costs": trainings,
        "other_costs": others,
    }


def reference_cost(plan: Plan, run: Run, layout: Layout) -> "ReferenceCost":
    """The cost table of a reference run, and which of its rows says where it ended as a reference."""
    checkpoint = checkpoint_name(plan.config.models[run.model].stop)
    return {"cost": layout.run(run.path).cost, "checkpoint": checkpoint}


def costs(plan: Plan, layout: Layout) -> list[str]:
    """Every cost table, once: of training runs, data maps and subsets."""
    costs = [layout.run(run.path).cost for run in plan.runs]
    costs += [layout.probe(*probe).cost for probe in plan.probes]
    return costs + sorted({str(path) for entry in entries(plan, layout) for path in entry["other_costs"]})


def named_costs(plan: Plan, layout: Layout) -> "list[Cost]":
    """Every cost table, with the rule that wrote it and what for, whatever the seed."""
    named: list[Cost] = [
        {
            "rule": "train_main" if run.recipe else "train_reference",
            "name": title_of(run),
            "path": layout.run(run.path).cost,
        }
        for run in plan.runs
    ]
    named += [
        {
            "rule": "compute_datamap",
            "name": entry["reference"],
            "path": layout.datamap_cost(entry["reference"], entry["seed"]),
        }
        for entry in datamap_entries(plan, layout)
    ]
    named += [{"rule": "embed", "name": encoder, "path": layout.features_cost(encoder)} for encoder in plan.embedded]
    named += [
        {"rule": "train_probe", "name": model, "path": layout.probe(model, seed).cost} for model, seed in plan.probes
    ]
    return named + [
        {"rule": "select_subset", "name": subset, "path": layout.subset_cost(subset, seed)}
        for subset in plan.subsets
        for seed in plan.config.seeds
    ]


def datamap_entries(plan: Plan, layout: Layout) -> "list[DataMap]":
    """The data maps of the experiment, those of main models last, and where they and their dynamics lie."""
    return [
        {
            "reference": reference,
            "seed": seed,
            "path": layout.datamap(reference, seed),
            "dynamics": layout.reference(reference, seed).dynamics,
        }
        for reference in sorted(plan.references, key=lambda name: name in plan.config.mains)
        for seed in plan.config.seeds
    ]


def subset_entries(plan: Plan, layout: Layout) -> "list[Subset]":
    """The subsets of the experiment, and where they lie."""
    return [
        {
            "reference": "+".join(plan.group_of(subset)),
            "by": criterion(select),
            "fraction": select.fraction,
            "seed": seed,
            "path": layout.subset(subset, seed),
        }
        for subset, select in plan.subsets.items()
        for seed in plan.config.seeds
    ]


def transfer(plan: Plan, layout: Layout) -> "TransferSettings":
    """Settings of rule ``compare_references``: the runs of the references that get a verdict."""
    runs = [Run(model, "", seed) for model in plan.judged for seed in plan.config.seeds]
    return {
        "runs": [
            {
                "reference": run.model,
                "seed": run.seed,
                "datamap": layout.datamap(run.model, run.seed),
                "curve": layout.run(run.path).metrics,
                "head": plan.trains_head(run.model),
                **reference_cost(plan, run, layout),
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


def figures(plan: Plan, layout: Layout) -> "list[Drawing]":
    """The figures that apply to the experiment: what ``figures.draw`` takes."""
    found: list[Drawing] = []
    for main in plan.config.mains:
        # A mean of weights has a score, but was not trained.
        trained = any(result.main == main and result.interpolate is None for result in plan.results)
        for kind in ("robustness-cost", *(("learning-curves", "cost-curve") if trained else ())):
            found.append({"kind": kind, "main": main, "stem": layout.figure(kind, main)})
    if plan.references and len(transfer(plan, layout)["runs"]) > 1:
        found.append({"kind": "transfer", "stem": layout.figure("transfer")})
    for entry in datamap_entries(plan, layout):
        reference, seed = entry["reference"], entry["seed"]
        found.append(
            {
                "kind": "datamap",
                "reference": reference,
                "seed": seed,
                "datamap": layout.datamap(reference, seed),
                "stem": layout.figure("datamap", reference, f"seed{seed}"),
            }
        )
    return plain(found)


def tables(plan: Plan, layout: Layout) -> "list[Table]":
    """The tables for papers that apply to the experiment: what ``tables.write`` takes."""
    found: list[Table] = [
        {"kind": "results", "main": main, "stem": layout.table("results", main)} for main in plan.config.mains
    ]
    if plan.references:
        found.append({"kind": "references", "stem": layout.table("references")})
    found += [
        {"kind": "outcomes", "main": main, "methods": methods, "stem": layout.table("outcomes", main)}
        for main in plan.config.mains
        if (methods := judging(plan, main))
    ]
    return plain(found)


def report(plan: Plan, layout: Layout) -> "Page":
    """Settings of rule ``report``."""
    # What changes no result is not shown, so that it does not rerun the page either.
    hidden: Any = {
        "runtime": True,
        "report": True,
        "data_dir": True,
        "models": {name: {"resources"} for name in plan.config.models},
    }
    budgets = {name: method.budget or 1.0 for name, method in plan.methods.items()}
    page: Page = {
        "task": plan.config.task,
        "config": _without_credentials(plan.config.model_dump(exclude_unset=True, exclude=hidden)),
        "labels": plan.config.data.labels,
        "datamaps": datamap_entries(plan, layout),
        "subsets": subset_entries(plan, layout),
        "group": plan.config.data.group,
        "metric": plan.config.data.metric,
        "judging": {main: judging(plan, main) for main in plan.config.mains},
        "costs": named_costs(plan, layout),
        "lineage": lineage(plan),
        "budgets": {name: budget for name, budget in budgets.items() if budget < 1},
        "stopping": [name for name, method in plan.methods.items() if method.stop is not None],
        "blur_text": plan.config.report.blur_text,
    }
    return plain(page)


def _without_credentials(section: Any) -> Any:
    """A section in which no URL has a password or the like."""
    if isinstance(section, dict):
        return {key: _without_credentials(value) for key, value in section.items()}
    return without_credentials(section) if isinstance(section, str) else section
