"""How a method with one reference looks in every figure, on the page and in papers.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart, but for their yellow, too light on white.
Methods differ in marker and dashes too, so that they can be told apart in grey.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ftft.results.schemas import ERM

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("square", "triangle-up", "diamond", "triangle-down", "cross", "pentagon", "star", "hexagon", "bowtie")
_DASHES = ("dash", "solid", "dot", "dashdot")


@dataclass(frozen=True)
class MethodStyle:
    """A label, a colour as hexadecimal RGB, and the names that plotly has for its marker and its dashes."""

    label: str
    colour: str
    marker: str
    dash: str


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
            found[key] = MethodStyle(method_label(*key), "#000000", "circle", "solid")
            continue
        looks = (each[others % len(each)] for each in (_COLOURS, _MARKERS, _DASHES))
        found[key] = MethodStyle(method_label(*key), *looks)
        others += 1
    return found
