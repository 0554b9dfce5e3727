"""The tables of an experiment, for papers: each as CSV with its numbers, and as LaTeX that is ready to print."""

from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import pandas as pd

from ftft.core import artifacts
from ftft.core.artifacts import atomic_path
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.results.cells import EN_DASH, METRIC_NAMES, MINUS, difference_text, percent
from ftft.results.outcomes import outcomes, to_erm
from ftft.results.overview import COSTS, DIFFERENCE, SEEDS, STEP, cost_heading, overview
from ftft.results.schemas import COMPARISON, ERM, OOD_MEAN, REFERENCES, SUMMARY
from ftft.results.text import formatted
from ftft.results.writing import harmless

# Without more packages pdflatex has no letter for the first two; the last is how LaTeX types an en dash.
_LETTERS = {MINUS: "$-$", "±": r"$\pm$", EN_DASH: "--"}
_REFERENCES = {
    "reference": "reference",
    "seed": "seed",
    "dev": "dev",
    "ood_dev": "OOD dev",
    "ambiguous": "ambiguous",
    "easy": "easy",
    "hard": "hard",
    "lost": "lost",
    "compared_with": "compared with",
    "verdict": "verdict",
}


class Table(TypedDict):
    """One table to write."""

    kind: str  # results, references or outcomes
    stem: str  # its path, to which .csv and .tex are added
    main: NotRequired[str]  # the main model of results and outcomes
    methods: NotRequired[list[str]]  # the methods of outcomes


def write(
    tables: Sequence[Table],
    metric: str,
    *,
    summary: str | Path,
    comparison: str | Path,
    references: str | Path | None = None,
) -> None:
    """Write the tables of an experiment, each as CSV and as LaTeX.

    Args:
        tables: what to write, and where to.
        metric: ``accuracy`` or ``macro_f1``.
        summary, comparison, references: the artifacts of these names; the last is needed for references and outcomes
            alone.
    """
    for table in tables:
        outputs = f"{table['stem']}.csv", f"{table['stem']}.tex"
        if table["kind"] == "results":
            write_results(summary, comparison, table["main"], metric, *outputs)
            continue
        assert references is not None
        if table["kind"] == "references":
            write_references(references, *outputs)
        else:
            write_outcomes(summary, references, table["main"], metric, table["methods"], *outputs)


def write_results(
    summary: str | Path, comparison: str | Path, main: str, metric: str, output_csv: str | Path, output_tex: str | Path
) -> None:
    """Write one main model's methods against the datasets.

    The CSV has scores as shares with their standard deviations over seeds, the difference to ERM with its interval,
    costs in percent of ERM's; what does not exist is an empty field. The LaTeX has scores in percent, the best of each
    column in bold.

    Args:
        summary, comparison: the artifacts of these names.
        main: the main model.
        metric: ``accuracy`` or ``macro_f1``.
        output_csv, output_tex: the files.
    """
    table = overview(artifacts.read(summary, SUMMARY), metric, comparison=artifacts.read(comparison, COMPARISON)).xs(
        main, level="main"
    )
    _write_csv(table.set_axis([_column(*names) for names in table.columns], axis=1).reset_index(), output_csv)

    cells = formatted(table).drop(columns=STEP)
    scored = [heading for heading in table.columns.unique(level=0) if heading not in (DIFFERENCE, COSTS, STEP, SEEDS)]
    sets = [heading for heading in scored if heading != OOD_MEAN]
    cells = cells[[*sets, *(heading for heading in cells.columns if heading not in sets)]]
    bold = pd.DataFrame("", cells.index, cells.columns)
    for heading in scored:
        shown = table[heading, "mean"].round(4)  # as it is printed
        bold.loc[shown == shown.max(), heading] = "textbf:--rwrap;"
    names = {IN_DISTRIBUTION: "in distribution", SEEDS: "seeds"}
    cells, bold = (part.reset_index().rename(columns=names) for part in (cells, bold))
    cells["method"] = cells["method"].replace(ERM, "ERM")
    bold[["method", "reference"]] = ""
    note = (
        f"{METRIC_NAMES.get(metric, metric)} in percent, mean and standard deviation over seeds; difference in points, "
        "with its 95 percent interval; cost of training, reference included"
    )
    _write_tex(cells, "ll" + "r" * (len(cells.columns) - 2), note, output_tex, bold)


def _column(heading: str, number: str) -> str:
    """What a column of an overview is called in the CSV."""
    if heading == COSTS:
        return cost_heading(number)
    return heading if number in ("mean", "number") else f"{heading} {number}"


def write_references(references: str | Path, output_csv: str | Path, output_tex: str | Path) -> None:
    """Write which references are suitable: the verdict on each run, and what it is made of.

    Args:
        references: the artifact of this name.
        output_csv, output_tex: the files; shares in the CSV, percent in the LaTeX.
    """
    table = artifacts.read(references, REFERENCES).to_pandas()[list(_REFERENCES)]
    _write_csv(table, output_csv)
    note = "in percent; lost: share of the ambiguous examples of the run compared with that are hard to learn here"
    _write_tex(_in_percent(table), "lr" + "r" * 6 + "ll", note, output_tex)


def write_outcomes(
    summary: str | Path,
    references: str | Path,
    main: str,
    metric: str,
    methods: Sequence[str],
    output_csv: str | Path,
    output_tex: str | Path,
) -> None:
    """Write what was known about each reference run, and how far from ERM main models ended that it selected for.

    Args:
        summary, references: the artifacts of these names.
        main: the main model.
        metric: ``accuracy`` or ``macro_f1``.
        methods: those that train on what a single reference run finds ambiguous.
        output_csv, output_tex: the files; shares in the CSV, percent and points in the LaTeX.
    """
    table = outcomes(
        artifacts.read(summary, SUMMARY), artifacts.read(references, REFERENCES), main, metric, methods
    ).reset_index()
    differences = [name for name in map(to_erm, methods) if name in table.columns]
    _write_csv(table, output_csv)
    cells = _in_percent(table)
    for name in differences:
        cells[name] = [difference_text(value) for value in table[name]]
    note = "in percent, differences in points; lost: as in the table of references"
    _write_tex(cells, "lrrrrrl" + "r" * len(differences), note, output_tex)


def _in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """A table of references as text, under the headings that are printed."""
    cells = table.astype(object)
    for name in table.select_dtypes("float"):
        cells[name] = [percent(value) for value in table[name]]
    return cells.fillna("").rename(columns=_REFERENCES)


def _write_csv(table: pd.DataFrame, output: str | Path) -> None:
    with atomic_path(output) as temporary:
        # Ten digits are enough to compute with, and avoid 0.9524999999999999.
        table = table.map(harmless).rename(columns=harmless)
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def _write_tex(
    cells: pd.DataFrame, columns: str, note: str, output: str | Path, styles: pd.DataFrame | None = None
) -> None:
    """A ``tabular`` that needs the package booktabs and no other, below a comment."""
    styler = cells.style.hide(axis="index").format(_letters, escape="latex")
    styler = styler.format_index(_letters, escape="latex", axis="columns")
    if styles is not None:
        styler = styler.apply(lambda _: styles, axis=None)
    text = styler.to_latex(hrules=True, column_format=columns)
    with atomic_path(output) as temporary:
        temporary.write_text(f"% {note}\n{text}", encoding="utf-8")


def _letters(cell: object) -> str:
    """A cell in letters that LaTeX has; without any, it is an en dash."""
    text = str(cell) or EN_DASH
    for letter, replacement in _LETTERS.items():
        text = text.replace(letter, replacement)
    return text
