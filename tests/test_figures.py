import io
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from ftft.core.artifacts import write_table
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.display import figures
from ftft.display.figure_style import image
from ftft.display.figures import curves_figure, robustness_figure, transfer_figure
from ftft.display.method_styles import method_styles
from ftft.dynamics.schemas import DATAMAP
from ftft.results.schemas import COST_CURVE, OOD_MEAN, REFERENCES, SUMMARY, TRANSFER

KEYS = [("erm", ""), ("random", ""), ("ftft", "small"), ("wise", "")]
STYLES = method_styles(KEYS)


def cost_curve(runs, dataset=OOD_MEAN):
    """``runs``: (method, reference, seed, values at steps 10, 20, …, FLOPs at the end)."""
    rows = [
        {"task": "t", "main": "big", "method": method, "reference": reference, "seed": seed, "dataset": dataset}
        | {"metric": "accuracy", "step": 10 * step, "value": value, "flops": flops * step / len(values), "seconds": 1.0}
        for method, reference, seed, values, flops in runs
        for step, value in enumerate(values, 1)
    ]
    return pa.Table.from_pylist(rows, COST_CURVE)


def summary(runs, datasets=("plain", "reversed")):
    """``runs``: (method, reference, seed, score on the last dataset, FLOPs); 0.1 more on each one before."""
    names = [IN_DISTRIBUTION, *datasets]
    rows = [
        {"task": "t", "main": "big", "method": method, "reference": reference, "seed": seed, "split": "test"}
        | {"metric": "accuracy", "step": 30, "train_examples": 0, "flops": flops, "seconds": 1.0}
        | {"dataset": name, "value": score + (len(names) - 1 - number) / 10}
        for method, reference, seed, score, flops in runs
        for number, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, SUMMARY)


CURVE = [
    ("erm", "", 0, [0.4, 0.5, 0.6], 90.0),
    ("erm", "", 1, [0.5, 0.6, 0.8], 110.0),
    ("ftft", "small", 0, [0.6, 0.7], 60.0),
    ("ftft", "small", 1, [0.4, 0.5, 0.9], 90.0),
]
SCORES = [
    ("erm", "", 0, 0.5, 90.0),
    ("erm", "", 1, 0.6, 110.0),
    ("random", "", 0, 0.5, 100.0),
    ("random", "", 1, 0.52, 100.0),
    ("ftft", "small", 0, 0.6, 60.0),
    ("ftft", "small", 1, 0.4, 90.0),
    ("wise", "", 0, 0.6, 90.0),
    ("wise", "", 1, 0.7, 110.0),
]


def points(line):
    return np.column_stack(line.get_data()).tolist()


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def opened(figure, kind="png"):
    """A figure as it is saved; fails where it cannot be drawn."""
    content = image(figure, kind, 100)
    return ET.fromstring(content) if kind == "svg" else Image.open(io.BytesIO(content))


def test_learning_curves_by_hand():
    figure = curves_figure(cost_curve(CURVE), "big", STYLES, "accuracy", against="step")
    axes = figure.axes[0]
    thick = [line for line in axes.lines if line.get_linewidth() == 1.4 and line.get_linestyle() != "None"]
    # Means over seeds; those of FTFT as far as both seeds go.
    assert [points(line) for line in thick] == [
        [pytest.approx(point) for point in ([10, 45], [20, 55], [30, 70])],
        [pytest.approx(point) for point in ([10, 50], [20, 60])],
    ]
    assert [line.get_color() for line in thick] == [STYLES["erm", ""].colour, STYLES["ftft", "small"].colour]
    ends = [points(line)[0] for line in axes.lines if line.get_linestyle() == "None"]
    assert ends == [pytest.approx(end) for end in ([30, 60], [30, 80], [20, 70], [30, 90])]
    assert len([line for line in axes.lines if line.get_linewidth() == 0.6]) == 4
    assert axes.lines[0].get_ydata() == pytest.approx([70, 70])  # where ERM ends
    assert labels(figure) == ["ERM", "ftft (small)", "ERM at its end"]
    assert axes.get_ylabel() == "mean OOD dev accuracy (%)"
    assert axes.get_title(loc="left") == "main model big"


