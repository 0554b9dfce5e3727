"""The summary: one long table over all runs of an experiment, and the overview of it that people read.

A run is one training of a main model (main, method, reference, seed) with its evaluation.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ftft.compute.schemas import COST
from ftft.core.artifacts import atomic_path, read, write_table
from ftft.core.errors import UserError, shown
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.evaluation.schemas import METRICS
from ftft.results.schemas import OOD_MEAN, SUMMARY

ERM = "erm"
METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}

# Headings of an overview. Like ``OOD_MEAN`` they contain what no data set's name can, so the two never collide.
DIFFERENCE = "difference to ERM"
COSTS = "cost (ERM = 100)"
FLOPS = "FLOPs (ERM = 100)"  # one of its columns, as text
STEP = "stopped at step"
SEEDS = "number of seeds"

EN_DASH = "\N{EN DASH}"  # stands for a value that does not exist

# What spreadsheets take as a formula (OWASP, *CSV injection*): all that begins so, but for a plain number.
_FORMULA = re.compile(r"(?![+-]?\d+(\.\d+)?(e[+-]?\d+)?$)[=+\-@\t\r\n]", re.ASCII | re.IGNORECASE)

_RUN = ["main", "method", "reference", "seed"]
_ROW = _RUN[:-1]


class ReferenceCost(TypedDict):
    """The cost table of a reference run, and the row of it that says where the run ended as a reference."""

    cost: str | Path
    checkpoint: str


class Entry(TypedDict):
    """One run: its names and the artifacts that it left."""

    task: str
    main: str
    method: str
    reference: str  # "" where the method has none
    seed: int
    metrics: str | Path
    predictions: dict[str, str | Path]  # by dataset
    curve: str | Path  # the dev curve of the run
    cost: str | Path
    checkpoint: str  # the row of the cost table that counts, such as ``FINAL``
    interpolated: bool  # whether the model evaluated is a mean with the pretrained weights
    training_costs: Sequence[ReferenceCost]  # of what is trained before: references, a head to start from
    other_costs: list[str | Path]  # cost tables of features, data maps and the subset


def summarize(entries: Sequence[Entry], output_parquet: str | Path, output_csv: str | Path) -> None:
    """Write one row per run, dataset, split and metric, in the order of the entries, as Parquet and as CSV.

    ``step`` and ``train_examples`` are those of the main model's training. ``flops`` and ``seconds`` are the price of
    the method: training the main model up to its checkpoint, and, where there are any, each reference that selected to
    its end, the data maps and the selection; evaluation, start-up and saving are left out.

    Raises:
        UserError: a cost table lacks the row that counts.
    """
    table = pa.concat_tables([_rows(entry) for entry in entries])
    write_both(table, output_parquet, output_csv, SUMMARY)


def write_both(table: pa.Table, output_parquet: str | Path, output_csv: str | Path, schema: pa.Schema) -> None:
    """Write a table as Parquet and as CSV, where a null is an empty field, and no text a formula."""
    write_table(table, output_parquet, schema)
    columns = {field.name: _harmless(table[field.name].cast(field.type)) for field in schema}
    with atomic_path(output_csv) as temporary:
        csv.write_csv(pa.table(columns), temporary, csv.WriteOptions(quoting_style="needed"))


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    texts = pc.unique(column)
    return pa.array(map(harmless, texts.to_pylist()), pa.string()).take(pc.index_in(column, texts))


def harmless(cell: Any) -> Any:
    """A cell of a CSV file as spreadsheets only show it: before a text that they would compute stands a quote mark."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _rows(entry: Entry) -> pa.Table:
    metrics = read(entry["metrics"], METRICS, ["dataset", "split", "metric", "value"])
    main = main_cost(entry)
    before = preparation_cost(entry)
    constants = {name: entry[name] for name in ("task", *_RUN)}  # type: ignore[literal-required]
    constants |= {"step": main["steps"], "train_examples": main["examples"]}
    constants |= {name: main[name] + before[name] for name in before}
    columns = {name: pa.repeat(pa.scalar(value), metrics.num_rows) for name, value in constants.items()}
    columns |= {name: metrics[name] for name in metrics.column_names}
    return pa.table(columns).select(SUMMARY.names).cast(SUMMARY)


def main_cost(entry: Entry) -> dict:
    """What training the main model took, up to the checkpoint that counts: a row of its cost table."""
    return training_cost(entry["cost"], entry["checkpoint"])


def preparation_cost(entry: Entry) -> dict[str, float]:
    """``flops`` and ``seconds`` of what comes before the main model: features, trainings, data maps, selection."""
    costs = [row for path in entry["other_costs"] for row in read(path, COST).to_pylist() if row["stage"] != "evaluate"]
    costs += [training_cost(reference["cost"], reference["checkpoint"]) for reference in entry["training_costs"]]
    return {name: float(sum(cost[name] for cost in costs)) for name in ("flops", "seconds")}


