"""The picture of a data map: confidence over variability, coloured by correctness, with the histogram of each."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter
from numpy.typing import ArrayLike, NDArray

from ftft.display.figure_style import GREY, WIDTH, styled
from ftft.dynamics.datamap import AMBIGUOUS, EASY, HARD

# Points of more examples than this would only cover each other.
MAX_POINTS = 25_000
CELLS = 45  # hexagonal cells in a row, where there are too many examples for points

# These colours are safe for colour-blind readers. The last tenth is left out: its yellow is too light on white.
_COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))
_CORRECTNESS = ScalarMappable(Normalize(0, 1), _COLOURS)
_HEXAGON = np.array([(np.sin(angle), np.cos(angle)) for angle in np.arange(6) * np.pi / 3]) / np.sqrt(3)


@styled()
def datamap_figure(table: pd.DataFrame, title: str) -> Figure:
    """A data map, after Swayamdipta et al. 2020, figure 1.

    Up to ``MAX_POINTS`` examples are points. More are hexagonal cells: the colour is the mean correctness of the
    examples in a cell, the area grows with the logarithm of their number. Nothing is left out.

    Args:
        table: columns ``confidence``, ``variability``, ``correctness`` and ``region`` of a data map.
        title: whose map it is.
    """
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(3.2, 1))
    plane = figure.add_subplot(grid[:, 0])
    right = max(float(table["variability"].max()) * 1.03, 0.05) if len(table) else 0.5
    plane.set(xlabel="variability", ylabel="confidence", xlim=(-0.015 * right, right), ylim=(-0.02, 1.02))
    plane.set_title(f"{title}: {len(table):,} examples", loc="left")
    # The bar is not made from the points: its colours are opaque, as many points on top of each other are.
    figure.colorbar(_CORRECTNESS, ax=plane, label="correctness", aspect=40, pad=0.02).outline.set_visible(False)
    _histograms([figure.add_subplot(grid[row, 1]) for row in range(3)], table, right)
    _regions(plane, table, right)
    if len(table) > MAX_POINTS:
        figure.draw_without_rendering()  # so that the plane has its size
        _cells(plane, table, right)
    else:
        _points(plane, table)
    return figure


def _points(plane: Axes, table: pd.DataFrame) -> None:
    # The order is random, so that no end of the data is painted over the other.
    shown = table.iloc[np.random.default_rng(0).permutation(len(table))]
    plane.scatter(
        shown["variability"],
        shown["confidence"],
        c=shown["correctness"],
        cmap=_COLOURS,
        vmin=0,
        vmax=1,
        s=float(np.clip(20_000 / max(len(shown), 1), 2, 16)),
        alpha=0.75,
        linewidths=0,
        rasterized=True,
    )


def _cells(plane: Axes, table: pd.DataFrame, right: float) -> None:
    x, y, counts, correctness = binned(table["variability"] / right, table["confidence"], table["correctness"], CELLS)
    centres = np.column_stack([x * right, y])
    full = np.array([right, 1]) / CELLS
    largest = counts.max()
    sizes = _size(counts, largest)
    hexagons = centres[:, None] + sizes[:, None, None] * _HEXAGON * full
    plane.add_collection(
        PolyCollection(
            hexagons, array=correctness, cmap=_COLOURS, norm=Normalize(0, 1), linewidths=0, antialiaseds=True
        ),
        autolim=False,
    )
    # A hexagon as a marker has the height that it is given, in points; a cell is 2 / sqrt(3) times as high as wide.
    points = plane.get_window_extent().width / plane.figure.dpi * 72 * full[0] / np.ptp(plane.get_xlim()) * 2 / 3**0.5
    numbers = [10**power for power in range(int(np.log10(largest)) + 1)]
    handles = [
        Line2D(
            [], [], linestyle="", marker="h", markersize=points * _size(number, largest), color=GREY, markeredgewidth=0
        )
        for number in numbers
    ]
    labels = [f"{number:,}" for number in numbers]
    plane.legend(handles, labels, title="examples in a cell", loc="lower right", title_fontsize="small")


def _size(counts: ArrayLike, largest: float) -> NDArray[np.float64]:
    """How wide a cell is drawn, as a share of its whole width: its area grows with the logarithm of its number."""
    return np.sqrt(np.log1p(counts) / np.log1p(largest))


def binned(
    x: ArrayLike, y: ArrayLike, values: ArrayLike, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """The hexagonal cells of the unit square that have points in them.

    Args:
        x, y: (N,) numbers, from 0 to 1.
        values: (N,) a number for each point.
        columns: cells beside each other in a row.

    Returns:
        x and y of each cell's centre, the number of points in it, and the mean of their values.
    """
    points = np.column_stack([x, y]) * columns
    # The centres are those of two grids with rows sqrt(3) apart, one shifted by half a cell against the other; a point
    # belongs to the nearer of the nearest in each.
    pitch = np.array([1, np.sqrt(3)])
    first = np.round(points / pitch) * pitch
    second = (np.floor(points / pitch) + 0.5) * pitch
    nearer = ((points - first) ** 2).sum(axis=1) <= ((points - second) ** 2).sum(axis=1)
    centres = np.where(nearer[:, None], first, second)
    # Cells are named by whole numbers: fractions of one cell may differ in their last digit.
    names = np.round(2 * centres / pitch).astype(np.int64)
    cells, of, counts = np.unique(names, axis=0, return_inverse=True, return_counts=True)
    means = np.bincount(of.ravel(), weights=np.asarray(values, dtype=float), minlength=len(cells)) / counts
    x_centre, y_centre = (cells * pitch / 2 / columns).T
    return x_centre, y_centre, counts, means


def _regions(plane: Axes, table: pd.DataFrame, right: float) -> None:
    """The borders of the regions, and their names near the edge, where few points can lie far from the left."""
    start = float(table.loc[table["region"] == AMBIGUOUS, "variability"].min())
    start = right if np.isnan(start) else start  # fewer than three examples: no ambiguous region
    border: dict[str, Any] = {"color": "black", "linewidth": 0.9, "linestyle": "--"}
    border["path_effects"] = [withStroke(linewidth=2.2, foreground="white")]
    plane.axvline(start, **border)
    plane.hlines(0.5, plane.get_xlim()[0], start, **border)
    gap = 0.012 * right
    # Names stand beside the line where there is room on both sides, else at the edges.
    room = 0.3 * right < start < 0.75 * right
    left_of, right_of = ((start - gap, "right"), (start + gap, "left")) if room else ((gap, "left"), (right, "right"))
    for name, (x, side), y in ((EASY, left_of, 0.985), (HARD, left_of, 0.015), (AMBIGUOUS, right_of, 0.985)):
        plane.text(
            x,
            y,
            name,
            horizontalalignment=side,
            verticalalignment="top" if y > 0.5 else "bottom",
            fontweight="bold",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _histograms(axes: list[Axes], table: pd.DataFrame, right: float) -> None:
    confidence, variability, correctness = axes
    confidence.hist(table["confidence"], bins=40, range=(0, 1), color="0.5")
    variability.hist(table["variability"], bins=40, range=(0, right), color="0.5")
    # Over a few epochs correctness has few values, and each gets its bar; over many, neighbours share one.
    values, counts = np.unique(np.round(table["correctness"].to_numpy(dtype=float) * 20) / 20, return_counts=True)
    width = 0.8 * min(np.diff(values).min(initial=0.2), 0.2)
    correctness.bar(values, counts, width=width, color=_CORRECTNESS.to_rgba(values))
    correctness.set_xlim(-0.12, 1.12)
    for each, name in zip(axes, ("confidence", "variability", "correctness"), strict=True):
        each.set_xlabel(name)
        each.yaxis.set_major_formatter(EngFormatter(sep=""))
    confidence.set_title("examples", loc="left")
