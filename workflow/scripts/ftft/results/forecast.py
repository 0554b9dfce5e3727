"""What every method will cost, said before the first step, and when its main model has to stop for it to pay.

Costs are operations (FLOPs) in shares of ERM's, the plain training of the same main model. They come from a replay of
the trainings (``results.replay``); this module says what they mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ftft.core import artifacts
from ftft.results.cells import EN_DASH, aligned, percent
from ftft.results.schemas import ERM, FORECAST, SUMMARY
from ftft.results.writing import write_both, write_text

PAYS, IF_IT_STOPS, NEVER = "yes", "if it stops early", "no"

_RUN = ["main", "method", "reference"]


@dataclass(frozen=True)
class Replay:
    """The work of a job, before it is done.

    Attributes:
        flops: (S,) operations of each step of a training; of frozen features, all of them as one step.
        evaluate_every: steps between evaluations of all dev sets.
        shapes: (P, 2) different examples and positions of the passes of a training; None of features.
    """

    flops: NDArray[np.float64]
    evaluate_every: int
    shapes: NDArray[np.int64] | None = None


class Stop(TypedDict):
    """When a main model stops early: see ``config.Stop``."""

    patience: int
    every: int | None


class Method(TypedDict):
    """A method applied to a main model; jobs by the names of their replays."""

    task: str
    main: str
    method: str
    reference: str  # "" where the method has none
    training: str  # of the main model
    preparation: list[str]  # all that comes before it
    at_most: bool  # whether a reference may end before its last step
    erm_training: str
    erm_preparation: list[str]
    stop: Stop | None


def write(
    methods: Sequence[Method],
    replays: Mapping[str, Replay],
    output_parquet: str | Path,
    output_csv: str | Path,
    output_text: str | Path,
    *,
    more: str = "",
) -> list[str]:
    """Write the forecast, one row per method, as Parquet, as CSV and for the terminal; returns its ``warnings``.

    ``more`` follows in the terminal.
    """
    table = pa.Table.from_pylist([_row(method, replays) for method in methods], FORECAST)
    write_both(table, output_parquet, output_csv, FORECAST)
    write_text("\n\n".join(filter(None, (as_text(table), more))), output_text)
    return warnings(table)


def _row(method: Method, replays: Mapping[str, Replay]) -> dict[str, object]:
    training = replays[method["training"]]
    before = sum(_total(replays[name]) for name in method["preparation"])
    erm = sum(_total(replays[name]) for name in (*method["erm_preparation"], method["erm_training"]))
    stop = method["stop"]
    earliest = stop and earliest_stop(len(training.flops), stop["every"] or training.evaluate_every, stop["patience"])
    last = None if method["method"] == ERM else break_even(before, training.flops, erm)
    whole = before + _total(training)
    return {
        **{name: method[name] for name in ("task", *_RUN, "at_most")},  # type: ignore[literal-required]
        "steps": len(training.flops),
        "preparation_flops": before,
        "step_flops": _total(training) / len(training.flops),
        "flops": whole,
        "erm_flops": erm,
        "preparation_share": before / erm,
        "share": whole / erm,
        "break_even_step": last,
        "break_even_share": None if last is None else last / len(replays[method["erm_training"]].flops),
        "earliest_stop": earliest,
        "pays": None if method["method"] == ERM else _pays(whole, erm, last, earliest),
    }


def _total(replay: Replay) -> float:
    return float(replay.flops.sum())


def break_even(before: float, steps: NDArray[np.float64], erm: float) -> int | None:
    """The last step after which a method has still cost less than ERM; None where none has.

    A method that is cheaper with all its steps would be so for some more: these are counted as long as its mean step.

    Args:
        before: operations before the first step.
        steps: (S,) operations of each step.
        erm: operations of ERM.
    """
    if before >= erm:
        return None
    spent = before + np.cumsum(steps)
    if spent[-1] >= erm:
        return int(np.searchsorted(spent, erm, side="left"))
    return len(steps) + math.ceil((erm - spent[-1]) / steps.mean()) - 1


def earliest_stop(steps: int, every: int, patience: int) -> int | None:
    """The first step at which a stop rule can end a training: its first look is always an improvement.

    Args:
        steps: of the whole training; its last step is looked at too.
        every: steps between looks.
        patience: looks without an improvement.

    Returns:
        None where the training has too few looks.
    """
    looks = [*range(every, steps, every), steps]
    return looks[patience] if patience < len(looks) else None


def _pays(whole: float, erm: float, last: int | None, earliest: int | None) -> str:
    if whole < erm:
        return PAYS
    stops_in_time = last is not None and earliest is not None and earliest <= last
    return IF_IT_STOPS if stops_in_time else NEVER


def warnings(forecast: pa.Table) -> list[str]:
    """One line for every method that cannot cost less than ERM: why, and what would change that."""
    rows = [row for row in forecast.to_pylist() if row["pays"] == NEVER]
    several = len(set(forecast["main"].to_pylist())) > 1
    return [f"{_name(row, several)}: {'may not' if row['at_most'] else 'cannot'} pay: {_reason(row)}" for row in rows]


def _name(row: dict[str, Any], several: bool) -> str:
    main = f"{row['main']}, " if several else ""
    return f"{main}{row['method']}" + (f" (reference {row['reference']})" if row["reference"] else "")


def _reason(row: dict[str, Any]) -> str:
    if not row["break_even_step"]:
        share = f"alone costs {'up to ' * row['at_most']}{_percent(row['preparation_share'])} % of ERM"
        if not row["reference"]:
            return f"the trained head {share}"
        return f"the reference {share}; a reference of a tenth of the main model's cost or less is the rule of thumb"
    if row["earliest_stop"] is not None:
        return (
            f"it can stop at step {row['earliest_stop']} at the earliest, and is cheaper than ERM only up to step "
            f"{row['break_even_step']}; a lower stop.patience or stop.every would change that"
        )
    # The budget is rounded down, so that the method does not cost more than ERM after all.
    budget = math.floor(100 * row["break_even_share"]) / 100
    ways = f"a stop rule that ends it sooner{f', or budget: {budget:g},' if budget else ''} would change that"
    return f"it takes all its {row['steps']} steps and costs {_percent(row['share'])} % of ERM; {ways}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0")


def as_text(forecast: pa.Table) -> str:
    """A forecast for the terminal: aligned, costs in percent of ERM's, with the ``warnings`` below."""
    table = forecast.to_pandas()
    mains = list(dict.fromkeys(table["main"]))
    cells = pd.DataFrame([cells_of(row) for row in forecast.to_pylist()], columns=CELLS)
    shown = pd.concat([table[_RUN], cells], axis=1)
    shown["reference"] = shown["reference"].replace("", EN_DASH)
    title = ["forecast of the cost in FLOPs (ERM = 100)"]
    if len(mains) == 1:
        title.insert(0, mains[0])
        shown = shown.drop(columns="main")
    text = f"{', '.join(title)}\n\n{aligned(shown, [*_RUN, PAYS_HEADING])}"
    lines = warnings(forecast)
    return "\n\n".join([text, "\n".join(lines)] if lines else [text])


