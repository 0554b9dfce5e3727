"""The summary: one long table over all runs of an experiment.

A run is one training of a main model (main, method, reference, seed) with its evaluation.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ftft.compute.schemas import COST
from ftft.core.artifacts import atomic_path, read, write_table
from ftft.core.errors import UserError, shown
from ftft.evaluation.schemas import METRICS
from ftft.results.schemas import RUN, SUMMARY

# What spreadsheets take as a formula (OWASP, *CSV injection*): all that begins so, but for a plain number.
_FORMULA = re.compile(r"(?![+-]?\d+(\.\d+)?(e[+-]?\d+)?$)[=+\-@\t\r\n]", re.ASCII | re.IGNORECASE)


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
    other_costs: Sequence[str | Path]  # cost tables of features, data maps and the subset


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
    constants = {name: entry[name] for name in ("task", *RUN)}  # type: ignore[literal-required]
    constants |= {"step": main["steps"], "train_examples": main["examples"]}
    constants |= {name: main[name] + before[name] for name in before}
    columns = {name: pa.repeat(pa.scalar(value), metrics.num_rows) for name, value in constants.items()}
    columns |= {name: metrics[name] for name in metrics.column_names}
    return pa.table(columns).select(SUMMARY.names).cast(SUMMARY)


def main_cost(entry: Entry) -> dict[str, Any]:
    """What training the main model took, up to the checkpoint that counts: a row of its cost table."""
    return training_cost(entry["cost"], entry["checkpoint"])


def preparation_cost(entry: Entry) -> dict[str, float]:
    """``flops`` and ``seconds`` of what comes before the main model: features, trainings, data maps, selection."""
    costs = [row for path in entry["other_costs"] for row in read(path, COST).to_pylist() if row["stage"] != "evaluate"]
    costs += [training_cost(reference["cost"], reference["checkpoint"]) for reference in entry["training_costs"]]
    return {name: float(sum(cost[name] for cost in costs)) for name in ("flops", "seconds")}


def training_cost(path: str | Path, checkpoint: str) -> dict[str, Any]:
    """The row of a cost table that says what a training took up to a checkpoint."""
    row = read(path, COST).filter((pc.field("stage") == "train") & (pc.field("checkpoint") == checkpoint)).to_pylist()
    if len(row) != 1:
        raise UserError(
            f"cost table {path} has {len(row)} rows for stage train at checkpoint {shown(checkpoint)}, expected 1; "
            "delete the file and rerun"
        )
    return row[0]
