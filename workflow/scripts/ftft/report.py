"""The report of an experiment: one HTML page that stands on its own, and the pictures of its data maps."""

import base64
import io
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

import jinja2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ftft.cost_curve import reaching
from ftft.cost_figure import cost_figure
from ftft.datamap import AMBIGUOUS, EASY, HARD
from ftft.errors import UserError
from ftft.schemas import IN_DISTRIBUTION, OOD_MEAN, atomic_path, read_table
from ftft.summary import COST, DIFFERENCE, EN_DASH, ERM, SEEDS, formatted, headline, overview

TEMPLATES = Path(__file__).parent / "templates"
METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "pandas", "pyarrow", "matplotlib", "snakemake")

# Safe for colour-blind readers; without the last tenth, whose yellow is too light on white.
CORRECTNESS_COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))
# More points than this only make the picture heavier.
MAX_POINTS = 25_000
# A column with more values than this is no grouping; the page then shows the most common ones.
MAX_GROUPS = 20


class DataMap(TypedDict):
    """The data map of one reference run."""

    reference: str
    seed: int
    path: str | Path


class Subset(TypedDict):
    """A subset selected from data maps."""

    reference: str
    by: str  # the criterion, followed by what sets the selection apart from the plain one
    fraction: float
    seed: int
    path: str | Path


def write(
    output: str | Path,
    *,
    task: str,
    config: dict[str, Any],
    summary: str | Path,
    comparison: str | Path,
    cost_curve: str | Path,
    references: str | Path | None,
    datamaps: Sequence[DataMap],
    subsets: Sequence[Subset],
    train_data: str | Path,
    group: str | None,
    metric: str,
    figures: str | Path | None,
) -> None:
    """Write the page.

    Args:
        output: the HTML file.
        task: name of the experiment's task.
        config: the experiment's configuration in plain built-in types; shown as YAML.
        summary, comparison, cost_curve: the artifacts of these names.
        references: likewise; None where no method uses a reference.
        datamaps: in the order in which they are shown; a reference may have several, one per seed.
        subsets: in the order in which they are shown; only plainly ambiguous ones are looked at.
        train_data: the train set's artifact.
        group: column of the train set whose values are counted per region and subset; None leaves that out.
        metric: ``accuracy`` or ``macro_f1``, as named in the summary.
        figures: folder that also gets each picture, as ``datamap-{reference}-seed{seed}.png`` and
            ``cost-{main}.png``; None makes no files.

    Raises:
        UserError: the train set has no column ``group``.
    """
    verdicts = [] if references is None else read_table(references).to_pylist()
    rows = read_table(summary)
    table = overview(rows, metric, comparison=read_table(comparison))
    curve = read_table(cost_curve)
    groups = None if group is None else _groups(train_data, group)
    pictured = []
    for name in dict.fromkeys(datamap["reference"] for datamap in datamaps):
        maps = [datamap for datamap in datamaps if datamap["reference"] == name]
        chosen = [subset for subset in subsets if subset["reference"] == name and subset["by"] == AMBIGUOUS]
        pictured.append(
            {
                "name": name,
                "pictures": [_picture(datamap, figures) for datamap in maps],
                "findings": None if groups is None else _findings(maps, chosen, groups),
            }
        )
    page = {
        "task": task,
        "metric": METRIC_NAMES.get(metric, metric),
        "runs": int(table[SEEDS, "number"].sum()),
        "seeds": sorted(set(rows["seed"].to_pylist())),
        "sentences": [
            *(_sentence(table, main, METRIC_NAMES.get(metric, metric)) for main in _mains(table)),
            *([_verdict_sentence(verdicts)] if verdicts else []),
        ],
        "results": [_results(table, main) for main in _mains(table)],
        "costs": [_cost(curve, main, metric, figures) for main in _mains(table)],
        "details": [_details(rows, main) for main in _mains(table)],
        "verdicts": [_verdict(row) for row in verdicts],
        "references": pictured,
        "group": group,
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110),
        "versions": _versions(),
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


def _mains(table: pd.DataFrame) -> list[str]:
    return list(table.index.unique("main"))


def _results(table: pd.DataFrame, main: str) -> dict[str, Any]:
    """One main model's methods as cells of text; ``best`` is the position of the best score."""
    part = table.xs(main, level="main")
    cells = formatted(part)
    scores = part[headline(table), "mean"]
    best = (int(scores.argmax()), list(cells.columns).index(headline(table)))
    return _cells(main, cells) | {"best": best}


