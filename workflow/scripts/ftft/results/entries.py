"""What the tables of results are told: every run's names, and the artifacts that it left.

A run is one training of a main model (main, method, reference, seed) with its evaluation.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict


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
