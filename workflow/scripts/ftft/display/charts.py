"""The interactive figures of the page, as what plotly.js draws.

A chart is ``{"figure": {"data": [...], "layout": {...}}, "variants": [...]}``. A variant is one of several things to
look at, with what to put in the place of: ``name``; ``x`` (one list per trace, None: as it is) or ``z``; ``title``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ftft.display.data import Agreement, Curves, Robustness
from ftft.display.method_styles import MethodStyle

_GREY = "#555555"  # for lines that belong to no method
# In the graph of the experiment each kind of thing has one of these (Okabe and Ito 2008).
_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#56B4E9", "#D55E00", "#CC79A7")
_STOP = "x"  # the marker where training stopped early

Chart = dict[str, Any]
Styles = Mapping[tuple[str, str], MethodStyle]


def learning_curves(curves: Curves, styles: Styles, metric: str, budgets: Mapping[str, float]) -> Chart:
    """Dev score of each run against its steps, its FLOPs or its seconds, with the stops marked.

    Args:
        curves: of one main model.
        styles: of every method in it.
        metric: what to call the score.
        budgets: share of the planned steps, of every method that has one.
    """
    longest = curves.rows["step"].max()
    figure = go.Figure()
    axes: dict[str, list[list[float] | None]] = {"step": [], "flops": [], "seconds": []}
    for key, runs in curves.rows.groupby(["method", "reference"], sort=False):
        look = styles[key]
        for number, (seed, run) in enumerate(runs.groupby("seed")):
            planned = round(budgets.get(key[0], 1) * longest)  # ERM takes all steps
            stopped = run["step"].iloc[-1] < planned
            figure.add_scatter(
                x=run["step"].tolist(),
                y=run["score"].round(3).tolist(),
                mode="lines+markers",
                line={"color": look.colour, "dash": look.dash, "width": 2},
                marker={
                    "symbol": [look.marker] * (len(run) - 1) + [_STOP if stopped else look.marker],
                    "size": [5] * (len(run) - 1) + [12 if stopped else 7],
                },
                name=look.label,
                legendgroup=look.label,
                showlegend=number == 0,  # one entry in the legend for all seeds
                hovertemplate=f"%{{y:.2f}} % at %{{x:,.4~g}}, seed {seed}{', stopped early' if stopped else ''}",
            )
            axes["step"].append(run["step"].tolist())
            for name in ("flops", "seconds"):
                axes[name].append(run[name].round(3).tolist())
    if curves.end is not None:
        score = round(curves.end, 3)
        figure.add_hline(
            y=score,
            line={"color": _GREY, "dash": "dash", "width": 1},
            name=f"ERM at its end: {score:.2f} %",
            showlegend=True,
        )
    _lay_out(figure, f"{curves.where} {metric} (%)")
    figure.update_xaxes(rangemode="tozero")
    unit = "ERM = 100" if curves.relative else "as measured"
    titles = {
        "step": ("training steps", "training steps of the main model"),
        "flops": ("training FLOPs", f"training FLOPs, reference included ({unit})"),
        "seconds": ("training time", f"training seconds, reference included ({unit})"),
    }
    return _chart(figure, [{"name": titles[key][0], "x": axes[key], "title": titles[key][1]} for key in axes])


def robustness(found: Robustness, styles: Styles, score: str) -> Chart:
    """Every method as a point: its score against its cost, with deviations over seeds, and the Pareto front.

    Args:
        found: of one main model.
        styles: of every method in it.
        score: what to call the score.
    """
    figure = go.Figure()
    best = found.points[found.points["best"]].sort_values("FLOPs")
    figure.add_scatter(
        x=best["FLOPs"].round(3).tolist(),
        y=best["score"].round(3).tolist(),
        mode="lines",
        line={"shape": "hv", "color": _GREY, "dash": "dot", "width": 1.5},
        name="Pareto front (FLOPs)",
        hoverinfo="skip",
    )
    # Seconds vary with the machine, so the front is drawn against FLOPs alone.
    axes: dict[str, list[list[float] | None]] = {"FLOPs": [best["FLOPs"].round(3).tolist()], "seconds": [[]]}
    unit = " (ERM = 100)" if found.relative else ""
    for key, row in found.points.iterrows():
        look = styles[key]
        figure.add_scatter(
            x=[round(row["FLOPs"], 3)],
            y=[round(row["score"], 3)],
            error_y={"array": [0 if np.isnan(row["sd"]) else round(row["sd"], 3)], "thickness": 1.5},
            mode="markers",
            marker={"color": look.colour, "symbol": look.marker, "size": 12},
            name=look.label,
            hovertemplate=f"%{{y:.2f}} %, cost %{{x:,.4~g}}{unit}",
        )
        for name, points in axes.items():
            points.append([round(row[name], 3)])
    _lay_out(figure, f"{score} (%)")
    figure.update_xaxes(rangemode="tozero")
    return _chart(
        figure,
        [
            {"name": f"training {name}", "x": points, "title": f"training {name}, reference included{unit}"}
            for name, points in axes.items()
        ],
    )


def transfer(agreement: Agreement) -> Chart:
    """How much the data maps of reference runs agree, as a heat map of all pairs."""
    named = zip(agreement.runs, agreement.verdicts, strict=True)
    names = [f"{reference}, seed {seed}: {verdict}" for (reference, seed), verdict in named]
    shown = {
        "rank correlation of variability": "rank_correlation",
        "overlap of the ambiguous third": "ambiguous_overlap",
        "overlap of the hard region": "hard_overlap",
        "overlap of the easy region": "easy_overlap",
        "lost: share, of what the column finds ambiguous, that is hard to the row": "lost",
    }
    variants = [
        {"name": title, "z": [[_number(value) for value in row] for row in agreement.pairs[measure]], "title": ""}
        for title, measure in shown.items()
    ]
    short = [f"{reference}, {seed}" for reference, seed in agreement.runs]
    figure = go.Figure(
        go.Heatmap(
            x=short,
            y=names,
            z=variants[0]["z"],
            zmin=0,
            zmax=1,
            colorscale="Blues",  # light to dark, so that the numbers in the cells stand out
            texttemplate="%{z:.2f}",
            hovertemplate="%{y}<br>with %{x}: %{z:.3f}<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    _lay_out(figure)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    figure.update_layout(height=220 + 34 * len(names), hovermode="closest")
    return _chart(figure, variants)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def lineage(edges: Sequence[tuple[str, str]], nodes: dict[str, tuple[str, str]]) -> Chart:
    """What was made from what: the graph of the experiment, from the train set to the methods.

    Args:
        edges: names of what is used and of what uses it, an acyclic graph.
        nodes: for every name, what kind of thing it is, and a short label.
    """
    names = list(nodes)
    kinds = {name: kind for name, (kind, _) in nodes.items()}
    order = list(dict.fromkeys(kinds.values()))
    colours = {kind: _COLOURS[number % len(_COLOURS)] for number, kind in enumerate(order)}
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node={
                "label": [short for _, short in nodes.values()],
                "color": [colours[kind] for kind in kinds.values()],
                "customdata": [f"{kind}: {name}" for name, kind in kinds.items()],
                "hovertemplate": "%{customdata}<extra></extra>",
                "pad": 14,
                "thickness": 14,
            },
            link={
                "source": [names.index(source) for source, _ in edges],
                "target": [names.index(target) for _, target in edges],
                "value": [1] * len(edges),
                "color": "rgba(120, 120, 120, 0.25)",
                "hovertemplate": "%{target.customdata}<br>from %{source.customdata}<extra></extra>",
            },
        )
    )
    widest = max(sum(kinds[name] == kind for name in names) for kind in order)
    _lay_out(figure)
    figure.update_layout(height=60 + 34 * widest, margin={"l": 10, "r": 10, "t": 20, "b": 20})
    return _chart(figure, [])


def _lay_out(figure: go.Figure, y: str = "") -> None:
    """What all charts share; ``y`` is the title of the vertical axis, and a variant sets that of the other."""
    grid: dict[str, Any] = {"gridcolor": "#e3e6ea", "zerolinecolor": "#e3e6ea", "linecolor": "#8a929e"}
    grid |= {"ticks": "outside", "automargin": True}
    figure.update_layout(
        template="none",
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        font={"size": 14, "color": "#1c2330", "family": "system-ui, sans-serif"},
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
        height=460,
        hoverlabel={"align": "left"},
        xaxis={**grid, "title": {"text": "", "standoff": 10}},
        yaxis={**grid, "title": {"text": y, "standoff": 10}},
    )


def _chart(figure: go.Figure, variants: list[dict[str, Any]]) -> Chart:
    found = figure.to_plotly_json()
    if variants and "x" in variants[0]:
        found["layout"]["xaxis"]["title"]["text"] = variants[0]["title"]
    found["layout"].pop("template", None)
    return {"figure": found, "variants": variants}
