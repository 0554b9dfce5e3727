"""What memory every training will take, said before the first step, and whether there is as much.

The numbers come from ``results.memory_count``; this module says what they mean.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ftft.results.cells import EN_DASH, aligned
from ftft.results.schemas import MEMORY
from ftft.results.writing import write_both

ROOM = 1.2  # how much more than the forecast to ask for; on a CPU it was right within a tenth


def write(table: pa.Table, output_parquet: str | Path, output_csv: str | Path) -> None:
    """Write the table as Parquet and as CSV."""
    write_both(table, output_parquet, output_csv, MEMORY)


def warnings(table: pa.Table) -> list[str]:
    """One line for every model whose training needs more memory than there is: what to change."""
    return [_warning(row) for row in table.to_pylist() if row["enough"] is False]


def _warning(row: dict[str, Any]) -> str:
    ways = []
    if row["batch"] > 1 and row["activations_mb"] > row["total_mb"] / 10:
        ways.append(f"micro_batch_size: {row['batch'] // 2} or less")
    if row["activations_mb"] > row["total_mb"] / 10:
        ways.append("gradient_checkpointing: true")
    need = f"{row['model']}: training it takes about {row['total_mb']:,.0f} MB"
    if row["device"] == "cpu":
        ways.insert(0, f"resources.mem_mb: {100 * math.ceil(ROOM * row['total_mb'] / 100)}")
        return f"{need}, and its resources.mem_mb is {row['available_mb']:.0f}; set {' or '.join(ways)}"
    ways.append("a larger share in resources.gpu, or a larger GPU")
    return f"{need} of a GPU, and its share of the one here is {row['available_mb']:,.0f} MB; set {' or '.join(ways)}"


HEADINGS = ["largest pass", "weights", "gradients", "optimizer", "activations", "other", "in all", "there is"]


def cells_of(row: dict[str, Any]) -> list[str]:
    """A row of the table as text, under the headings ``HEADINGS``; memory in MB."""
    parts = ("weights", "gradients", "moments", "activations", "other", "total", "available")
    sizes = [EN_DASH if row[f"{name}_mb"] is None else f"{row[f'{name}_mb']:,.0f}" for name in parts]
    return [f"{row['batch']} x {row['length']}", *sizes]


def place_of(row: dict[str, Any]) -> str:
    """What a training computes on and in."""
    return f"{row['device'].upper()}, {row['precision']}"


def as_text(table: pa.Table) -> str:
    """The table for the terminal: aligned, with the ``warnings`` below; nothing of a table without rows."""
    if not table.num_rows:
        return ""
    rows = [[row["model"], place_of(row), *cells_of(row)] for row in table.to_pylist()]
    shown = pd.DataFrame(rows, columns=["model", "on", *HEADINGS])
    text = f"forecast of the memory that a training takes (MB)\n\n{aligned(shown, ['model', 'on'])}"
    return "\n\n".join(filter(None, (text, "\n".join(warnings(table)))))