def _cells(main: str, cells: pd.DataFrame) -> dict[str, Any]:
    """A table of text by method and reference, as the template takes it."""
    return {
        "main": main,
        "headings": list(cells.columns),
        "rows": [
            {"method": method, "reference": reference, "cells": row}
            for (method, reference), row in zip(cells.index, cells.to_numpy().tolist(), strict=True)
        ],
    }


def _sentence(table: pd.DataFrame, main: str, metric: str) -> str:
    """What the table says about one main model: the best method, its lead over ERM, its price, and how sure that is."""
    part = table.xs(main, level="main").sort_values((headline(table), "mean"), ascending=False, kind="stable")
    score = f"mean OOD {metric}" if headline(table) == OOD_MEAN else f"in-distribution {metric}"
    best = part.iloc[0]
    text = f"{main}: {_method(best)} has the highest {score}, {100 * best[headline(table), 'mean']:.2f} %"
    has_erm = ERM in part.index.get_level_values("method")
    other = part.iloc[1] if len(part) > 1 else None
    if not has_erm or other is None:
        return f"{text}, over {_seeds(best)}."
    if best.name[0] != ERM:
        return (
            f"{text}: {_points(best)} above ERM (all training data) at {best[COST, 'FLOPs']:.1f} % of ERM's training "
            f"FLOPs and {best[COST, 'seconds']:.1f} % of its seconds, over {_seeds(best)}. {_certainty(best)}"
        )
    return (
        f"{text}: no method exceeds plain training on all data. The closest, {_method(other)}, is {_points(other)} "
        f"below at {other[COST, 'FLOPs']:.1f} % of its training FLOPs and {other[COST, 'seconds']:.1f} % of its "
        f"seconds, over {_seeds(other)}. {_certainty(other)}"
    )


def _method(row: pd.Series) -> str:
    method, reference = row.name
    name = "ERM" if method == ERM else method
    return f"{name} (reference {reference})" if reference else name


def _seeds(row: pd.Series) -> str:
    number = int(row[SEEDS, "number"])
    return "one seed" if number == 1 else f"{number} seeds"


def _points(row: pd.Series) -> str:
    return f"{100 * abs(row[DIFFERENCE, 'mean']):.2f} points"


def _certainty(row: pd.Series) -> str:
    """The interval of a difference and whether it leaves zero out, in words that claim no more than that."""
    low, high, spread = row[DIFFERENCE, "low"], row[DIFFERENCE, "high"], row[DIFFERENCE, "sd"]
    verdict = "includes zero, so it may be chance" if low <= 0 <= high else "leaves out zero"
    bounds = f"{_signed(low)} to {_signed(high)} points"
    if np.isnan(spread):
        return (
            f"The 95 % interval of the difference to ERM, over test examples alone, is {bounds}, which {verdict}. One "
            "seed shows no spread: how another would do is not known."
        )
    return (
        f"The 95 % interval of the difference to ERM, over seeds and test examples, is {bounds}, which {verdict}. The "
        f"difference varies by {100 * spread:.2f} points (standard deviation) over seeds."
    )


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _cost(curve: pa.Table, main: str, metric: str, figures: str | Path | None) -> dict[str, Any]:
    """One main model's cost curve as a picture, and what each method had cost when it caught up with ERM."""
    rows = curve.to_pandas()
    image = cost_figure(rows[(rows["main"] == main) & (rows["metric"] == metric)], METRIC_NAMES.get(metric, metric))
    if figures is not None:
        with atomic_path(Path(figures) / f"cost-{main}.png") as temporary:
            temporary.write_bytes(image)
    found = reaching(curve, metric)
    found = found[found.index.get_level_values("main") == main]
    return {
        "main": main,
        "image": base64.b64encode(image).decode("ascii"),
        "rows": [
            {
                "method": row.Index[1],
                "reference": row.Index[2],
                "cells": [
                    f"{row.reached} of {row.seeds}",
                    *(f"{value:.1f}" if row.reached else "never" for value in (row.FLOPs, row.seconds)),
                ],
            }
            for row in found.itertuples()
        ],
    }


