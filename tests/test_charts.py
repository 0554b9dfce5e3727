import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa

from ftft.display import charts, data
from ftft.display.method_styles import method_styles
from ftft.results.overview import COSTS
from ftft.results.schemas import OOD_MEAN

STYLES = method_styles([("erm", ""), ("ftft", "small")])


def curve(points):
    """``points``: (method, reference, seed, step, value, flops, seconds)."""
    names = ("method", "reference", "seed", "step", "value", "flops", "seconds")
    rows = [dict(zip(names, point, strict=True)) for point in points]
    return pd.DataFrame(rows).assign(main="big", metric="accuracy", dataset=OOD_MEAN)


def curves(rows):
    return data.curves(pa.Table.from_pandas(rows, preserve_index=False), "big", "accuracy")


CURVE = curve(
    [
        ("erm", "", 0, 45, 0.4, 50.0, 5.0),
        ("erm", "", 0, 90, 0.5, 100.0, 10.0),
        ("erm", "", 1, 45, 0.4, 150.0, 15.0),
        ("erm", "", 1, 90, 0.6, 300.0, 30.0),
        ("ftft", "small", 0, 45, 0.7, 80.0, 6.0),
    ]
)


def test_learning_curves_by_hand():
    chart = charts.learning_curves(curves(CURVE), STYLES, "accuracy", {})
    lines = chart["figure"]["data"]
    assert [line["name"] for line in lines] == ["ERM", "ERM", "ftft (small)"]
    assert [line["showlegend"] for line in lines] == [True, False, True]
    assert [list(line["y"]) for line in lines] == [[40, 50], [40, 60], [70]]
    # ERM's whole training took 200 operations and 20 seconds on average, and ends at 55.
    assert {variant["name"]: variant["x"] for variant in chart["variants"]} == {
        "training steps": [[45, 90], [45, 90], [45]],
        "training FLOPs": [[25, 50], [75, 150], [40]],
        "training time": [[25, 50], [75, 150], [30]],
    }
    (line,) = chart["figure"]["layout"]["shapes"]
    assert (line["y0"], line["name"]) == (55.0, "ERM at its end: 55.00 %")
    assert [list(line["marker"]["symbol"])[-1] for line in lines] == ["circle", "circle", "x"]
    assert "stopped early" in lines[2]["hovertemplate"]
    assert chart["figure"]["layout"]["yaxis"]["title"]["text"] == "mean OOD dev accuracy (%)"
    go.Figure(chart["figure"])


def test_a_budget_that_is_used_up_is_no_early_stop():
    points = [("erm", "", 0, 91), ("half", "", 0, 46), ("half", "", 1, 30)]
    rows = curve([(*point, 0.5, 9.0, 9.0) for point in points])
    styles = method_styles([("erm", ""), ("half", "")])
    lines = charts.learning_curves(curves(rows), styles, "accuracy", {"half": 0.5})["figure"]["data"]
    assert ["stopped early" in line["hovertemplate"] for line in lines] == [False, False, True]


def test_learning_curves_without_erm():
    chart = charts.learning_curves(curves(CURVE[CURVE["method"] == "ftft"]), STYLES, "accuracy", {})
    assert "shapes" not in chart["figure"]["layout"]
    assert chart["variants"][1]["x"] == [[80.0]]
    assert chart["variants"][1]["title"] == "training FLOPs, reference included (as measured)"


def overview(rows):
    """``rows``: (method, reference, mean, sd, FLOPs, seconds)."""
    index = pd.MultiIndex.from_tuples([("big", *row[:2]) for row in rows], names=["main", "method", "reference"])
    columns = [(OOD_MEAN, "mean"), (OOD_MEAN, "sd"), (COSTS, "FLOPs"), (COSTS, "seconds")]
    return pd.DataFrame([row[2:] for row in rows], index=index, columns=pd.MultiIndex.from_tuples(columns))


def test_robustness_by_hand():
    table = overview([("erm", "", 0.5, np.nan, 100.0, 100.0), ("ftft", "small", 0.6, 0.02, 80.0, 120.0)])
    found = data.robustness(pa.table({}), table, "big")  # all costs are in the overview
    assert (found.points["best"].tolist(), found.relative) == ([False, True], True)
    chart = charts.robustness(found, STYLES, "mean OOD accuracy")
    front, erm, ftft = chart["figure"]["data"]
    assert (list(front["x"]), list(front["y"])) == ([80.0], [60.0])
    assert (list(erm["y"]), list(erm["error_y"]["array"])) == ([50.0], [0])
    assert (list(ftft["y"]), list(ftft["error_y"]["array"])) == ([60.0], [2.0])
    assert [variant["x"] for variant in chart["variants"]] == [[[80.0], [100.0], [80.0]], [[], [100.0], [120.0]]]


MEASURES = ("rank_correlation", "ambiguous_overlap", "easy_overlap", "hard_overlap", "lost")


def test_transfer_by_hand():
    runs = [("small", 0), ("small", 1)]
    references = pd.DataFrame(runs, columns=["reference", "seed"]).assign(verdict=["suitable", "too weak"])
    pairs = pd.DataFrame(
        [("small", 0, "small", 1, 0.5, 0.8, 0.7, 0.6, 0.01), ("small", 1, "small", 0, None, 0.8, 0.7, 0.6, 0.2)],
        columns=["reference", "seed", "other", "other_seed", *MEASURES],
    )
    chart = charts.transfer(data.agreement(references, pairs))
    (heat,) = chart["figure"]["data"]
    assert list(heat["y"]) == ["small, seed 0: suitable", "small, seed 1: too weak"]
    by_name = {variant["name"]: variant["z"] for variant in chart["variants"]}
    assert by_name["rank correlation of variability"] == [[None, 0.5], [None, None]]
    assert by_name["overlap of the ambiguous third"] == [[None, 0.8], [0.8, None]]
    (lost,) = [z for name, z in by_name.items() if name.startswith("lost")]
    assert lost == [[None, 0.01], [0.2, None]]


def test_lineage_by_hand():
    nodes = {"data": ("download", "data"), "a": ("train_main", "one"), "b": ("train_main", "two")}
    (graph,) = charts.lineage([("data", "a"), ("data", "b")], nodes)["figure"]["data"]
    assert list(graph["node"]["label"]) == ["data", "one", "two"]
    assert list(graph["node"]["customdata"]) == ["download: data", "train_main: a", "train_main: b"]
    assert (list(graph["link"]["source"]), list(graph["link"]["target"])) == ([0, 0], [1, 2])
    colours = list(graph["node"]["color"])
    assert colours[1] == colours[2] != colours[0]
