"""The summary: one long table over all runs of an experiment."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ftft.core.artifacts import read
from ftft.evaluation.schemas import METRICS
from ftft.results.costs import main_cost, preparation_cost
from ftft.results.entries import Entry
from ftft.results.overview import overview
from ftft.results.schemas import COMPARISON, RUN, SUMMARY
from ftft.results.text import as_text
from ftft.results.writing import write_both, write_text


def write(
    entries: Sequence[Entry],
    comparison: str | Path,
    metric: str,
    output_parquet: str | Path,
    output_csv: str | Path,
    output_text: str | Path,
) -> None:
    """Write the summary as ``summarize`` does, and the overview of it for the terminal.

    Args:
        entries: all runs of the experiment.
        comparison: the artifact of this name, for the intervals of differences.
        metric: ``accuracy`` or ``macro_f1``, which the overview shows.
        output_parquet, output_csv: the same table twice.
        output_text: the overview.
    """
    table = summarize(entries, output_parquet, output_csv)
    compared = read(comparison, COMPARISON)
    write_text(as_text(overview(table, metric, comparison=compared), metric), output_text)


def summarize(entries: Sequence[Entry], output_parquet: str | Path, output_csv: str | Path) -> pa.Table:
    """Write and return one row per run, dataset, split and metric, in the order of the entries, as Parquet and as CSV.

    ``step`` and ``train_examples`` are those of the main model's training. ``flops`` and ``seconds`` are the price of
    the method: training the main model up to its checkpoint, and, where there are any, each reference that selected to
    its end, the data maps and the selection; evaluation, start-up and saving are left out.

    Raises:
        UserError: a cost table lacks the row that counts.
    """
    table = pa.concat_tables([_rows(entry) for entry in entries])
    write_both(table, output_parquet, output_csv, SUMMARY)
    return table


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
