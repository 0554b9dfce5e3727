"""The figures of an experiment, for papers: data maps, learning curves, score against cost, agreement of references."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ftft.core import artifacts
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.display import data
from ftft.display.datamap_figure import datamap_figure
from ftft.display.figure_style import DASHES, GREY, MARKERS, WIDTH, save, styled
from ftft.display.method_styles import MethodStyle, method_styles
from ftft.dynamics.schemas import DATAMAP
from ftft.results.cells import METRIC_NAMES, number_text
from ftft.results.overview import overview
from ftft.results.schemas import COST_CURVE, REFERENCES, SUMMARY, TRANSFER

Styles = Mapping[tuple[str, str], MethodStyle]

_LONG_DASHES = (0, (6, 3))  # for lines that belong to no method
# Markers of one size do not look equally large.
_SIZES = {"diamond": 0.85, "star": 1.5} | dict.fromkeys(
    ("triangle-up", "triangle-down", "cross", "bowtie", "pentagon", "hexagon"), 1.15
)
# With more runs than this the cells of a matrix are too small for numbers.
_MAX_NUMBERED = 12


class Drawing(TypedDict):
    """One figure to draw."""

    kind: str  # datamap, learning-curves, cost-curve, robustness-cost or transfer
    stem: str  # its path, to which .svg and .png are added
    main: NotRequired[str]  # the main model of a figure that has one
    reference: NotRequired[str]  # of a data map
    seed: NotRequired[int]  # likewise
    datamap: NotRequired[str]  # likewise, its artifact


def draw(
    drawings: Sequence[Drawing],
    metric: str,
    *,
    summary: str | Path,
    cost_curve: str | Path,
    references: str | Path | None = None,
    transfer: str | Path | None = None,
) -> None:
    """Draw the figures of an experiment, each as SVG and as PNG. A method looks the same in all of them.

    Args:
        drawings: what to draw, and where to.
        metric: ``accuracy`` or ``macro_f1``.
        summary, cost_curve, references, transfer: the artifacts of these names; the last two are needed for a figure
            of kind ``transfer`` alone.
    """
    rows = artifacts.read(summary, SUMMARY)
    styles = method_styles(zip(rows["method"].to_pylist(), rows["reference"].to_pylist(), strict=True))
    curve = artifacts.read(cost_curve, COST_CURVE)
    for drawing in drawings:
        match drawing["kind"]:
            case "datamap":
                columns = ["confidence", "variability", "correctness", "region"]
                table = artifacts.read(drawing["datamap"], DATAMAP, columns).to_pandas()
                figure = datamap_figure(table, f"{drawing['reference']}, seed {drawing['seed']}")
            case "learning-curves" | "cost-curve" as kind:
                against = "step" if kind == "learning-curves" else "flops"
                figure = curves_figure(curve, drawing["main"], styles, metric, against=against)
            case "robustness-cost":
                figure = robustness_figure(rows, drawing["main"], styles, metric)
            case "transfer":
                if references is None or transfer is None:
                    raise ValueError("a figure of kind transfer needs the tables references and transfer")
                figure = transfer_figure(
                    artifacts.read(references, REFERENCES).to_pandas(),
                    artifacts.read(transfer, TRANSFER).to_pandas(),
                )
            case kind:
                raise ValueError(f"no such kind of figure: {kind}")
        save(figure, drawing["stem"])


@styled()
def curves_figure(cost_curve: pa.Table, main: str, styles: Styles, metric: str, *, against: str) -> Figure:
    """The dev score in training, a line per method: the mean over seeds as far as all of them go, and thin ones beside.

    A thin line is one seed; a marker is where a run ended. ERM's score at its end (mean over seeds) is a horizontal
    line.

    Args:
        cost_curve: a table as ``cost_curve.trace`` writes it.
        main: the main model.
        styles: of every method in it.
        metric: ``accuracy`` or ``macro_f1``.
        against: ``step``, or ``flops``: in percent of ERM's whole training (mean over seeds), where there is ERM.
    """
    found = data.curves(cost_curve, main, metric)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True)
    rows = found.rows.assign(x=found.rows[against], y=found.rows["score"])
    if found.end is not None:
        axes.axhline(found.end, color=GREY, linewidth=0.9, linestyle=_LONG_DASHES, zorder=1.5)
    groups = {styles[key]: runs for key, runs in rows.groupby(["method", "reference"], sort=False)}
    for look, runs in groups.items():
        by_seed = [run for _, run in runs.groupby("seed")]
        if len(by_seed) > 1:
            for run in by_seed:
                axes.plot(run["x"], run["y"], color=look.colour, linewidth=0.6, alpha=0.45 if len(groups) <= 6 else 0.2)
        by_step = runs.groupby("step")[["x", "y"]]
        mean = by_step.mean()[by_step.size() == len(by_seed)]
        axes.plot(mean["x"], mean["y"], color=look.colour, linestyle=DASHES[look.dash])
        for run in by_seed:
            _mark(axes, run["x"].iloc[-1], run["y"].iloc[-1], look)
    axes.set_ylabel(f"{found.where} {METRIC_NAMES.get(metric, metric)} (%)")
    axes.set_xlabel("step of the main model" if against == "step" else _cost_label(relative=found.relative))
    if against == "step" or found.relative:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    axes.set_title(f"main model {main}", loc="left")
    lines = [_handle(look, line=True) for look in groups]
    if found.relative:
        lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=_LONG_DASHES, label="ERM at its end"))
    _legend(figure, lines)
    return figure


@styled()
def robustness_figure(summary: pa.Table, main: str, styles: Styles, metric: str) -> Figure:
    """Every method of a main model as a point: its mean OOD test score (in distribution where there is no OOD set)
    against its training FLOPs, in percent of ERM's where there is one.

    The bars are standard deviations over seeds. A method on the Pareto front, which is drawn as steps, is filled.

    Args:
        summary: a table as ``summary.summarize`` writes it.
        main: the main model.
        styles: of every method.
        metric: ``accuracy`` or ``macro_f1``.
    """
    found = data.robustness(summary, overview(summary, metric), main)
    points = found.points
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True)
    for key, point in points.iterrows():
        look = styles[key]
        if not np.isnan(point["sd"]):
            axes.errorbar(point["FLOPs"], point["score"], yerr=point["sd"], color=look.colour, linewidth=0.9, capsize=2)
        _mark(axes, point["FLOPs"], point["score"], look, size=7, filled=point["best"])
    axes.set(xlabel=_cost_label(relative=found.relative), ylabel=_score_label(found.heading, metric))
    axes.set_xlim(left=0)
    axes.margins(0.08)
    corners = sorted(points.loc[points["best"], ["FLOPs", "score"]].itertuples(index=False, name=None))
    if corners:
        # The front begins below the cheapest method and goes on to the right edge: the best can be had for more too.
        low, right = axes.get_ylim()[0], axes.get_xlim()[1]
        x, y = np.array([(corners[0][0], low), *corners, (right, corners[-1][1])]).T
        axes.step(x, y, where="post", color=GREY, linewidth=0.9, linestyle=_LONG_DASHES, zorder=1.5)
        axes.set(xlim=(0, right), ylim=(low, axes.get_ylim()[1]))
    axes.set_title(f"main model {main}", loc="left")
    handles = [_handle(styles[key], filled=best) for key, best in points["best"].items()]
    handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=_LONG_DASHES, label="Pareto front (filled)"))
    _legend(figure, handles)
    return figure


@styled()
def transfer_figure(references: pd.DataFrame, transfer: pd.DataFrame) -> Figure:
    """How far the data maps of the reference runs agree: overlap of their ambiguous regions, rank correlation.

    Args:
        references: a table as ``transfer.write`` writes it, at least two runs; their verdicts are in the labels.
        transfer: one row per ordered pair, likewise.
    """
    found = data.agreement(references, transfer)
    runs = found.runs
    names = [f"{reference}, seed {seed}" for reference, seed in runs]
    verdicts = [f"{name}: {verdict}" for name, verdict in zip(names, found.verdicts, strict=True)]
    columns = {"ambiguous_overlap": "overlap of the ambiguous regions", "rank_correlation": "rank correlation"}
    lowest = min(transfer[list(columns)].min().min(), 0)
    figure = Figure(figsize=(WIDTH, 1.4 + float(np.clip(0.3 * len(runs), 1, 2.2))), layout="constrained")
    size = float(np.clip(110 / len(runs), 4, 8))
    for axes, (column, title) in zip(figure.subplots(1, 2, sharey=True), columns.items(), strict=True):
        values = found.pairs[column]
        drawn = axes.imshow(values, cmap="viridis", vmin=lowest, vmax=1, aspect="auto")
        axes.set_facecolor("0.92")  # the diagonal, and what has no value
        axes.set_title(title)
        axes.set_xticks(range(len(runs)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(runs)), verdicts, fontsize=size)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if len(runs) <= _MAX_NUMBERED:
            _numbers(axes, values, lowest, size)
    figure.colorbar(drawn, ax=figure.axes, aspect=30, pad=0.02).outline.set_visible(False)
    return figure


def _numbers(axes: Axes, values: np.ndarray, lowest: float, size: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if row == column:
            continue
        red, green, blue, _ = colormaps["viridis"]((value - lowest) / (1 - lowest))
        dark = not np.isnan(value) and 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        colour = "white" if dark else "black"
        axes.text(column, row, number_text(value, ".2f"), color=colour, ha="center", va="center", fontsize=0.9 * size)


def _mark(axes: Axes, x: float, y: float, look: MethodStyle, *, size: float = 5, filled: bool = True) -> None:
    # Markers lie above the lines, and an edge keeps those on top of each other apart.
    axes.plot(x, y, linestyle="", zorder=3, **_marker(look, size, filled))


def _marker(look: MethodStyle, size: float, filled: bool) -> dict[str, Any]:
    face, edge, width = (look.colour, "white", 0.5) if filled else ("white", look.colour, 1.2)
    return {
        "marker": MARKERS[look.marker],
        "markersize": size * _SIZES.get(look.marker, 1),
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": width,
    }


def _handle(look: MethodStyle, *, line: bool = False, filled: bool = True) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=DASHES[look.dash] if line else "",
        label=look.label,
        **_marker(look, 6, filled),
    )


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    """Below the axes, in as many columns as fit; the figure grows by its height."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = int(np.clip(WIDTH / (0.5 + 0.062 * longest), 1, 5))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2, columnspacing=1.5)


def _score_label(heading: str, metric: str) -> str:
    where = "in-distribution" if heading == IN_DISTRIBUTION else "mean OOD test"
    return f"{where} {METRIC_NAMES.get(metric, metric)} (%)"


def _cost_label(*, relative: bool) -> str:
    return "training FLOPs, reference included" + (" (ERM = 100)" if relative else "")