PAYS_HEADING = "pays"
CELLS = ["preparation", "in all", "must stop by", "can stop at", PAYS_HEADING]


def cells_of(row: dict[str, Any]) -> list[str]:
    """A row of a forecast as text, under the headings ``CELLS``.

    ``must stop by`` is empty for a method that need not stop; a reference that may stop earlier costs that at most.
    """
    must_stop = row["pays"] in (IF_IT_STOPS, NEVER) and row["break_even_step"] is not None
    return [
        ("≤ " if row["at_most"] else "") + percent(row["preparation_share"]),
        ("≤ " if row["at_most"] else "") + percent(row["share"]),
        f"{row['break_even_step']} ({100 * row['break_even_share']:.0f} %)" if must_stop else EN_DASH,
        EN_DASH if row["earliest_stop"] is None else str(row["earliest_stop"]),
        row["pays"] or EN_DASH,
    ]


def check(forecast: str | Path, summary: str | Path) -> pd.DataFrame:
    """A forecast against what the methods then cost, with every seed's run to where it really stopped.

    Args:
        forecast, summary: the artifacts of these names.

    Returns:
        One row per (main, method, reference) of the forecast that the summary has. ``step``: at which it stopped;
        ``forecast`` and ``actual``: its cost up to there, both in shares of ERM's forecast. Means over seeds.
    """
    expected = artifacts.read(forecast, FORECAST).to_pandas().set_index(_RUN)
    runs = (
        artifacts.read(summary, SUMMARY, [*_RUN, "seed", "step", "flops"]).to_pandas().drop_duplicates([*_RUN, "seed"])
    )
    means = runs.groupby(_RUN)[["step", "flops"]].mean().reindex(expected.index)
    spent = expected["preparation_flops"] + means["step"] * expected["step_flops"]
    shares = {"forecast": spent / expected["erm_flops"], "actual": means["flops"] / expected["erm_flops"]}
    return pd.DataFrame({"step": means["step"]} | shares).dropna()
