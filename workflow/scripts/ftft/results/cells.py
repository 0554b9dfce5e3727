"""How results are written for people: names, numbers as texts, and texts in columns for the terminal."""

from collections.abc import Sequence

import pandas as pd

METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
EN_DASH = "\N{EN DASH}"  # stands for a value that does not exist
MINUS = "\N{MINUS SIGN}"


def number_text(value: float | None, form: str) -> str:
    """A number in a format of Python's, such as ``+.2f``, with a typographic minus; an en dash where there is none.

    What is zero as it is printed has no minus.
    """
    if value is None or pd.isna(value):
        return EN_DASH
    text = format(value, form)
    return (format(0.0, form) if float(text) == 0 else text).replace("-", MINUS)


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, such as ``12.5``; an en dash where there is none."""
    return EN_DASH if share is None else number_text(100 * share, f".{digits}f")


def difference_text(difference: float, *interval: float) -> str:
    """A difference in points, such as ``+1.50``, with its interval if given, such as ``+1.50 [+0.20, +3.10]``."""
    if pd.isna(difference):
        return EN_DASH
    shown, *ends = (number_text(100 * value, "+.2f") for value in (difference, *interval))
    return f"{shown} [{', '.join(ends)}]" if ends else shown


def aligned(table: pd.DataFrame, left: Sequence[str]) -> str:
    """A table of strings in columns two spaces apart: those of ``left`` to the left, others to the right."""
    lines = [list(table.columns), *table.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, width, name in zip(line, widths, table.columns, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)
