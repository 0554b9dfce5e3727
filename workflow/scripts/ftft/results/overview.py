"""The overview of a summary: methods against data sets, with what each costs, as numbers."""

import numpy as np
import pandas as pd
import pyarrow as pa

from ftft.data.schemas import IN_DISTRIBUTION
from ftft.results.schemas import ERM, OOD_MEAN, RUN

# Headings of an overview. Like ``OOD_MEAN`` they contain what no data set's name can, so the two never collide.
DIFFERENCE = "difference to ERM"
COSTS = "cost (ERM = 100)"
STEP = "stopped at step"
SEEDS = "number of seeds"

ROW = RUN[:-1]  # what a row of it is about


def cost_heading(unit: str) -> str:
    """What a column under ``COSTS`` is called where it stands alone."""
    return f"{unit} (ERM = 100)"


def by_run(summary: pa.Table, metric: str) -> pd.DataFrame:
    """The scores of every run (main, method, reference, seed), in the order of the summary.

    Scores are those of a dataset's test split, or its dev split where it has no test.

    Args:
        summary: a table as ``summary.summarize`` writes it.
        metric: the metric to show.

    Returns:
        One column per dataset, the in-distribution data first; ``OOD_MEAN``, the mean of the OOD sets, where there are
        any; and ``DIFFERENCE`` of that mean (of the in-distribution score where there is no OOD set) to ERM's with the
        same main model and seed. NaN: the difference of ERM to itself, or to an ERM that the experiment does not have.
    """
    rows = summary.to_pandas()
    rows = tested(rows[rows["metric"] == metric])
    datasets = sorted(rows["dataset"].unique(), key=lambda name: name != IN_DISTRIBUTION)
    ood = [name for name in datasets if name != IN_DISTRIBUTION]
    # Unlike pivot_table, pivot does not average a run that is there twice: it fails.
    scores = rows.pivot(index=RUN, columns="dataset", values="value")  # noqa: PD010
    scores = scores.reindex(index=rows.set_index(RUN).index.unique())[datasets]
    if ood:
        scores[OOD_MEAN] = scores[ood].mean(axis=1, skipna=False)
    leading = scores[headline(scores)]
    scores[DIFFERENCE] = (leading - _of_erm(leading)).mask(_is_erm(leading))
    return scores


def tested(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a summary that count: those of a dataset's test split, or of its dev split where it has no test."""
    has_test = rows["dataset"].isin(rows.loc[rows["split"] == "test", "dataset"])
    return rows[(rows["split"] == "test") | ~has_test]


def overview(summary: pa.Table, metric: str, comparison: pa.Table | None = None) -> pd.DataFrame:
    """Methods against datasets: mean and spread over seeds, and what each method costs.

    Args:
        summary: a table as ``summary.summarize`` writes it.
        metric: the metric to show.
        comparison: a table as ``comparison.compare`` writes it, for the interval of the difference.

    Returns:
        One row per (main, method, reference), in the order of the summary. Columns of two levels:
        (``OOD_MEAN``, ``mean`` | ``sd``), the mean of the OOD sets, where there are any; (``DIFFERENCE``, ``mean`` |
        ``sd``, and ``low`` | ``high`` where there is a comparison) of that mean (of the in-distribution score where
        there is no OOD set) to ERM's with the same seed; (``COSTS``, ``FLOPs`` | ``seconds``), the mean over seeds in
        percent of ERM's; (``STEP``, ``mean``); (``SEEDS``, ``number``); and (dataset, ``mean`` | ``sd``), the
        in-distribution data first. The standard deviation has ddof 1. NaN: a spread over one seed, a difference of ERM
        to itself, and whatever is relative to an ERM that the experiment does not have.
    """
    scores = by_run(summary, metric)
    datasets = [name for name in scores.columns if name not in (OOD_MEAN, DIFFERENCE)]
    runs = summary.select([*RUN, "step", "flops", "seconds"]).to_pandas().drop_duplicates(RUN).set_index(RUN)
    runs = runs.reindex(scores.index).astype(float)

    by_method = scores.groupby(level=ROW, sort=False)
    mean, sd = by_method.mean(), by_method.std(ddof=1)
    means = runs.groupby(level=ROW, sort=False).mean()
    columns = {}
    for name in [*([OOD_MEAN] if OOD_MEAN in scores else []), DIFFERENCE, *datasets]:
        columns[name, "mean"] = mean[name]
        columns[name, "sd"] = sd[name]
        if name == DIFFERENCE:
            if comparison is not None:
                compared = comparison.to_pandas()
                compared = compared[(compared["metric"] == metric) & (compared["dataset"] == headline(scores))]
                compared = compared.set_index(ROW).reindex(mean.index)
                columns |= {(name, end): compared[f"difference_{end}"] for end in ("low", "high")}
            columns[COSTS, "FLOPs"] = 100 * means["flops"] / _of_erm(means["flops"])
            columns[COSTS, "seconds"] = 100 * means["seconds"] / _of_erm(means["seconds"])
            columns[STEP, "mean"] = means["step"]
            columns[SEEDS, "number"] = by_method.size()
    return pd.DataFrame(columns)


def costs(summary: pa.Table, overview: pd.DataFrame, main: str) -> tuple[pd.DataFrame, bool]:
    """What each method of a main model costs, and whether that is in percent of ERM's: where there is an ERM.

    Args:
        summary: a table as ``summary.summarize`` writes it.
        overview: made from it.
        main: the main model.

    Returns:
        The columns ``FLOPs`` and ``seconds`` for every (method, reference) of the overview.
    """
    part = overview.xs(main, level="main")
    if part[COSTS].notna().all(axis=None):
        return part[COSTS], True
    runs = summary.select([*RUN, "flops", "seconds"]).to_pandas().drop_duplicates(RUN)
    means = runs[runs["main"] == main].groupby(["method", "reference"])[["flops", "seconds"]].mean()
    return means.rename(columns={"flops": "FLOPs"}).reindex(part.index), False


def headline(overview: pd.DataFrame) -> str:
    """The heading whose score ranks the methods: the mean over OOD sets, or in-distribution where there are none."""
    return OOD_MEAN if OOD_MEAN in overview.columns else IN_DISTRIBUTION


def _is_erm(values: pd.Series) -> np.ndarray:
    return values.index.get_level_values("method") == ERM


def _of_erm(values: pd.Series) -> pd.Series:
    """For every row of ``values``, ERM's value with the same main model (and seed, where there are seeds)."""
    same = [name for name in values.index.names if name not in ("method", "reference")]
    of_erm = values[_is_erm(values)].groupby(level=same).first()
    keys = values.index.droplevel(["method", "reference"])
    return pd.Series(of_erm.reindex(keys).to_numpy(), index=values.index)
