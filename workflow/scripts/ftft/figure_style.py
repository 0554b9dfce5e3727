"""What all figures share: their look, one style per method, and how they are saved.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart, but for their yellow, too light on white;
in the order of the page's.
Methods differ in marker and dashes too, so that they can be told apart in grey.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from ftft.schemas import atomic_path
from ftft.summary import ERM

# Inches: the text width of a page of A4 or letter size, at which the font is as large as that of a caption.
WIDTH = 6.8
# Dots per inch of a PNG, and of the points of a scatter plot inside an SVG.
DPI, SCATTER_DPI = 300, 200
GREY = "0.35"  # of what is no method

_BLACK, _COLOURS = "#000000", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("s", "^", "D", "v", "P", "X", "p", "*", "h")
Dashes = tuple[float, tuple[float, ...]]  # as matplotlib has it: where it starts, and lengths of dash and gap in turn
_SOLID: Dashes = (0, ())
_DASHES: tuple[Dashes, ...] = ((0, (4, 1.5)), _SOLID, (0, (1, 1)), (0, (4, 1, 1, 1)))

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
    # Letters as outlines: the same on every machine, whatever fonts it has.
    "svg.fonttype": "path",
    # Names inside a file that are the same each time.
    "svg.hashsalt": "ftft",
}


def styled():
    """A context, or a decorator, in which figures are drawn: what a user has set for matplotlib does not count."""
    return style.context(["default", _LOOK])


@dataclass(frozen=True)
class MethodStyle:
    """How a method with one reference looks in every figure."""

    label: str
    colour: str
    marker: str
    dashes: Dashes


def method_label(method: str, reference: str) -> str:
    """What a method is called: ERM, or its name and in brackets its reference, if it has one."""
    if method == ERM:
        return "ERM"
    return f"{method} ({reference})" if reference else method


def method_styles(methods: Iterable[tuple[str, str]]) -> dict[tuple[str, str], MethodStyle]:
    """A style for each (method, reference), by their order. ERM is black; of the others no two of 36 look the same."""
    found = {}
    others = 0
    for key in dict.fromkeys(methods):
        if key[0] == ERM:
            found[key] = MethodStyle(method_label(*key), _BLACK, "o", _SOLID)
            continue
        colour, marker = _COLOURS[others % len(_COLOURS)], _MARKERS[others % len(_MARKERS)]
        dashes = _DASHES[others % len(_DASHES)]
        found[key] = MethodStyle(method_label(*key), colour, marker, dashes)
        others += 1
    return found


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