def training_cost(path: str | Path, checkpoint: str) -> dict:
    """The row of a cost table that says what a training took up to a checkpoint."""
    row = read(path, COST).filter((pc.field("stage") == "train") & (pc.field("checkpoint") == checkpoint)).to_pylist()
    if len(row) != 1:
        raise UserError(
            f"cost table {path} has {len(row)} rows for stage train at checkpoint {shown(checkpoint)}, expected 1; "
            "delete the file and rerun"
        )
    return row[0]


def by_run(summary: pa.Table, metric: str, baseline: str = ERM) -> pd.DataFrame:
    """The scores of every run (main, method, reference, seed), in the order of the summary.

    Scores are those of a dataset's test split, or its dev split where it has no test.

    Args:
        summary: a table as ``summarize`` writes it.
        metric: the metric to show.
        baseline: the method that differences are to, per main model and seed.

    Returns:
        One column per dataset, the in-distribution data first; ``OOD_MEAN``, the mean of the OOD sets, where there are
        any; and ``DIFFERENCE`` of that mean (of the in-distribution score where there is no OOD set) to the baseline's.
        NaN: a difference of the baseline to itself, or to one that the experiment does not have.
    """
    rows = summary.to_pandas()
    rows = tested(rows[rows["metric"] == metric])
    datasets = sorted(rows["dataset"].unique(), key=lambda name: name != IN_DISTRIBUTION)
    ood = [name for name in datasets if name != IN_DISTRIBUTION]
    # Unlike pivot_table, pivot does not average a run that is there twice: it fails.
    scores = rows.pivot(index=_RUN, columns="dataset", values="value")  # noqa: PD010
    scores = scores.reindex(index=rows.set_index(_RUN).index.unique())[datasets]
    if ood:
        scores[OOD_MEAN] = scores[ood].mean(axis=1, skipna=False)
    leading = scores[headline(scores)]
    scores[DIFFERENCE] = (leading - _of_baseline(leading, baseline)).mask(_is(leading, baseline))
    return scores