def _details(rows: pa.Table, main: str) -> dict[str, Any] | None:
    """One main model's calibration error and F1 per class, means over seeds; None where they were not measured."""
    metrics = pc.unique(rows["metric"]).to_pylist()
    if "ece" not in metrics:
        return None
    classes = sorted(metric for metric in metrics if metric.startswith("f1/"))
    tables = {metric: overview(rows, metric).xs(main, level="main") for metric in ("ece", *classes)}
    where = headline(tables["ece"])
    columns = {f"ECE, {IN_DISTRIBUTION}": tables["ece"][IN_DISTRIBUTION, "mean"]} if where == OOD_MEAN else {}
    columns |= {f"ECE, {where}": tables["ece"][where, "mean"]}
    columns |= {f"F1 of {metric.removeprefix('f1/')}, {where}": tables[metric][where, "mean"] for metric in classes}
    cells = pd.DataFrame(columns).map(lambda value: EN_DASH if pd.isna(value) else f"{100 * value:.2f}")
    return _cells(main, cells)


def _verdict_sentence(rows: list[dict[str, Any]]) -> str:
    """What was known about the references before a main model was trained, in a sentence."""
    parts = []
    for name in dict.fromkeys(row["reference"] for row in rows):
        found = Counter(row["verdict"] for row in rows if row["reference"] == name)
        several = found.total() > 1
        counts = (f"{each} ({n} of {found.total()} seeds)" if several else each for each, n in sorted(found.items()))
        parts.append(f"{name} {', '.join(counts)}")
    return f"The references, judged before a main model was trained: {'; '.join(parts)}."


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of references as text."""
    shares = {
        name: EN_DASH if row[name] is None else f"{100 * row[name]:.1f}" for name in ("dev", "ood_dev", "hard", "lost")
    }
    return (
        shares
        | {name: row[name] or EN_DASH for name in ("reference", "compared_with", "verdict", "reason")}
        | {"seed": row["seed"]}
    )


def _groups(train_data: str | Path, group: str) -> pd.Series:
    """The group of each example of the train set as text, indexed by uid."""
    columns = pq.read_schema(train_data).names
    if group not in columns:
        raise UserError(
            f"data.group is {group!r}, but the train set has no such column; found: {', '.join(columns)}; "
            "name one of them, or leave data.group out"
        )
    table = read_table(train_data, columns=["uid", group])
    values = ["(none)" if value is None else str(value) for value in table[group].to_pylist()]
    return pd.Series(values, index=table["uid"].to_pylist())


def _findings(datamaps: list[DataMap], subsets: list[Subset], groups: pd.Series) -> dict[str, Any]:
    """How the groups spread over regions and ambiguous subsets, as means over the seeds of one reference.

    A place (region or subset) that took no notice of the group would hold the same share of each group as of the whole
    train set: that share is the rate expected by chance.
    """
    regions = [_in_data_order(datamap["path"], "region", groups) for datamap in datamaps]
    places = {region: [values == region for values in regions] for region in (EASY, AMBIGUOUS, HARD)}
    for subset in subsets:
        members = pc.is_in(pa.array(groups.index, pa.string()), read_table(subset["path"], columns=["uid"])["uid"])
        name = f"ambiguous subset of {100 * subset['fraction']:g} %"
        places.setdefault(name, []).append(members.to_numpy(zero_copy_only=False))

    # How often each example is there, as a mean over seeds.
    hits = pd.DataFrame({name: np.mean(masks, axis=0) for name, masks in places.items()}, index=groups.index)
    sizes = groups.value_counts()
    values = sorted(sizes.index, key=lambda value: (-sizes[value], value))
    counts = hits.groupby(groups).sum().loc[values[:MAX_GROUPS]]
    chance = hits.mean()
    return {
        "statements": [
            _statement(value, place, counts.loc[value, place], sizes[value], chance[place])
            for value in counts.index[1:]  # the most common group is what the others stand out from
            for place in places
            if place not in (EASY, AMBIGUOUS)
        ],
        "places": list(places),
        "rows": [_row(value, sizes[value], counts.loc[value]) for value in counts.index],
        "all": _row("all (chance)", len(groups), hits.sum()),
        "left_out": len(values) - len(counts),
        "seeds": [datamap["seed"] for datamap in datamaps],
    }


def _statement(value: str, place: str, found: float, total: int, chance: float) -> str:
    where, whole = (f"lie in the {place} region", "region") if place == HARD else (f"are in the {place}", "subset")
    return (
        f"{_count(found)} of {total:,} {value} examples ({100 * found / total:.1f} %) {where}, against "
        f"{chance * total:,.1f} ({100 * chance:.1f} %) expected by chance (the {whole}'s share of the data)."
    )


def _row(name: str, size: int, counts: pd.Series) -> dict[str, Any]:
    cells = [f"{_count(count)} ({100 * count / size:.1f} %)" for count in counts]
    return {"name": name, "size": f"{size:,}", "cells": cells}


def _count(value: float) -> str:
    """A count, or a mean of counts with its decimal."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _in_data_order(path: str | Path, column: str, groups: pd.Series) -> NDArray[np.object_]:
    table = read_table(path, columns=["uid", column])
    if table["uid"].to_pylist() != groups.index.to_list():
        raise UserError(f"data map {path} does not have the rows of the train set; delete the file and rerun")
    return table[column].to_numpy()


