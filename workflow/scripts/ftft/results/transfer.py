"""Which references are suitable, before a main model is paid for: how their data maps agree, and a verdict on each.

A run is one training of a reference model (reference, seed). One that is too weak calls hard what a stronger one finds
ambiguous; those examples are lost to the main model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ftft.core.artifacts import damaged, read, read_table
from ftft.data.schemas import IN_DISTRIBUTION, check_labels
from ftft.dynamics.datamap import AMBIGUOUS, EASY, HARD
from ftft.dynamics.ranking import correlations, overlaps, shared
from ftft.dynamics.schemas import DATAMAP
from ftft.evaluation import metrics
from ftft.evaluation.schemas import METRICS
from ftft.results.cells import aligned, percent
from ftft.results.costs import training_cost
from ftft.results.entries import ReferenceCost
from ftft.results.schemas import REFERENCES, TRANSFER
from ftft.results.writing import write_both, write_text

Floats = NDArray[np.float64]

SUITABLE, DOUBTFUL, TOO_WEAK = VERDICTS = ("suitable", "doubtful", "too weak")
# What is known of a reference run before a main model is trained: columns of the table of references.
KNOWN = ("dev", "ood_dev", "hard", "lost")
# A reference loses so large a share of what the strongest run finds ambiguous. Set by what such references do to main
# models on the planted benchmark (docs/results/planted.md).
DOUBTFUL_LOSS, TOO_LARGE_LOSS = 0.05, 0.10
# A head that finds less than this hard knows its train set by heart, and one that finds more has hardly learned it
# (docs/results/heads.md).
HEAD_HARD = 0.02, 0.50

_REGION_COLUMNS = {"ambiguous": AMBIGUOUS, "easy": EASY, "hard": HARD}


class ReferenceRun(ReferenceCost):
    """A reference run and the artifacts that it left."""

    reference: str
    seed: int
    datamap: str | Path
    curve: str | Path  # the dev curve
    head: bool  # whether only a head on frozen features was trained


class TransferSettings(TypedDict):
    """What rule ``compare_references`` is told."""

    runs: list[ReferenceRun]  # at least one, whose data maps are of the same train set
    metric: str  # accuracy or macro_f1
    labels: int  # number of classes of the task


def write(
    told: TransferSettings,
    dev: str | Path,
    references: tuple[str | Path, str | Path],
    transfer: tuple[str | Path, str | Path],
    text: str | Path,
) -> None:
    """Write what is known about each reference run, and about each ordered pair of them.

    Args:
        told: the runs and what they are judged by.
        dev: the in-distribution dev set's artifact.
        references: one row per run, in their order, as Parquet and as CSV; see ``verdict`` for the last columns.
        transfer: one row per ordered pair, likewise.
        text: the runs for the terminal.

    Raises:
        UserError: data maps are of different examples.
    """
    runs, metric, n_labels = told["runs"], told["metric"], told["labels"]
    maps = _read_maps([run["datamap"] for run in runs])
    members = {
        name: np.array([table["region"].to_numpy() == region for table in maps])
        for name, region in _REGION_COLUMNS.items()
    }
    lost = shared(members["hard"], members["ambiguous"]) / np.maximum(members["ambiguous"].sum(axis=1), 1)
    scores = [_dev_scores(run, metric) for run in runs]
    gold = read_table(dev, columns=["label"])["label"].to_numpy()
    check_labels(dev, gold, n_labels)
    chance = metrics.chance(gold, n_labels)[metric]
    strength = [dev_score if ood is None else ood for dev_score, ood in scores]
    rows = []
    for number, (run, (dev_score, ood)) in enumerate(zip(runs, scores, strict=True)):
        others = [other for other in range(len(runs)) if other != number]
        strongest = max(others, key=lambda other: strength[other], default=None)
        loss = None if strongest is None else float(lost[number, strongest])
        hard = float(members["hard"][number].mean()) if run["head"] else None
        rows.append(
            {"reference": run["reference"], "seed": run["seed"], "dev": dev_score, "ood_dev": ood, "chance": chance}
            | {name: float(each[number].mean()) for name, each in members.items()}
            | {"compared_with": None if strongest is None else _name(runs[strongest]), "lost": loss}
            | dict(zip(("verdict", "reason"), verdict(dev_score, chance, loss, hard), strict=True))
        )
    table = pa.Table.from_pylist(rows, REFERENCES)
    write_both(table, *references, REFERENCES)
    write_text(as_text(table), text)
    write_both(_pairs(runs, maps, members, lost), *transfer, TRANSFER)


def verdict(dev: float, chance: float, lost: float | None, hard: float | None = None) -> tuple[str, str]:
    """Whether a reference is suitable, and why.

    Args:
        dev: its in-distribution dev score.
        chance: the score of always predicting the most common class.
        lost: the share, of what the strongest other run finds ambiguous, that is hard to this one; None where there is
            no other run. The strongest has the highest mean OOD dev score (in-distribution where there is none).
        hard: the share of the examples that a head on frozen features finds hard; None for a model trained as a whole.

    Returns:
        one of ``VERDICTS``, and the reason in words.
    """
    lost = None if lost is None else round(lost, 3)  # as it is printed
    if dev <= chance:
        return TOO_WEAK, f"its dev score {100 * dev:.1f} is not above chance, {100 * chance:.1f}"
    share = f"it finds {100 * (lost or 0):.1f} % of the strongest run's ambiguous examples hard"
    if lost is not None and lost >= TOO_LARGE_LOSS:
        return TOO_WEAK, f"{share}, {100 * TOO_LARGE_LOSS:g} % or more"
    if hard is not None and hard < HEAD_HARD[0]:
        return (
            DOUBTFUL,
            f"it finds only {100 * hard:.1f} % hard: it knows them by heart, wrong labels too; try fewer epochs",
        )
    if hard is not None and hard > HEAD_HARD[1]:
        return (
            DOUBTFUL,
            f"it finds {100 * hard:.1f} % hard: it has hardly learned the task; try other layers, or tune all",
        )
    if lost is None:
        return DOUBTFUL, "nothing to compare it with: add a seed, or another reference"
    if lost >= DOUBTFUL_LOSS:
        return DOUBTFUL, f"{share}, {100 * DOUBTFUL_LOSS:g} % or more"
    return SUITABLE, f"{share}, less than {100 * DOUBTFUL_LOSS:g} %"


def _name(run: ReferenceRun) -> str:
    return f"{run['reference']}, seed {run['seed']}"


def _read_maps(paths: Sequence[str | Path]) -> list[pa.Table]:
    maps = [read(path, DATAMAP, ["uid", "variability", "region"]) for path in paths]
    for path, table in zip(paths, maps, strict=True):
        if not table["uid"].equals(maps[0]["uid"]):
            raise damaged(path, f"its examples are not those of {paths[0]}")
    return maps


def _dev_scores(run: ReferenceRun, metric: str) -> tuple[float, float | None]:
    """The dev score and the mean over the OOD dev sets (None without any) where the run ended as a reference."""
    end = training_cost(run["cost"], run["checkpoint"])["steps"]
    curve = read(run["curve"], METRICS).to_pandas()
    curve = curve[(curve["metric"] == metric) & (curve["step"] <= end)]
    whole = curve.groupby("step")["dataset"].transform("nunique") == curve["dataset"].nunique()
    last = curve[whole & (curve["step"] == curve["step"][whole].max())].set_index("dataset")["value"]
    if IN_DISTRIBUTION not in last or not last.index.is_unique:
        raise damaged(run["curve"], f"it does not have one {metric} of each dev set up to step {end}")
    ood = last.drop(IN_DISTRIBUTION)
    return float(last[IN_DISTRIBUTION]), None if ood.empty else float(ood.mean())


def _pairs(
    runs: Sequence[ReferenceRun], maps: list[pa.Table], members: dict[str, NDArray[np.bool_]], lost: Floats
) -> pa.Table:
    """One row per ordered pair of runs."""
    correlation = correlations([table["variability"].to_numpy() for table in maps])
    overlap = {name: overlaps(each) for name, each in members.items()}
    rows = [
        {
            "reference": one["reference"],
            "seed": one["seed"],
            "other": other["reference"],
            "other_seed": other["seed"],
            "rank_correlation": None if np.isnan(correlation[i, j]) else correlation[i, j],
            **{f"{name}_overlap": values[i, j] for name, values in overlap.items()},
            "lost": lost[i, j],
        }
        for i, one in enumerate(runs)
        for j, other in enumerate(runs)
        if i != j
    ]
    return pa.Table.from_pylist(rows, TRANSFER)


def as_text(references: pa.Table) -> str:
    """The reference runs for the terminal, aligned, in percent; and for each that is not suitable, why."""
    table = references.to_pandas()
    reasons = [
        f"{row.reference}, seed {row.seed}: {row.verdict}: {row.reason}"
        for row in table.itertuples()
        if row.verdict != SUITABLE
    ]
    for name in KNOWN:
        table[name] = [percent(value) for value in table[name]]
    shown = table[["reference", "seed", *KNOWN, "verdict"]].astype(str)
    text = aligned(shown, ["reference", "verdict"])
    return "\n\n".join([text, "\n".join(reasons)] if reasons else [text])