def test_cost_is_relative_to_all_of_erms_training():
    figure = curves_figure(cost_curve(CURVE), "big", STYLES, "accuracy", against="flops")
    thick = [line for line in figure.axes[0].lines if line.get_linewidth() == 1.4 and line.get_linestyle() != "None"]
    # ERM's costs are 30, 60, 90 and 36.7, 73.3, 110 of 100; FTFT's 30, 60 and 30, 60, 90.
    assert thick[0].get_xdata() == pytest.approx([100 / 3, 200 / 3, 100])
    assert thick[1].get_xdata() == pytest.approx([30, 60])
    assert figure.axes[0].get_xlabel() == "training FLOPs, reference included (ERM = 100)"


@pytest.mark.parametrize("against", ["step", "flops"])
def test_curves_of_one_seed_without_erm_in_distribution(against):
    curve = cost_curve(CURVE[2:3], IN_DISTRIBUTION)
    figure = curves_figure(curve, "big", STYLES, "accuracy", against=against)
    axes = figure.axes[0]
    assert [points(line) for line in axes.lines if line.get_linestyle() != "None"] == [
        [pytest.approx(point) for point in (([10, 60], [20, 70]) if against == "step" else ([30, 60], [60, 70]))]
    ]
    assert labels(figure) == ["ftft (small)"]
    assert axes.get_ylabel() == "dev accuracy (%)"
    assert "ERM" not in axes.get_xlabel()
    opened(figure)


def test_other_mains_and_metrics_are_left_out():
    curve = cost_curve(CURVE).to_pandas()
    more = [curve, curve.assign(main="other"), curve.assign(metric="macro_f1", value=0.0)]
    table = pa.Table.from_pandas(pd.concat(more), COST_CURVE, preserve_index=False)
    figure, alone = (
        curves_figure(each, "big", STYLES, "accuracy", against="step") for each in (table, cost_curve(CURVE))
    )
    assert image(figure, "png", 60) == image(alone, "png", 60)


def test_no_curve_at_all():
    opened(curves_figure(cost_curve([]), "big", STYLES, "accuracy", against="flops"))


def drawn_points(figure):
    """Each marker's place, and whether it is filled, by label."""
    axes, handles = figure.axes[0], figure.legends[0].legend_handles
    looks = {(handle.get_marker(), handle.get_color()): handle.get_label() for handle in handles}
    found = {}
    for line in axes.lines:
        if line.get_linestyle() == "None" and len(line.get_xdata()) == 1 and line.get_marker() in "osDv^PXp*h":
            colours = (line.get_markerfacecolor(), line.get_markeredgecolor())
            filled = colours[0] != "white"
            found[looks[line.get_marker(), colours[0] if filled else colours[1]]] = (points(line)[0], filled)
    return found


