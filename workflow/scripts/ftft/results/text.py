"""The overview as text: its numbers as people read them, and as a table for the terminal."""

import pandas as pd

from ftft.results.cells import EN_DASH, aligned, difference_text, number_text
from ftft.results.overview import COSTS, DIFFERENCE, ROW, SEEDS, STEP, cost_heading, headline

FLOPS = cost_heading("FLOPs")


def formatted(overview: pd.DataFrame) -> pd.DataFrame:
    """An overview as text: scores in percent with their spread, differences with their interval, if there is one.

    A value that does not exist is shown as an en dash.
    """
    text = {}
    for heading in overview.columns.unique(level=0):
        part = overview[heading]
        if heading == COSTS:
            for unit in part.columns:
                text[cost_heading(unit)] = [number_text(value, ".1f") for value in part[unit]]
        elif heading in (STEP, SEEDS):
            text[heading] = [number_text(value, ".0f") for value in part.iloc[:, 0]]
        elif "low" in part.columns:
            text[heading] = [difference_text(*values) for values in part[["mean", "low", "high"]].to_numpy().tolist()]
        else:
            form = "+.2f" if heading == DIFFERENCE else ".2f"
            text[heading] = [_spread(100 * m, 100 * s, form) for m, s in zip(part["mean"], part["sd"], strict=True)]
    return pd.DataFrame(text, index=overview.index)


def _spread(mean: float, sd: float, form: str) -> str:
    return number_text(mean, form) + ("" if pd.isna(sd) else f" ± {sd:.2f}")


def as_text(overview: pd.DataFrame, metric: str) -> str:
    """An overview for the terminal: what decides between methods, aligned, and in 80 columns where names are short.

    Scores of single data sets and seconds are left out, and so is a column that says nothing. The first line says what
    all rows share.

    Args:
        overview: as ``overview`` returns it.
        metric: the metric that it shows.
    """
    several = int(overview[SEEDS].max().item()) > 1
    shown = formatted(overview)[[headline(overview), DIFFERENCE, FLOPS, STEP, SEEDS]]
    interval = " [95 % interval]" if "low" in overview[DIFFERENCE].columns else ""
    shown = shown.rename(columns={DIFFERENCE: f"to ERM{interval}", FLOPS: "cost", STEP: "steps", SEEDS: "seeds"})
    table = shown.reset_index()
    table["reference"] = table["reference"].replace("", EN_DASH)
    table = table.loc[:, (table != EN_DASH).any()]
    title = []
    if len(set(table["main"])) == 1:
        title.append(table.pop("main").iloc[0])
    if len(set(table["seeds"])) == 1:
        title.append(f"{table.pop('seeds').iloc[0]} seed{'s' if several else ''}")
    title.append(f"{metric} in percent{' ± spread over seeds' if several else ''}")
    if "cost" in table:
        title.append(f"cost in {FLOPS}")
    return f"{', '.join(title)}\n\n{aligned(table, [name for name in ROW if name in table])}"
