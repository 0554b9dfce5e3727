"""The sections of the page: what each shows, as charts, cells of text and sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ftft.compute.schemas import COST
from ftft.core import artifacts
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.display import charts, data, sentences
from ftft.display.explorer import DataMap, Subset
from ftft.results import forecast as forecasts
from ftft.results import memory as memories
from ftft.results.cells import EN_DASH, METRIC_NAMES, difference_text, percent
from ftft.results.cost_curve import reaching
from ftft.results.outcomes import outcomes, to_erm
from ftft.results.overview import COSTS, cost_heading, headline, tested
from ftft.results.schemas import FORECAST, MEMORY, OOD_MEAN
from ftft.results.text import formatted
from ftft.results.transfer import KNOWN


class Cost(TypedDict):
    """The cost table of one job."""

    rule: str
    name: str  # of what was made, whatever the seed
    path: str | Path


def curves_chart(
    curve: pa.Table, main: str, metric: str, styles: charts.Styles, budgets: Mapping[str, float]
) -> charts.Chart:
    """The dev scores of one main model's methods against what they had cost by then."""
    return charts.learning_curves(data.curves(curve, main, metric), styles, METRIC_NAMES.get(metric, metric), budgets)


def robustness_chart(
    rows: pa.Table, table: pd.DataFrame, main: str, metric: str, styles: charts.Styles
) -> charts.Chart:
    """The scores that rank one main model's methods against what these cost."""
    found = data.robustness(rows, table, main)
    where = "mean OOD" if found.heading == OOD_MEAN else "in-distribution"
    return charts.robustness(found, styles, f"{where} {metric}")


def results_table(table: pd.DataFrame, main: str) -> dict[str, Any]:
    """One main model's methods as cells of text, with what to sort them by; ``best`` is the row of the best score."""
    part = table.xs(main, level="main")
    cells = formatted(part)
    values = {heading: part[heading].iloc[:, 0] for heading in part.columns.unique(level=0) if heading != COSTS}
    values |= {cost_heading(unit): part[COSTS, unit] for unit in part[COSTS].columns}
    sorted_by = pd.DataFrame(values)[list(cells.columns)].to_numpy().tolist()
    scores = part[headline(table), "mean"]
    best = (int(scores.argmax()), list(cells.columns).index(headline(table)))
    found = _cells(main, cells) | {"best": best}
    for row, keys in zip(found["rows"], sorted_by, strict=True):
        row["keys"] = ["" if pd.isna(key) else repr(float(key)) for key in keys]
    return found


def _cells(main: str, cells: pd.DataFrame) -> dict[str, Any]:
    """A table of text by method and reference, as the template takes it."""
    return {
        "main": main,
        "headings": list(cells.columns),
        "rows": [
            {"method": method, "reference": reference, "cells": row}
            for (method, reference), row in zip(cells.index, cells.to_numpy().tolist(), strict=True)
        ],
    }


def reaching_rows(curve: pa.Table, main: str, metric: str) -> list[dict[str, Any]]:
    """What each method of one main model had cost when it caught up with ERM, as rows of text."""
    found = reaching(curve, metric)
    found = found[found.index.get_level_values("main") == main]
    return [
        {
            "method": row.Index[1],
            "reference": row.Index[2],
            "cells": [
                f"{row.reached} of {row.seeds}",
                *(f"{value:.1f}" if row.reached else "never" for value in (row.FLOPs, row.seconds)),
            ],
        }
        for row in found.itertuples()
    ]


def forecast_table(forecast: str | Path, summary: str | Path) -> dict[str, Any]:
    """What each method was to cost and when it had to stop, with what it then did, as rows of text by main model."""
    table = artifacts.read(forecast, FORECAST)
    came_true = forecasts.check(forecast, summary)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        key = (row["main"], row["method"], row["reference"])
        then = [EN_DASH] * 3
        if key in came_true.index:
            found = came_true.loc[key]
            then = [f"{found['step']:.0f}", percent(found["forecast"]), percent(found["actual"])]
        cells = forecasts.cells_of(row) + then
        rows.setdefault(row["main"], []).append(
            {"method": row["method"], "reference": row["reference"], "cells": cells}
        )
    headings = [*forecasts.CELLS, "stopped at step", "forecast by then", "cost by then"]
    return {"headings": headings, "rows": rows, "warnings": forecasts.warnings(table)}


def memory_table(memory: str | Path) -> dict[str, Any]:
    """What memory each model's training was to take, as rows of text."""
    table = artifacts.read(memory, MEMORY)
    rows = [
        {"model": row["model"], "on": memories.place_of(row), "cells": memories.cells_of(row)}
        for row in table.to_pylist()
    ]
    return {"headings": memories.HEADINGS, "rows": rows, "warnings": memories.warnings(table)}