def test_robustness_against_cost_by_hand():
    figure = robustness_figure(summary(SCORES), "big", STYLES, "accuracy")
    # Mean over seeds of the mean over both OOD sets, one of which is 10 points higher.
    assert drawn_points(figure) == {
        "ERM": (pytest.approx([100, 60]), False),
        "random": (pytest.approx([100, 56]), False),
        "ftft (small)": (pytest.approx([75, 55]), True),
        "wise": (pytest.approx([100, 70]), True),
    }
    axes = figure.axes[0]
    bars = [bar for bar in axes.collections if isinstance(bar, LineCollection)]
    heights = [np.ptp(bar.get_segments()[0][:, 1]) / 2 for bar in bars]
    assert heights == pytest.approx([10 / 2**0.5, 2 / 2**0.5, 20 / 2**0.5, 10 / 2**0.5])
    (front,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert points(front)[1:3] == [pytest.approx([75, 55]), pytest.approx([100, 70])]
    assert points(front)[3] == pytest.approx([axes.get_xlim()[1], 70])
    assert points(front)[0] == pytest.approx([75, axes.get_ylim()[0]])
    assert axes.get_xlim()[0] == 0
    assert labels(figure)[-1] == "Pareto front (filled)"


def test_robustness_with_one_seed_without_erm_and_ood_sets():
    figure = robustness_figure(summary(SCORES[4:5], ()), "big", STYLES, "accuracy")
    assert drawn_points(figure) == {"ftft (small)": (pytest.approx([60, 60]), True)}
    assert not figure.axes[0].collections
    assert figure.axes[0].get_ylabel() == "in-distribution accuracy (%)"
    assert figure.axes[0].get_xlabel() == "training FLOPs, reference included"
    opened(figure)


def test_a_method_looks_the_same_in_every_figure():
    curves = curves_figure(cost_curve(CURVE), "big", STYLES, "accuracy", against="step")
    robustness = robustness_figure(summary(SCORES), "big", STYLES, "accuracy")
    looks = [
        {handle.get_label(): (handle.get_color(), handle.get_marker()) for handle in figure.legends[0].legend_handles}
        for figure in (curves, robustness)
    ]
    for label in ("ERM", "ftft (small)"):
        assert looks[0][label] == looks[1][label]


def test_fifteen_methods_are_not_clipped():
    keys = [("erm", ""), *((f"method{number}", "a-reference-of-some-length") for number in range(14))]
    runs = [(*key, seed, 0.5 + number / 100, 100.0 + number) for number, key in enumerate(keys) for seed in (0, 1)]
    curves = cost_curve([(*run[:3], [run[3], run[3]], run[4]) for run in runs])
    styles = method_styles(keys)
    for figure in (
        robustness_figure(summary(runs), "big", styles, "accuracy"),
        curves_figure(curves, "big", styles, "accuracy", against="step"),
    ):
        figure.draw_without_rendering()
        canvas, legend = figure.bbox, figure.legends[0].get_window_extent()
        axes = figure.axes[0].get_tightbbox()
        assert legend.x0 >= 0
        assert legend.x1 <= canvas.x1
        assert legend.y0 >= 0
        assert legend.y1 <= axes.y0
        assert axes.x0 >= 0
        assert figure.axes[0].get_window_extent().height > 150


def references_and_transfer(names, correlation=0.8):
    runs = [{"reference": name, "seed": seed, "verdict": verdict} for name, seed, verdict in names]
    pairs = [
        {"reference": one[0], "seed": one[1], "other": other[0], "other_seed": other[1]}
        | {"rank_correlation": correlation, "ambiguous_overlap": (i + 1) / 10 + (j + 1) / 100}
        for i, one in enumerate(names)
        for j, other in enumerate(names)
        if i != j
    ]
    return (
        pa.Table.from_pylist(runs, REFERENCES).to_pandas(),
        pa.Table.from_pylist(pairs, TRANSFER).to_pandas(),
    )


RUNS = [("small", 0, "suitable"), ("small", 1, "doubtful"), ("tiny", 0, "too weak")]


def test_agreement_of_references():
    figure = transfer_figure(*references_and_transfer(RUNS, -0.25))
    overlap, correlation = (axes.images[0] for axes in figure.axes[:2])
    expected = [[np.nan, 0.12, 0.13], [0.21, np.nan, 0.23], [0.31, 0.32, np.nan]]
    assert np.array(overlap.get_array().filled(np.nan)) == pytest.approx(np.array(expected), nan_ok=True)
    assert overlap.get_clim() == correlation.get_clim() == (-0.25, 1)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "small, seed 0: suitable",
        "small, seed 1: doubtful",
        "tiny, seed 0: too weak",
    ]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.12", "0.13", "0.21", "0.23", "0.31", "0.32"]
    assert {text.get_text() for text in figure.axes[1].texts} == {"\N{MINUS SIGN}0.25"}


