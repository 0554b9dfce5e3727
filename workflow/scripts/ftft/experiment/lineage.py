"""What is made from what in an experiment, for the picture on the page."""

from typing import TYPE_CHECKING

from ftft.experiment.naming import Run, title_of

if TYPE_CHECKING:
    from ftft.display.webpage import Lineage
    from ftft.experiment.plan import Plan


def lineage(plan: "Plan") -> "Lineage":
    """What is made from what, from the train set to the methods, whatever the seed.

    ``edges`` are pairs of names; ``nodes`` says for every name the rule behind it and a short label.
    """
    nodes = {"train set": ("download", "train set")}
    edges: dict[tuple[str, str], None] = {}

    def add(rule: str, name: str, short: str, sources: list[str]) -> str:
        nodes[name] = (rule, short)
        edges.update({(source, name): None for source in sources})
        return name

    def features(model: str) -> list[str]:
        """What a head is trained on; the train set where a whole model is."""
        heads = {main for main, _ in plan.probes} | set(filter(plan.trains_head, plan.config.models))
        if model not in heads:
            return ["train set"]
        return [add("embed", f"features of {plan.encoder_of(model)}", "features", ["train set"])]

    for result in plan.results:
        run, method = result.run, result.method
        references = [
            add("train_reference", title_of(used), used.model, features(used.model))
            for used in dict.fromkeys(Run(used.model, "", result.seed) for used in result.reference_runs)
        ]
        sources = references or ["train set"]
        if subset := plan.subset_of(run.recipe):
            maps = [add("compute_datamap", f"data map of {name}", "data map", [name]) for name in references]
            sources = [add("select_subset", subset, plan.recipes[run.recipe].kind, maps or sources)]
        if plan.needs_probe(run.model, run.recipe):
            sources = [*sources, add("train_probe", f"head of {run.model}", "head", features(run.model))]
        trained = add("train_main" if run.recipe else "train_reference", title_of(run), run.model, sources)
        full = f"{method} ({result.reference})" if result.reference else method
        add("method", f"{result.main}, {full}", method, [trained])
    return {"edges": list(edges), "nodes": nodes}
