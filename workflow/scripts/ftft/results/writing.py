"""How results are written: a table as an artifact and as a CSV file that no spreadsheet computes, and a text."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ftft.core.artifacts import atomic_path, write_table

# Spreadsheets take for a formula what begins with one of these signs, but for a plain number (OWASP, *CSV injection*).
_FORMULA = re.compile(r"(?![+-]?\d+(\.\d+)?(e[+-]?\d+)?$)[=+\-@\t\r\n]", re.ASCII | re.IGNORECASE)


def write_both(table: pa.Table, output_parquet: str | Path, output_csv: str | Path, schema: pa.Schema) -> None:
    """Write a table as Parquet and as CSV, where a null is an empty field, and no text a formula."""
    write_table(table, output_parquet, schema)
    columns = {field.name: _harmless(table[field.name].cast(field.type)) for field in schema}
    with atomic_path(output_csv) as temporary:
        csv.write_csv(pa.table(columns), temporary, csv.WriteOptions(quoting_style="needed"))


def write_text(text: str, output: str | Path) -> None:
    """Write a text for the terminal to a file, whole or not at all, with a line break at its end."""
    with atomic_path(output) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    texts = pc.unique(column)
    return pa.array(map(harmless, texts.to_pylist()), pa.string()).take(pc.index_in(column, texts))


def harmless(cell: Any) -> Any:
    """A cell of a CSV file as spreadsheets only show it: before a text that they would compute stands a quote mark."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
