"""The report of an experiment: one interactive HTML page that stands on its own."""

import base64
import gzip
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

import jinja2
import markupsafe
import pandas as pd
import plotly.offline
import yaml

from ftft.core import artifacts
from ftft.core.artifacts import atomic_path
from ftft.data import inspection
from ftft.display import charts, data, sections, sentences
from ftft.display.explorer import DataMap, Subset, explore
from ftft.display.method_styles import method_styles
from ftft.results.cells import METRIC_NAMES
from ftft.results.overview import SEEDS, overview
from ftft.results.schemas import COMPARISON, COST_CURVE, REFERENCES, SUMMARY, TRANSFER

TEMPLATES = Path(__file__).parent / "templates"
# The parts of the page's script, in the order in which they run; all see what the others define.
SCRIPTS = ["elements", "files", "tables", "charts", "texts", "filters", "heatmap", "datamap", "histograms", "example"]
SCRIPTS += ["list", "explorer", "start"]
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "pandas", "pyarrow", "plotly", "snakemake")


class Lineage(TypedDict):
    """What was made from what: pairs of names, and for each name the rule behind it and a short label."""

    edges: list[tuple[str, str]]
    nodes: dict[str, tuple[str, str]]


class Page(TypedDict):
    """What rule ``report`` is told; see ``write``."""

    task: str
    config: dict[str, Any]
    labels: list[str]
    datamaps: list[DataMap]
    subsets: list[Subset]
    group: str | None
    metric: str
    judging: dict[str, list[str]]
    costs: list[sections.Cost]
    lineage: Lineage
    budgets: dict[str, float]
    blur_text: bool


def write(
    output: str | Path,
    *,
    task: str,
    config: dict[str, Any],
    labels: Sequence[str],
    summary: str | Path,
    comparison: str | Path,
    cost_curve: str | Path,
    references: str | Path | None,
    transfer: str | Path | None,
    datamaps: Sequence[DataMap],
    subsets: Sequence[Subset],
    train_data: str | Path,
    checks: str | Path,
    group: str | None,
    metric: str,
    judging: Mapping[str, Sequence[str]],
    costs: Sequence[sections.Cost],
    lineage: Lineage,
    budgets: Mapping[str, float],
    forecast: str | Path,
    memory: str | Path,
    blur_text: bool = False,
) -> None:
    """Write the page.

    Args:
        output: the HTML file.
        task: name of the experiment's task.
        config: the experiment's configuration in plain built-in types; shown as YAML.
        labels: names of the classes.
        summary, comparison, cost_curve: the artifacts of these names.
        references, transfer: likewise; None where no method uses a reference.
        datamaps: in the order in which they are shown; a reference may have several, one per seed.
        subsets: in the order in which they are shown; groups are counted in plainly ambiguous ones.
        train_data: the train set's artifact.
        checks: the table of ``inspection``, whose warnings the page repeats.
        group: column of the train set whose values are counted per region and subset; None leaves that out.
        metric: ``accuracy`` or ``macro_f1``, as named in the summary.
        judging: by main model, the methods that train on what a single reference run finds ambiguous.
        costs: the cost tables of all training runs, data maps and subsets.
        lineage: the graph of the experiment.
        budgets: share of the planned steps, of every method that has one.
        forecast, memory: the artifacts of these names.
        blur_text: texts of examples are shown only when asked for.

    Raises:
        UserError: the train set has no column ``group``, or a data map is not of this train set.
    """
    rows = artifacts.read(summary, SUMMARY)
    table = overview(rows, metric, comparison=artifacts.read(comparison, COMPARISON))
    curve = artifacts.read(cost_curve, COST_CURVE)
    verdicts = [] if references is None else artifacts.read(references, REFERENCES).to_pylist()
    mains = list(table.index.unique("main"))
    metric_name = METRIC_NAMES.get(metric, metric)
    styles = method_styles(zip(rows["method"].to_pylist(), rows["reference"].to_pylist(), strict=True))
    drawn = {f"curves-{main}": sections.curves_chart(curve, main, metric, styles) for main in mains}
    drawn |= {f"robustness-{main}": sections.robustness_chart(rows, table, main, metric_name, styles) for main in mains}
    if transfer is not None and len(verdicts) > 1:
        pairs = artifacts.read(transfer, TRANSFER).to_pandas()
        drawn["transfer"] = charts.transfer(data.agreement(pd.DataFrame(verdicts), pairs))
    drawn["lineage"] = charts.lineage(lineage["edges"], lineage["nodes"])
    groups = sections.group_findings(datamaps, subsets, train_data, group)
    explored = explore(datamaps, subsets, train_data, labels, group) if datamaps else None
    page = {
        "task": task,
        "metric": metric_name,
        "runs": int(table[SEEDS, "number"].sum()),
        "seeds": sorted(set(rows["seed"].to_pylist())),
        "sentences": [
            *inspection.warnings(artifacts.read(checks, inspection.SCHEMA)),
            *(sentences.sentence(table, main, metric_name) for main in mains),
            *filter(None, (sentences.savings(table, main) for main in mains)),
            *(each for main in mains for each in sentences.budget_sentences(table, main, metric_name, budgets)),
            *([sentences.verdict_sentence(verdicts)] if verdicts else []),
            *filter(None, [sentences.collapsed_sentence(rows)]),
        ],
        "mains": mains,
        "results": [sections.results_table(table, main) for main in mains],
        "costs": [sections.reaching_rows(curve, main, metric) for main in mains],
        "forecast": sections.forecast_table(forecast, summary),
        "memory": sections.memory_table(memory),
        "details": [sections.details_table(rows, main) for main in mains],
        "verdicts": [sections.verdict_row(row) for row in verdicts],
        "outcomes": [
            sections.outcomes_table(rows, artifacts.read(references, REFERENCES), main, metric, judging[main])
            for main in mains
            if references is not None and judging[main]
        ],
        "groups": groups,
        "group": group,
        "has_maps": bool(datamaps),
        "blur_text": blur_text,
        "stages": sections.stage_rows(costs),
        "commit": _commit(),
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110),
        "versions": _versions(),
        "charts": drawn,
        "style": _as_it_is("report.css"),
        "scripts": [_as_it_is(f"page/{name}.js") for name in SCRIPTS],
        "packed": {
            "plotly": _packed(plotly.offline.get_plotlyjs()),
            "charts": _packed(json.dumps(drawn, allow_nan=False)),
            "explorer": _packed(json.dumps(explored, allow_nan=False)),
        },
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(page)
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _as_it_is(name: str) -> markupsafe.Markup:
    return markupsafe.Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _packed(text: str) -> str:
    """A text as compressed base64, which stands in a page as it is and which a browser unpacks."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode("ascii")


def _commit() -> str | None:
    """The commit of the code, with a mark where files were changed since; None outside of a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=TEMPLATES, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue  # the report itself needs only some of them
    return found
