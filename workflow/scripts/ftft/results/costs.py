"""What a run took, read from the cost tables that it and its references left."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from ftft.compute.schemas import COST
from ftft.core.artifacts import damaged, read
from ftft.core.errors import shown
from ftft.results.entries import Entry


def main_cost(entry: Entry) -> dict[str, Any]:
    """What training the main model took, up to the checkpoint that counts: a row of its cost table."""
    return training_cost(entry["cost"], entry["checkpoint"])


def preparation_cost(entry: Entry) -> dict[str, float]:
    """``flops`` and ``seconds`` of what comes before the main model: features, trainings, data maps, selection."""
    costs = [row for path in entry["other_costs"] for row in read(path, COST).to_pylist() if row["stage"] != "evaluate"]
    costs += [training_cost(reference["cost"], reference["checkpoint"]) for reference in entry["training_costs"]]
    return {name: float(sum(cost[name] for cost in costs)) for name in ("flops", "seconds")}


def training_cost(path: str | Path, checkpoint: str) -> dict[str, Any]:
    """The row of a cost table that says what a training took up to a checkpoint.

    Raises:
        UserError: the table has no such row, or several.
    """
    row = read(path, COST).filter((pc.field("stage") == "train") & (pc.field("checkpoint") == checkpoint)).to_pylist()
    if len(row) != 1:
        raise damaged(path, f"it has {len(row)} rows for stage train at checkpoint {shown(checkpoint)} instead of one")
    return row[0]