def tested(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a summary that count: those of a dataset's test split, or of its dev split where it has no test."""
    has_test = rows["dataset"].isin(rows.loc[rows["split"] == "test", "dataset"])
    return rows[(rows["split"] == "test") | ~has_test]


def overview(summary: pa.Table, metric: str, baseline: str = ERM, comparison: pa.Table | None = None) -> pd.DataFrame:
    """Methods against datasets: mean and spread over seeds, and what each method costs.

    Args:
        summary: a table as ``summarize`` writes it.
        metric: the metric to show.
        baseline: the method that costs and differences are relative to, per main model.
        comparison: a table as ``comparison.compare`` writes it, for the interval of the difference.

    Returns:
        One row per (main, method, reference), in the order of the summary. Columns of two levels:
        (``OOD_MEAN``, ``mean`` | ``sd``), the mean of the OOD sets, where there are any; (``DIFFERENCE``, ``mean`` |
        ``sd``, and ``low`` | ``high`` where there is a comparison) of that mean (of the in-distribution score where
        there is no OOD set) to the baseline's with the same seed; (``COSTS``, ``FLOPs`` | ``seconds``), the mean over
        seeds in percent of the baseline's; (``STEP``, ``mean``); (``SEEDS``, ``number``); and (dataset, ``mean`` |
        ``sd``), the in-distribution data first. The standard deviation has ddof 1. NaN: a spread over one seed, a
        difference of the baseline to itself, and whatever is relative to a baseline that the experiment does not have.
    """
    scores = by_run(summary, metric, baseline)
    datasets = [name for name in scores.columns if name not in (OOD_MEAN, DIFFERENCE)]
    runs = summary.select([*_RUN, "step", "flops", "seconds"]).to_pandas().drop_duplicates(_RUN).set_index(_RUN)
    runs = runs.reindex(scores.index).astype(float)

    by_method = scores.groupby(level=_ROW, sort=False)
    mean, sd = by_method.mean(), by_method.std(ddof=1)
    means = runs.groupby(level=_ROW, sort=False).mean()
    columns = {}
    for name in [*([OOD_MEAN] if OOD_MEAN in scores else []), DIFFERENCE, *datasets]:
        columns[name, "mean"] = mean[name]
        columns[name, "sd"] = sd[name]
        if name == DIFFERENCE:
            if comparison is not None:
                compared = comparison.to_pandas()
                compared = compared[(compared["metric"] == metric) & (compared["dataset"] == headline(scores))]
                compared = compared.set_index(_ROW).reindex(mean.index)
                columns |= {(name, end): compared[f"difference_{end}"] for end in ("low", "high")}
            columns[COSTS, "FLOPs"] = 100 * means["flops"] / _of_baseline(means["flops"], baseline)
            columns[COSTS, "seconds"] = 100 * means["seconds"] / _of_baseline(means["seconds"], baseline)
            columns[STEP, "mean"] = means["step"]
            columns[SEEDS, "number"] = by_method.size()
    return pd.DataFrame(columns)


def costs(summary: pa.Table, overview: pd.DataFrame, main: str) -> tuple[pd.DataFrame, bool]:
    """What each method of a main model costs, and whether that is in percent of ERM's: where there is an ERM.

    Args:
        summary: a table as ``summarize`` writes it.
        overview: made from it.
        main: the main model.

    Returns:
        The columns ``FLOPs`` and ``seconds`` for every (method, reference) of the overview.
    """
    part = overview.xs(main, level="main")
    if part[COSTS].notna().all(axis=None):
        return part[COSTS], True
    runs = summary.select([*_RUN, "flops", "seconds"]).to_pandas().drop_duplicates(_RUN)
    means = runs[runs["main"] == main].groupby(["method", "reference"])[["flops", "seconds"]].mean()
    return means.rename(columns={"flops": "FLOPs"}).reindex(part.index), False


def headline(overview: pd.DataFrame) -> str:
    """The heading whose score ranks the methods: the mean over OOD sets, or in-distribution where there are none."""
    return OOD_MEAN if OOD_MEAN in overview.columns else IN_DISTRIBUTION


def _is(values: pd.Series, method: str) -> np.ndarray:
    return values.index.get_level_values("method") == method


def _of_baseline(values: pd.Series, baseline: str) -> pd.Series:
    """For every row of ``values``, the baseline's value with the same main model (and seed, where there are seeds)."""
    same = [name for name in values.index.names if name not in ("method", "reference")]
    of_baseline = values[_is(values, baseline)].groupby(level=same).first()
    keys = values.index.droplevel(["method", "reference"])
    return pd.Series(of_baseline.reindex(keys).to_numpy(), index=values.index)


def formatted(overview: pd.DataFrame) -> pd.DataFrame:
    """An overview as text: scores in percent with their spread, differences with their interval, if there is one.

    A value that does not exist is shown as an en dash.
    """
    text = {}
    for heading in overview.columns.unique(level=0):
        part = overview[heading]
        if heading == COSTS:
            for unit in part.columns:
                text[f"{unit} (ERM = 100)"] = [_number(value, ".1f") for value in part[unit]]
        elif heading in (STEP, SEEDS):
            text[heading] = [_number(value, ".0f") for value in part.iloc[:, 0]]
        elif "low" in part.columns:
            text[heading] = [difference_text(*values) for values in part[["mean", "low", "high"]].to_numpy().tolist()]
        else:
            form = "+.2f" if heading == DIFFERENCE else ".2f"
            text[heading] = [_spread(100 * m, 100 * s, form) for m, s in zip(part["mean"], part["sd"], strict=True)]
    return pd.DataFrame(text, index=overview.index)


def difference_text(difference: float, *interval: float) -> str:
    """A difference in points, such as ``+1.50``, with its interval if given, such as ``+1.50 [+0.20, +3.10]``."""
    if pd.isna(difference):
        return EN_DASH
    shown, *ends = (_number(100 * value, "+.2f") for value in (difference, *interval))
    return f"{shown} [{', '.join(ends)}]" if ends else shown


def _number(value: float, form: str) -> str:
    return EN_DASH if pd.isna(value) else format(value, form).replace("-", "\N{MINUS SIGN}")


def _spread(mean: float, sd: float, form: str) -> str:
    return _number(mean, form) + ("" if pd.isna(sd) else f" ± {sd:.2f}")


def as_text(overview: pd.DataFrame, metric: str) -> str:
    """An overview for the terminal: what decides between methods, aligned, and in 80 columns where names are short.

    Scores of single data sets and seconds are left out, and so is a column that says nothing. The first line says what
    all rows share.

    Args:
        overview: as ``overview`` returns it.
        metric: the metric that it shows.
    """
    several = int(overview[SEEDS].max().item()) > 1
    shown = formatted(overview)[[headline(overview), DIFFERENCE, FLOPS, STEP, SEEDS]]
    interval = " [95 % interval]" if "low" in overview[DIFFERENCE].columns else ""
    shown = shown.rename(columns={DIFFERENCE: f"to ERM{interval}", FLOPS: "cost", STEP: "steps", SEEDS: "seeds"})
    table = shown.reset_index()
    table["reference"] = table["reference"].replace("", EN_DASH)
    table = table.loc[:, (table != EN_DASH).any()]
    title = []
    if len(set(table["main"])) == 1:
        title.append(table.pop("main").iloc[0])
    if len(set(table["seeds"])) == 1:
        title.append(f"{table.pop('seeds').iloc[0]} seed{'s' if several else ''}")
    title.append(f"{metric} in percent{' ± spread over seeds' if several else ''}")
    if "cost" in table:
        title.append("cost in FLOPs (ERM = 100)")
    return f"{', '.join(title)}\n\n{aligned(table, [name for name in _ROW if name in table])}"


def aligned(table: pd.DataFrame, left: Sequence[str]) -> str:
    """A table of strings in columns two spaces apart: those of ``left`` to the left, others to the right."""
    lines = [list(table.columns), *table.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, width, name in zip(line, widths, table.columns, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)