def details_table(rows: pa.Table, main: str) -> dict[str, Any] | None:
    """One main model's calibration error and F1 per class, means over seeds; None where they were not measured."""
    metrics = pc.unique(rows["metric"]).to_pylist()
    if "ece" not in metrics:
        return None
    classes = sorted(metric for metric in metrics if metric.startswith("f1/"))
    # All metrics are taken at once: an overview of each would be slow where there are many classes.
    scores = tested(rows.filter(pc.equal(rows["main"], main)).to_pandas())
    means = scores.pivot_table("value", ["method", "reference"], ["dataset", "metric"], sort=False)
    sets = {name: means[name] for name in means.columns.unique("dataset")}
    ood = [part for name, part in sets.items() if name != IN_DISTRIBUTION]
    where = OOD_MEAN if ood else IN_DISTRIBUTION
    if ood:
        sets[OOD_MEAN] = sum(ood[1:], ood[0]) / len(ood)
    columns = {f"ECE, {name}": sets[name]["ece"] for name in dict.fromkeys((IN_DISTRIBUTION, where))}
    columns |= {f"F1 of {metric.removeprefix('f1/')}, {where}": sets[where][metric] for metric in classes}
    return _cells(main, pd.DataFrame(columns).map(percent, digits=2))


def verdict_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of references as text."""
    return (
        {name: percent(row[name]) for name in KNOWN}
        | {name: row[name] or EN_DASH for name in ("reference", "compared_with", "verdict", "reason")}
        | {"seed": row["seed"]}
    )


def outcomes_table(
    rows: pa.Table, references: pa.Table, main: str, metric: str, methods: Sequence[str]
) -> dict[str, Any]:
    """What the main models did on what each reference run selected, as cells of text and as sentences."""
    table = outcomes(rows, references, main, metric, methods)
    used = [name for name in methods if to_erm(name) in table.columns]
    cells = [
        [str(seed), percent(row["lost"]), *(difference_text(row[to_erm(name)]) for name in used)]
        for (_, seed), row in table.iterrows()
    ]
    return {
        "main": main,
        "headings": ["seed", "lost", *(to_erm(name) for name in used)],
        "rows": [
            {"reference": reference, "verdict": verdict, "cells": row}
            for (reference, _), verdict, row in zip(table.index, table["verdict"], cells, strict=True)
        ],
        "sentences": [sentences.outcome_sentence(table, name) for name in used],
    }


def group_tables(
    datamaps: Sequence[DataMap], subsets: Sequence[Subset], train_data: str | Path, group: str | None
) -> list[dict[str, Any]]:
    """For each reference, how the groups spread over its regions and the subsets selected from it."""
    if group is None:
        return []
    groups = sentences.groups_of(train_data, group)
    names = dict.fromkeys(datamap["reference"] for datamap in datamaps)
    return [
        {"name": name}
        | sentences.of_groups(
            [datamap for datamap in datamaps if datamap["reference"] == name],
            [subset for subset in subsets if subset["reference"] == name],
            groups,
        )
        for name in names
    ]


def stage_rows(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """What each kind of job took, summed over seeds, as rows of text."""
    parts = []
    for cost in costs:
        table = artifacts.read(cost["path"], COST).to_pandas()
        # A run has its totals at each saved model: the largest are those of the whole run.
        whole = table.groupby("stage", sort=False)[["flops", "seconds"]].max()
        kinds = pd.Series(whole.index, whole.index).replace({"start": "other", "save": "other"})
        kinds = kinds.where(kinds.isin(["evaluate", "other"]), "work")
        seconds = whole["seconds"].groupby(kinds).sum()
        parts.append(
            {"rule": cost["rule"], "name": cost["name"], "device": _device(table.iloc[0])}
            | {"flops": whole["flops"].groupby(kinds).sum().get("work", 0.0), "memory": table["peak_memory_mb"].max()}
            | {kind: seconds.get(kind, 0.0) for kind in ("work", "evaluate", "other")}
        )
    if not parts:
        return []
    by_job = pd.DataFrame(parts).groupby(["rule", "name"], sort=False)
    found = by_job[["flops", "work", "evaluate", "other"]].sum()
    found["memory"], found["jobs"] = by_job["memory"].max(), by_job.size()
    found["devices"] = by_job["device"].agg(lambda devices: ", ".join(sorted(set(devices))))
    return [
        {
            "rule": row.Index[0],
            "name": row.Index[1],
            "cells": [
                f"{row.jobs}",
                f"{row.flops:.2e}" if row.flops else EN_DASH,
                *(f"{value:,.1f}" for value in (row.work, row.evaluate, row.other)),
                f"{row.memory:,.0f}",
                row.devices,
            ],
        }
        for row in found.itertuples()
    ]


def _device(row: pd.Series) -> str:
    """What a job ran on and computed in; jobs without a model have no precision."""
    return row["device"] if pd.isna(row["precision"]) else f"{row['device']}, {row['precision']}"
