"""The page of an experiment: one interactive HTML file that stands on its own."""

import base64
import gzip
import json
import platform
import subprocess
from dataclasses import dataclass
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
    """What rule ``report`` is told."""

    task: str
    config: dict[str, Any]  # the experiment's configuration, shown as YAML
    labels: list[str]  # names of the classes
    datamaps: list[DataMap]  # in the order in which they are shown; a reference may have several, one per seed
    subsets: list[Subset]  # likewise
    group: str | None  # a column of the train set whose values are counted per region and subset
    metric: str  # accuracy or macro_f1, as named in the summary
    judging: dict[str, list[str]]  # by main model, methods that train on what one reference run finds ambiguous
    costs: list[sections.Cost]  # of all training runs, data maps and subsets
    lineage: Lineage
    budgets: dict[str, float]  # share of the planned steps, of every method that has one
    stopping: list[str]  # methods that may stop before their last step
    blur_text: bool  # whether texts of examples are shown only when asked for


@dataclass(frozen=True)
class Inputs:
    """The tables that the page is made from, each the artifact of its name.

    Attributes:
        references, transfer: None where no method uses a reference.
        train: the train set.
        checks: the table of ``inspection``, whose warnings the page repeats.
    """

    summary: str | Path
    comparison: str | Path
    cost_curve: str | Path
    forecast: str | Path
    memory: str | Path
    references: str | Path | None
    transfer: str | Path | None
    train: str | Path
    checks: str | Path


def write(output: str | Path, told: Page, made: Inputs) -> None:
    """Write the page.

    Args:
        output: the HTML file.
        told: the experiment, and where its data maps, subsets and cost tables lie.
        made: where its other tables lie.

    Raises:
        UserError: an artifact is damaged, or a data map is not of this train set.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(_shown(told, made))
    with atomic_path(output) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _shown(told: Page, made: Inputs) -> dict[str, Any]:
    """What the template shows, under the names that it has for it."""
    rows = artifacts.read(made.summary, SUMMARY)
    metric, metric_name = told["metric"], METRIC_NAMES.get(told["metric"], told["metric"])
    table = overview(rows, metric, comparison=artifacts.read(made.comparison, COMPARISON))
    curve = artifacts.read(made.cost_curve, COST_CURVE)
    references = None if made.references is None else artifacts.read(made.references, REFERENCES)
    verdicts = [] if references is None else references.to_pylist()
    mains = list(table.index.unique("main"))
    datamaps, subsets, group = told["datamaps"], told["subsets"], told["group"]

    styles = method_styles(zip(rows["method"].to_pylist(), rows["reference"].to_pylist(), strict=True))
    budgets = told["budgets"]
    drawn = {f"curves-{main}": sections.curves_chart(curve, main, metric, styles, budgets) for main in mains}
    drawn |= {f"robustness-{main}": sections.robustness_chart(rows, table, main, metric_name, styles) for main in mains}
    if made.transfer is not None and len(verdicts) > 1:
        pairs = artifacts.read(made.transfer, TRANSFER).to_pandas()
        drawn["transfer"] = charts.transfer(data.agreement(pd.DataFrame(verdicts), pairs))
    drawn["lineage"] = charts.lineage(told["lineage"]["edges"], told["lineage"]["nodes"])
    explored = explore(datamaps, subsets, made.train, told["labels"], group) if datamaps else None
    to_end = {name: budget for name, budget in budgets.items() if name not in told["stopping"]}
    return {
        "task": told["task"],
        "metric": metric_name,
        "runs": int(table[SEEDS, "number"].sum()),
        "seeds": sorted(set(rows["seed"].to_pylist())),
        "sentences": [
            *inspection.warnings(artifacts.read(made.checks, inspection.SCHEMA)),
            *(sentences.sentence(table, main, metric_name) for main in mains),
            *filter(None, (sentences.savings(table, main) for main in mains)),
            *(each for main in mains for each in sentences.budget_sentences(table, main, metric_name, to_end)),
            *([sentences.verdict_sentence(verdicts)] if verdicts else []),
            *filter(None, [sentences.collapsed_sentence(rows)]),
        ],
        "mains": mains,
        "results": [sections.results_table(table, main) for main in mains],
        "costs": [sections.reaching_rows(curve, main, metric) for main in mains],
        "forecast": sections.forecast_table(made.forecast, made.summary),
        "memory": sections.memory_table(made.memory),
        "details": [sections.details_table(rows, main) for main in mains],
        "verdicts": [sections.verdict_row(row) for row in verdicts],
        "outcomes": [
            sections.outcomes_table(rows, references, main, metric, methods)
            for main in mains
            if references is not None and (methods := told["judging"][main])
        ],
        "groups": sections.group_tables(datamaps, subsets, made.train, group),
        "group": group,
        "has_maps": bool(datamaps),
        "blur_text": told["blur_text"],
        "stages": sections.stage_rows(told["costs"]),
        "commit": _commit(),
        "config": yaml.safe_dump(told["config"], sort_keys=False, allow_unicode=True, width=110),
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
    versions = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            versions.append((package, version(package)))
        except PackageNotFoundError:
            continue  # the page itself needs only some of them
    return versions