def test_a_correlation_that_does_not_exist():
    figure = transfer_figure(*references_and_transfer(RUNS, None))
    assert {text.get_text() for text in figure.axes[1].texts} == {"\N{EN DASH}"}
    opened(figure)


def test_many_references_have_labels_that_fit_and_no_numbers():
    names = [(f"reference-model-{number}", seed, "suitable") for number in range(8) for seed in range(4)]
    figure = transfer_figure(*references_and_transfer(names))
    assert not figure.axes[0].texts
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0
    assert all(above.y0 >= below.y1 - 0.5 for above, below in itertools.pairwise(boxes))


def write_datamap(path):
    columns = {field.name: np.linspace(0, 0.4, 9) for field in DATAMAP}
    columns |= {"uid": [str(row) for row in range(9)], "label": pa.array([0] * 9, pa.int16())}
    columns |= {"forgetting": pa.array([0] * 9, pa.int32()), "region": ["ambiguous"] * 3 + ["hard-to-learn"] * 6}
    write_table(pa.table(columns), path, DATAMAP)
    return str(path)


@pytest.fixture
def tables(tmp_path):
    references, transfer = references_and_transfer(RUNS)
    for name, table, schema in (
        ("summary", summary(SCORES), SUMMARY),
        ("cost_curve", cost_curve(CURVE), COST_CURVE),
        ("references", pa.Table.from_pandas(references, REFERENCES), REFERENCES),
        ("transfer", pa.Table.from_pandas(transfer, TRANSFER), TRANSFER),
    ):
        write_table(table, tmp_path / f"{name}.parquet", schema)
    return {name: tmp_path / f"{name}.parquet" for name in ("summary", "cost_curve", "references", "transfer")}


def drawings(folder, datamap):
    return [
        {
            "kind": "datamap",
            "reference": "small",
            "seed": 0,
            "datamap": datamap,
            "stem": f"{folder}/datamap-small-seed0",
        },
        *({"kind": kind, "main": "big", "stem": f"{folder}/{kind}-big"} for kind in ("learning-curves", "cost-curve")),
        {"kind": "robustness-cost", "main": "big", "stem": f"{folder}/robustness-cost-big"},
        {"kind": "transfer", "stem": f"{folder}/transfer"},
    ]


def test_every_figure_is_drawn_with_the_same_bytes_each_time(tmp_path, tables):
    datamap = write_datamap(tmp_path / "map.parquet")
    for folder in ("one", "two"):
        figures.draw(drawings(tmp_path / folder, datamap), "accuracy", **tables)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    kinds = ["cost-curve-big", "datamap-small-seed0", "learning-curves-big", "robustness-cost-big", "transfer"]
    assert names == [f"{kind}.{suffix}" for kind in kinds for suffix in ("png", "svg")]
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        if name.endswith("svg"):
            assert len(content) < 200_000
            assert ET.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            with Image.open(io.BytesIO(content)) as picture:
                assert picture.width == 2040  # 6.8 inches at 300 dots


def test_without_references_there_is_no_table_of_them(tmp_path, tables):
    chosen = [each for each in drawings(tmp_path / "figures", "") if "main" in each]
    figures.draw(chosen, "accuracy", summary=tables["summary"], cost_curve=tables["cost_curve"])
    assert len(list((tmp_path / "figures").iterdir())) == 6
    with pytest.raises(ValueError, match="needs the tables references and transfer"):
        figures.draw(
            drawings(tmp_path, "")[-1:], "accuracy", summary=tables["summary"], cost_curve=tables["cost_curve"]
        )


def test_an_unknown_kind(tmp_path, tables):
    with pytest.raises(ValueError, match="no such kind of figure: pie"):
        figures.draw([{"kind": "pie", "stem": str(tmp_path / "x")}], "accuracy", **tables)
