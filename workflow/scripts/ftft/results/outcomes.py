"""Whether the verdicts on the references were right: how main models did on what each reference selected."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from ftft.dynamics.ranking import correlation
from ftft.results.overview import DIFFERENCE, by_run
from ftft.results.transfer import KNOWN, VERDICTS


def outcomes(summary: pa.Table, references: pa.Table, main: str, metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """What was known about each reference run, and what main models did on what it selected.

    Args:
        summary: a table as ``summary.summarize`` writes it.
        references: a table as ``transfer.write`` writes it.
        main: the main model.
        metric: ``accuracy`` or ``macro_f1``.
        methods: those that train on what a single reference run finds ambiguous.

    Returns:
        One row per reference run (index ``reference``, ``seed``) that some method used, the one that loses least first
        and those with nothing to compare them with last. Columns: ``KNOWN`` and ``verdict``; then for each method that
        used one of them, under ``to_erm(method)``, the difference of its score to ERM's, as ``overview.by_run`` has it,
        NaN where it did not use the run or there is no ERM.
    """
    known = references.to_pandas().set_index(["reference", "seed"])[[*KNOWN, "verdict"]]
    differences = by_run(summary, metric)[DIFFERENCE].xs(main, level="main").unstack("method")  # noqa: PD010
    differences = differences.reindex(index=known.index, columns=list(methods)).dropna(axis="columns", how="all")
    differences = differences.dropna(how="all").rename(columns=to_erm)
    return known.join(differences, how="inner").sort_values("lost", kind="stable", na_position="last")


def to_erm(method: str) -> str:
    """The column of a method's differences."""
    return f"{method} to ERM"


def by_verdict(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """One method's differences by verdict, the most favourable first: number of ``runs``, ``mean`` and ``worst``."""
    column = to_erm(method)
    groups = table.dropna(subset=[column]).groupby("verdict")[column]
    found = groups.agg(runs="size", mean="mean", worst="min")
    return found.reindex([verdict for verdict in VERDICTS if verdict in found.index])


def agreement(table: pd.DataFrame, method: str) -> pd.Series:
    """Spearman's rank correlation of each of ``KNOWN`` with one method's differences, over the runs that have both.

    NaN with fewer than four runs, which say nothing about an order, and where all values of one are equal. What differs
    by no more than the rounding of a mean counts as equal.
    """
    found = {}
    for name in KNOWN:
        both = table[[name, to_erm(method)]].dropna().round(9)
        found[name] = correlation(both[name], both[to_erm(method)]) if len(both) > 3 else float("nan")
    return pd.Series(found)