def _picture(datamap: DataMap, figures: str | Path | None) -> dict[str, Any]:
    """One data map as an image for the page, and as a file in ``figures``."""
    reference, seed = datamap["reference"], datamap["seed"]
    table = read_table(datamap["path"], columns=["confidence", "variability", "correctness", "region"]).to_pandas()
    image = datamap_figure(table, f"{reference}, seed {seed}")
    if figures is not None:
        with atomic_path(Path(figures) / f"datamap-{reference}-seed{seed}.png") as temporary:
            temporary.write_bytes(image)
    return {
        "seed": seed,
        "image": base64.b64encode(image).decode("ascii"),
        "examples": len(table),
        "regions": [(region, int((table["region"] == region).sum())) for region in (EASY, AMBIGUOUS, HARD)],
    }


def datamap_figure(table: pd.DataFrame, title: str) -> bytes:
    """A data map as PNG: confidence over variability, coloured by correctness, with the histogram of each.

    After Swayamdipta et al. 2020, figure 1. Of more than ``MAX_POINTS`` examples a fixed random sample is drawn as
    points; the histograms count all.

    Args:
        table: columns ``confidence``, ``variability``, ``correctness`` and ``region`` of a data map.
        title: printed above.
    """
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5))
    scatter = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=scatter)
    beside = figure.add_subplot(grid[1, 1], sharey=scatter)

    # Shuffled also where all are shown, so that no end of the data is painted over the other.
    shown = table.iloc[np.random.default_rng(0).permutation(len(table))[:MAX_POINTS]]
    scatter.scatter(
        shown["variability"],
        shown["confidence"],
        c=shown["correctness"],
        cmap=CORRECTNESS_COLOURS,
        vmin=0,
        vmax=1,
        s=float(np.clip(20_000 / max(len(shown), 1), 3, 25)),
        alpha=0.75,
        linewidths=0,
    )
    # From a mappable of its own, whose colours are as opaque as many points on top of each other.
    figure.colorbar(ScalarMappable(Normalize(0, 1), CORRECTNESS_COLOURS), ax=beside, label="correctness", aspect=30)

    right = max(float(table["variability"].max()) * 1.03, 0.05)
    start = float(table.loc[table["region"] == AMBIGUOUS, "variability"].min())
    start = right if np.isnan(start) else start  # fewer than three examples: no ambiguous region
    scatter.axvline(start, color="0.35", linewidth=1, linestyle="--")
    scatter.hlines(0.5, 0, start, color="0.35", linewidth=1, linestyle="--")
    for region, x, y in ((EASY, 0.02, 0.96), (HARD, 0.02, 0.04), (AMBIGUOUS, 0.98, 0.5)):
        scatter.text(
            x,
            y,
            region,
            transform=scatter.transAxes,
            horizontalalignment="left" if x < 0.5 else "right",
            verticalalignment="center",
            fontweight="bold",
            bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "0.35", "alpha": 0.85},
        )
    scatter.set(xlabel="variability", ylabel="confidence", xlim=(-0.01 * right, right), ylim=(-0.02, 1.02))
    above.hist(table["variability"], bins=50, range=(0, right), color="0.55")
    beside.hist(table["confidence"], bins=50, range=(0, 1), color="0.55", orientation="horizontal")
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)
    above.set_ylabel("examples")
    beside.set_xlabel("examples")
    for axes in (scatter, above, beside):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Data map of {title}")

    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    return image.getvalue()


def _versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue  # the report itself needs only some of them
    return found
