"""What the page says in words: which method won, what is cheaper, which references are suitable, where groups lie."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ftft.core.artifacts import damaged, read, read_table
from ftft.display.explorer import MAX_GROUPS, DataMap, Subset, names_of_groups
from ftft.dynamics.datamap import AMBIGUOUS, EASY, HARD
from ftft.dynamics.schemas import DATAMAP, read_subset
from ftft.results.cells import difference_text, number_text
from ftft.results.outcomes import agreement, by_verdict
from ftft.results.overview import COSTS, DIFFERENCE, SEEDS, headline
from ftft.results.schemas import ERM, OOD_MEAN
from ftft.results.transfer import VERDICTS

MAX_CHEAPER = 3  # methods that are named
MAX_COLLAPSED = 3  # runs that are named


def sentence(table: pd.DataFrame, main: str, metric: str) -> str:
    """What the table says about one main model: the best method, its lead over ERM, its price, and how sure that is."""
    part = table.xs(main, level="main")
    # The cheapest of equals comes first.
    part = part.sort_values([(headline(table), "mean"), (COSTS, "FLOPs")], ascending=[False, True], kind="stable")
    score = f"mean OOD {metric}" if headline(table) == OOD_MEAN else f"in-distribution {metric}"
    best = part.iloc[0]
    text = f"{main}: {_method(best)} has the highest {score}, {100 * best[headline(table), 'mean']:.2f} %"
    has_erm = ERM in part.index.get_level_values("method")
    other = part.iloc[1] if len(part) > 1 else None
    if not has_erm or other is None:
        return f"{text}, over {_seeds(best)}."
    if best.name[0] != ERM:
        return (
            f"{text}: {_points(best)} above ERM (all training data) at {best[COSTS, 'FLOPs']:.1f} % of ERM's training "
            f"FLOPs and {best[COSTS, 'seconds']:.1f} % of its seconds, over {_seeds(best)}. {_certainty(best)}"
        )
    return (
        f"{text}: no method exceeds plain training on all data. The closest, {_method(other)}, is {_points(other)} "
        f"below at {other[COSTS, 'FLOPs']:.1f} % of its training FLOPs and {other[COSTS, 'seconds']:.1f} % of its "
        f"seconds, over {_seeds(other)}. {_certainty(other)}"
    )


def _method(row: pd.Series) -> str:
    method, reference = row.name
    name = "ERM" if method == ERM else method
    return f"{name} (reference {reference})" if reference else name


def _seeds(row: pd.Series) -> str:
    number = int(row[SEEDS, "number"])
    return "one seed" if number == 1 else f"{number} seeds"


def _points(row: pd.Series) -> str:
    return f"{100 * abs(row[DIFFERENCE, 'mean']):.2f} points"


def _certainty(row: pd.Series) -> str:
    """The interval of a difference and whether it leaves zero out, in words that claim no more than that."""
    low, high, spread = row[DIFFERENCE, "low"], row[DIFFERENCE, "high"], row[DIFFERENCE, "sd"]
    verdict = "includes zero, so it may be chance" if low <= 0 <= high else "leaves out zero"
    bounds = f"{difference_text(low)} to {difference_text(high)} points"
    if np.isnan(spread):
        return (
            f"The 95 % interval of the difference to ERM, over test examples alone, is {bounds}, which {verdict}. One "
            "seed shows no spread: how another would do is not known."
        )
    return (
        f"The 95 % interval of the difference to ERM, over seeds and test examples, is {bounds}, which {verdict}. The "
        f"difference varies by {100 * spread:.2f} points (standard deviation) over seeds."
    )


def savings(table: pd.DataFrame, main: str) -> str | None:
    """Which methods cost less than ERM and keep up with it, the cheapest first; None with nothing to compare."""
    part = table.xs(main, level="main")
    is_erm = part.index.get_level_values("method") == ERM
    if not is_erm.any() or is_erm.all():
        return None
    cheaper = part[~is_erm & (part[COSTS, "FLOPs"] < 100)].sort_values((COSTS, "FLOPs"), kind="stable")
    if cheaper.empty:
        return f"{main}: no method costs less than ERM."
    level = cheaper[cheaper[DIFFERENCE, "high"] >= 0]
    if level.empty:
        return f"{main}: no method that costs less than ERM keeps up with it."
    shown = [
        f"{_method(row)} at {row[COSTS, 'FLOPs']:.1f} % of its FLOPs "
        f"({difference_text(row[DIFFERENCE, 'mean'])} points)"
        for _, row in level.head(MAX_CHEAPER).iterrows()
    ]
    more = f"; and {len(level) - MAX_CHEAPER} more" if len(level) > MAX_CHEAPER else ""
    return (
        f"{main}: cheaper than ERM and not clearly below it (the interval of the difference reaches zero): "
        f"{'; '.join(shown)}{more}."
    )


def budget_sentences(table: pd.DataFrame, main: str, metric: str, budgets: Mapping[str, float]) -> list[str]:
    """Which method makes the most of the same number of steps: a sentence for every budget that several methods have.

    Args:
        table: as ``overview.overview`` returns it.
        main: the main model.
        metric: the score's name.
        budgets: share of the planned steps, of every method that has one and takes all of it.
    """
    part = table.xs(main, level="main")
    score = f"mean OOD {metric}" if headline(table) == OOD_MEAN else f"in-distribution {metric}"
    sentences = []
    for budget in sorted(set(budgets.values())):
        rows = part[[budgets.get(method) == budget for method in part.index.get_level_values("method")]]
        if len(rows) < 2:
            continue
        rows = rows.sort_values((headline(table), "mean"), ascending=False, kind="stable")
        shown = [f"{_method(row)} {100 * row[headline(table), 'mean']:.2f}" for _, row in rows.iterrows()]
        sentences.append(f"{main}, {score} in percent with {100 * budget:.3g} % of the steps: {', '.join(shown)}.")
    return sentences


def verdict_sentence(rows: list[dict[str, Any]]) -> str:
    """What was known about the references before a main model was trained, in a sentence."""
    parts = []
    for name in dict.fromkeys(row["reference"] for row in rows):
        found = Counter(row["verdict"] for row in rows if row["reference"] == name)
        several = found.total() > 1
        verdicts = (verdict for verdict in VERDICTS if verdict in found)
        counts = (f"{each} ({found[each]} of {found.total()} seeds)" if several else each for each in verdicts)
        parts.append(f"{name} {', '.join(counts)}")
    return f"The references, judged before a main model was trained: {'; '.join(parts)}."


def collapsed_sentence(summary: pa.Table) -> str | None:
    """Which saved models predict one class on every data set, and so have learned nothing; None where none does."""
    rows = summary.filter(pc.field("metric") == "predicted_classes").to_pandas()
    largest = rows.groupby(["main", "method", "reference", "seed"], sort=False)["value"].max()
    runs = list(largest[largest == 1].index)
    if not runs:
        return None
    shown = [
        f"{main}, {method}{f' (reference {reference})' if reference else ''}, seed {seed}"
        for main, method, reference, seed in runs[:MAX_COLLAPSED]
    ]
    more = f"; and {len(runs) - MAX_COLLAPSED} more" if len(runs) > MAX_COLLAPSED else ""
    return f"These models predict one class whatever they read, so their scores mean nothing: {'; '.join(shown)}{more}."


def outcome_sentence(table: pd.DataFrame, method: str) -> str:
    """What one method's main models did, by the verdict on the reference run that selected for them.

    Args:
        table: as ``outcomes.outcomes`` returns it.
        method: one of its methods.
    """
    parts = []
    for row in by_verdict(table, method).itertuples():
        found = f"{difference_text(row.mean)} points to ERM"
        several = f" on average, {difference_text(row.worst)} at worst" if row.runs > 1 else ""
        parts.append(f"{row.Index} ({row.runs} run{'s' if row.runs > 1 else ''}): {found}{several}")
    text = f"{method}, {'; '.join(parts)}."
    ranks = agreement(table, method).dropna()
    if "lost" not in ranks:
        return text
    names = {"lost": "lost", "dev": "the dev score", "ood_dev": "the mean OOD dev score"}
    values = [f"{number_text(ranks[name], '.2f')} with {shown}" for name, shown in names.items() if name in ranks]
    return f"{text} Rank correlation of the difference: {', '.join(values)}."


def groups_of(train_data: str | Path, group: str) -> pd.Series:
    """The group of each example of the train set as text, indexed by uid."""
    table = read_table(train_data, columns=list(dict.fromkeys(["uid", group])))
    return pd.Series(names_of_groups(table[group]), index=table["uid"].to_pylist())


def of_groups(datamaps: list[DataMap], subsets: list[Subset], groups: pd.Series) -> dict[str, Any]:
    """How the groups spread over regions and subsets, as means over the seeds of one reference.

    A place (region or subset) that took no notice of the group would hold the same share of each group as of the whole
    train set: that share is the rate expected by chance. The statements are on the hard-to-learn region and on what is
    plainly selected as ambiguous.
    """
    regions = [_in_data_order(datamap["path"], "region", groups) for datamap in datamaps]
    places = {region: [values == region for values in regions] for region in (EASY, AMBIGUOUS, HARD)}
    uids = pa.chunked_array([pa.array(groups.index, pa.string())])
    for subset in subsets:
        members = np.zeros(len(groups), bool)
        members[read_subset(subset["path"], uids)] = True
        name = f"{subset['by']} subset of {100 * subset['fraction']:g} %"
        places.setdefault(name, []).append(members)

    # Each example counts as often as it is there, as a mean over seeds.
    hits = pd.DataFrame({name: np.mean(masks, axis=0) for name, masks in places.items()}, index=groups.index)
    sizes = groups.value_counts()
    values = sorted(sizes.index, key=lambda value: (-sizes[value], value))
    counts = hits.groupby(groups).sum().loc[values[:MAX_GROUPS]]
    chance = hits.mean()
    return {
        "statements": [
            _statement(value, place, counts.loc[value, place], sizes[value], chance[place])
            for value in counts.index[1:]  # the most common group is what the others stand out from
            for place in places
            if place == HARD or place.startswith(f"{AMBIGUOUS} subset")
        ],
        "places": list(places),
        "rows": [_row(value, sizes[value], counts.loc[value]) for value in counts.index],
        "all": _row("all (chance)", len(groups), hits.sum()),
        "left_out": len(values) - len(counts),
        "seeds": [datamap["seed"] for datamap in datamaps],
    }


def _statement(value: str, place: str, found: float, total: int, chance: float) -> str:
    where, whole = (f"lie in the {place} region", "region") if place == HARD else (f"are in the {place}", "subset")
    return (
        f"{_count(found)} of {total:,} {value} examples ({100 * found / total:.1f} %) {where}, against "
        f"{chance * total:,.1f} ({100 * chance:.1f} %) expected by chance (the {whole}'s share of the data)."
    )


def _row(name: str, size: int, counts: pd.Series) -> dict[str, Any]:
    cells = [f"{_count(count)} ({100 * count / size:.1f} %)" for count in counts]
    return {"name": name, "size": f"{size:,}", "cells": cells}


def _count(value: float) -> str:
    """A count, or a mean of counts with its decimal where that is not zero."""
    return f"{value:,.1f}".removesuffix(".0")


def _in_data_order(path: str | Path, column: str, groups: pd.Series) -> NDArray[np.object_]:
    table = read(path, DATAMAP, ["uid", column])
    if table["uid"].to_pylist() != groups.index.to_list():
        raise damaged(path, "it does not have the rows of the train set")
    return table[column].to_numpy()
