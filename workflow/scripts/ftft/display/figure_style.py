"""What all figures for papers share: their look, and how they are saved."""

import io
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from ftft.core.artifacts import atomic_path

# Inches: the text width of a page of A4 or letter size, at which the font is as large as that of a caption.
WIDTH = 6.8
# Dots per inch of a PNG, and of the points of a scatter plot inside an SVG.
DPI, SCATTER_DPI = 300, 200
GREY = "0.35"  # for lines that belong to no method

# The names that plotly has for markers and dashes, and what matplotlib has for them.
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "pentagon": "p",
    "star": "*",
    "hexagon": "h",
    "bowtie": "X",
}
DASHES = {"solid": (0, ()), "dash": (0, (4, 1.5)), "dot": (0, (1, 1)), "dashdot": (0, (4, 1, 1, 1))}

_LOOK = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    # Letters are outlines, and so the same on every machine, whatever fonts it has.
    "svg.fonttype": "path",
    # Names inside a file are made from this, and so the same each time.
    "svg.hashsalt": "ftft",
}


def styled() -> Any:
    """A context, or a decorator, in which figures are drawn: what a user has set for matplotlib does not count."""
    return style.context(["default", _LOOK])


def save(figure: Figure, stem: str | Path) -> None:
    """Write a figure as ``{stem}.svg`` and ``{stem}.png``, the same bytes each time."""
    for kind, dpi in (("svg", SCATTER_DPI), ("png", DPI)):
        with atomic_path(f"{stem}.{kind}") as temporary:
            temporary.write_bytes(image(figure, kind, dpi))


def image(figure: Figure, kind: str, dpi: int) -> bytes:
    """A figure as the content of a file of one kind, ``png`` or ``svg``, without dates and versions."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    content = io.BytesIO()
    with styled():
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    return content.getvalue()
