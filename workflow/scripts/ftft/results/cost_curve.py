"""The cost curve: the dev score of every run against what it had cost by then, and when it catches up with ERM."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ftft.core.artifacts import read
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.evaluation.schemas import METRICS
from ftft.models.saved import read_step
from ftft.results.costs import main_cost, preparation_cost
from ftft.results.entries import Entry
from ftft.results.schemas import COST_CURVE, ERM, OOD_MEAN
from ftft.results.writing import write_both

_METRICS = ("accuracy", "macro_f1")
_METHOD = ["main", "method", "reference"]


def trace(entries: Sequence[Entry], output_parquet: str | Path, output_csv: str | Path) -> None:
    """Write one row per run, metric (accuracy and macro-F1) and evaluation in training, in the order of the entries.

    A mean of fine-tuned and pretrained weights has no curve of its own and is left out, and so is a run that stopped
    before all dev sets were scored.

    ``value`` is the mean over the OOD dev sets, or the in-distribution dev score where there is no OOD dev set.
    ``flops`` and ``seconds`` at a step are what comes before the main model (reference, data map, selection) as a
    whole, plus the main model's training in proportion to its steps; evaluation is left out. ``reaches_erm``: the value
    is at least the dev score of ERM's saved model, same main model and seed; null without ERM.

    Args:
        entries: all runs of the experiment.
        output_parquet, output_csv: the same table twice.
    """
    entries = [entry for entry in entries if not entry["interpolated"]]
    scored = [read(entry["curve"], METRICS).to_pandas() for entry in entries]
    names = {name for rows in scored for name in rows["dataset"]}
    # Of one experiment, of which a run that stops before all are scored knows only some.
    sets = names - {IN_DISTRIBUTION} or names
    curves = [_curve(entry, rows, sets) for entry, rows in zip(entries, scored, strict=True)]
    targets = {
        (entry["main"], entry["seed"]): curve[curve["step"] == _saved_step(entry)].set_index("metric")["value"]
        for entry, curve in zip(entries, curves, strict=True)
        if entry["method"] == ERM
    }
    for entry, curve in zip(entries, curves, strict=True):
        if curve.empty:
            continue
        target = targets.get((entry["main"], entry["seed"]))
        curve["reaches_erm"] = None if target is None else curve["value"] >= curve["metric"].map(target)
    curves = [curve for curve in curves if not curve.empty]
    rows = pd.concat(curves) if curves else COST_CURVE.empty_table().to_pandas()
    table = pa.Table.from_pandas(rows, COST_CURVE, preserve_index=False)
    write_both(table, output_parquet, output_csv, COST_CURVE)


def _curve(entry: Entry, rows: pd.DataFrame, sets: Collection[str]) -> pd.DataFrame:
    """The rows of one run where all of these dev sets were scored, up to the step at which its training stopped."""
    main, before = main_cost(entry), preparation_cost(entry)
    rows = rows[rows["metric"].isin(_METRICS) & rows["dataset"].isin(sets) & (rows["step"] <= main["steps"])]
    dataset = IN_DISTRIBUTION if IN_DISTRIBUTION in sets else OOD_MEAN
    # A stop rule that looks more often than all dev sets are scored may have looked at some of them only.
    rows = rows[rows.groupby("step")["dataset"].transform("nunique") == len(sets)]
    curve = rows.groupby(["metric", "step"])["value"].mean().reset_index()
    share = curve["step"] / main["steps"]
    names = {name: entry[name] for name in ("task", *_METHOD, "seed")}  # type: ignore[literal-required]
    costs = {name: before[name] + share * main[name] for name in ("flops", "seconds")}
    return curve.assign(**names, dataset=dataset, **costs)


def _saved_step(entry: Entry) -> int:
    return read_step(entry["curve"], entry["checkpoint"])


def reaching(curve: pa.Table, metric: str) -> pd.DataFrame:
    """What each method had cost when it first was as good as ERM's saved model, on the dev sets.

    Args:
        curve: a table as ``trace`` writes it.
        metric: the metric that counts.

    Returns:
        One row per (main, method, reference), in the order of the curve: ``seeds``; ``reached``, the number of them in
        which the method gets there; ``FLOPs`` and ``seconds`` at that point in percent of ERM's whole training with
        the same seed, as means over the seeds that get there (NaN if none does). Empty without ERM.
    """
    rows = curve.to_pandas()
    rows = rows[(rows["metric"] == metric) & rows["reaches_erm"].notna()].sort_values("step", kind="stable")
    whole = rows[rows["method"] == ERM].groupby(["main", "seed"])[["flops", "seconds"]].last()
    first = rows[rows["reaches_erm"].astype(bool)].groupby([*_METHOD, "seed"])[["flops", "seconds"]].first()
    relative = 100 * first / whole.reindex(first.index.droplevel(["method", "reference"])).to_numpy()
    by_method = relative.rename(columns={"flops": "FLOPs"}).groupby(level=_METHOD)
    order = curve.to_pandas()[[*_METHOD]].drop_duplicates().set_index(_METHOD).index
    seeds = rows.groupby(_METHOD)["seed"].nunique()
    found = pd.DataFrame({"seeds": seeds.reindex(order), "reached": by_method.size().reindex(order, fill_value=0)})
    return found.join(by_method.mean()).dropna(subset=["seeds"]).astype({"seeds": int})
