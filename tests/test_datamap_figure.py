import io
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from PIL import Image

from ftft.display import datamap_figure as module
from ftft.display.datamap_figure import binned, datamap_figure
from ftft.display.figure_style import image
from ftft.dynamics.datamap import region


def data_map(rows, epochs=4, seed=0):
    """Coordinates as random dynamics would give."""
    probabilities = np.random.default_rng(seed).beta(
        *np.random.default_rng(seed + 1).uniform(0.3, 3, (2, 1, rows)), size=(epochs, rows)
    )
    confidence, variability = probabilities.mean(axis=0), probabilities.std(axis=0)
    return pd.DataFrame(
        {
            "confidence": confidence,
            "variability": variability,
            "correctness": (probabilities > 0.5).mean(axis=0),
            "region": region(confidence, variability, [f"u{row:09}" for row in range(rows)]),
        }
    )


def found(figure, kind):
    return [each for each in figure.axes[0].collections if isinstance(each, kind)]


def test_every_example_is_a_point_with_its_colour():
    table = data_map(200)
    figure = datamap_figure(table, "small, seed 0")
    (points,) = found(figure, PathCollection)
    shown = np.column_stack([points.get_offsets(), points.get_array()])
    expected = table[["variability", "confidence", "correctness"]].to_numpy()
    assert sorted(shown.tolist()) == pytest.approx(np.array(sorted(expected.tolist())))
    assert points.get_rasterized()
    assert figure.axes[0].get_title(loc="left") == "small, seed 0: 200 examples"


def test_regions_are_marked_where_they_meet():
    table = data_map(30)
    figure = datamap_figure(table, "x")
    start = table.loc[table["region"] == "ambiguous", "variability"].min()
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx([start, start])
    assert {text.get_text() for text in figure.axes[0].texts} == {"ambiguous", "easy-to-learn", "hard-to-learn"}


@pytest.mark.parametrize("start", [0.0, 0.01, 0.1, 0.16, 0.25, 0.35, 0.39, 0.4])
def test_names_of_regions_never_cover_each_other(start):
    variability = np.array([0.0, start, 0.4])
    regions = ["hard-to-learn", "ambiguous", "ambiguous"]
    table = data_map(3).assign(variability=variability, region=regions)
    figure = datamap_figure(table, "x")
    figure.draw_without_rendering()
    plane = figure.axes[0]
    boxes = [text.get_window_extent() for text in plane.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(plane.bbox.x0 <= box.x0 < box.x1 <= plane.bbox.x1 + 1 for box in boxes)


def test_histograms_count_all():
    table = data_map(500)
    axes = {each.get_xlabel(): each for each in datamap_figure(table, "x").axes[1:] if each.get_xlabel()}
    assert set(axes) == {"confidence", "variability", "correctness"}
    for each in axes.values():
        assert sum(bar.get_height() for bar in each.patches) == 500
    right = (table["correctness"] == 1).sum()
    assert axes["correctness"].patches[-1].get_height() == right


def test_more_examples_than_points_become_cells(monkeypatch):
    monkeypatch.setattr(module, "MAX_POINTS", 199)
    table = data_map(200)
    figure = datamap_figure(table, "x")
    assert found(figure, PathCollection) == []
    (cells,) = found(figure, PolyCollection)
    assert len(cells.get_paths()) == len(cells.get_array())
    # The fullest is as wide as a cell, whose width is a share of the whole; no other is wider.
    widths = [np.ptp(path.vertices[:, 0]) for path in cells.get_paths()]
    assert max(widths) == pytest.approx(table["variability"].max() * 1.03 / module.CELLS)
    _, _, counts, correctness = binned(
        table["variability"] / (table["variability"].max() * 1.03),
        table["confidence"],
        table["correctness"],
        module.CELLS,
    )
    assert cells.get_array().tolist() == correctness.tolist()
    assert np.argmax(widths) == np.argmax(counts)
    # An area grows with the logarithm of the number.
    one, most = widths[list(counts).index(1)] ** 2, max(widths) ** 2
    assert most / one == pytest.approx(np.log1p(counts.max()) / np.log(2))
    assert next(text.get_text() for text in figure.axes[0].get_legend().get_texts()) == "1"


def test_cells_by_hand():
    # Two columns: centres at 0, 1/2, 1 in rows sqrt(3)/2 apart, and between them the shifted ones.
    half_row = np.sqrt(3) / 4
    x = [0.01, 0.02, 0.49, 0.26, 0.25]
    y = [0.0, 0.02, 0.01, half_row, half_row - 0.02]
    cells = sorted(zip(*binned(x, y, [0.0, 1.0, 0.25, 1.0, 0.5], 2), strict=True))
    expected = [(0, 0, 2, 0.5), (0.25, half_row, 2, 0.75), (0.5, 0, 1, 0.25)]
    assert np.array(cells) == pytest.approx(np.array(expected))


def test_every_point_is_in_the_nearest_cell():
    x, y = np.random.default_rng(0).random((2, 400))
    centres_x, centres_y, counts, _ = binned(x, y, x, 10)
    assert counts.sum() == 400
    # The centres of a hexagonal grid of pitch 1/10, and the nearest to each point by trying all.
    rows = np.arange(-2, 30)
    grid = np.array([(column / 10 + (row % 2) / 20, row * np.sqrt(3) / 20) for row in rows for column in range(-2, 14)])
    nearest = grid[((np.column_stack([x, y])[:, None] - grid) ** 2).sum(axis=2).argmin(axis=1)]
    expected, numbers = np.unique(nearest.round(9), axis=0, return_counts=True)
    order = np.lexsort((centres_y.round(9), centres_x.round(9)))
    assert np.column_stack([centres_x, centres_y])[order] == pytest.approx(expected)
    assert counts[order].tolist() == numbers.tolist()


@pytest.mark.parametrize("rows", [25_000, 392_702])
def test_a_large_map_is_a_small_file_and_the_same_twice(rows):
    table = data_map(rows)
    svg = image(datamap_figure(table, "x"), "svg", 200)
    assert len(svg) < 1_000_000
    ET.fromstring(svg)
    assert image(datamap_figure(table, "x"), "svg", 200) == svg


@pytest.mark.parametrize("rows", [1, 2])
def test_maps_too_small_for_an_ambiguous_region(rows):
    picture = Image.open(io.BytesIO(image(datamap_figure(data_map(rows), "x"), "png", 100)))
    assert picture.size == (680, 430)


def test_equal_examples():
    table = pd.concat([data_map(3).iloc[:1]] * 9).assign(variability=0.0, correctness=1.0)
    image(datamap_figure(table, "x"), "png", 50)
