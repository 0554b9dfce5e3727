"""What `snakemake --report` carries: pages, figures and tables with captions, categories and labels."""

import json
import re
import zipfile
from html import unescape
from pathlib import Path

import pytest
from snakemake import assets

from workflow.harness import snakemake

# Part of the installed package; Snakemake's own build fetches them from the network.
pytestmark = pytest.mark.skipif(
    not (Path(assets.__file__).parent / "data").is_dir(), reason="this Snakemake was installed without its assets"
)
FOLDER = "results/topics"
FIGURES = {
    "robustness-cost-large": ("Robustness against cost", {"main model": "large"}),
    "learning-curves-large": ("Learning curves", {"main model": "large"}),
    "cost-curve-large": ("Dev score against cost", {"main model": "large"}),
    "datamap-small-seed0": ("Data maps", {"reference": "small", "seed": "0"}),
    "datamap-large-seed0": ("Data maps", {"reference": "large", "seed": "0"}),
}


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """The report as one page, made without a network."""
    page = tmp_path_factory.mktemp("report") / "report.html"
    done = snakemake(finished, "--report", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    return page.read_text(encoding="utf-8")


def variable(page, name):
    """A variable of the page's script."""
    start = re.search(rf"\bvar {name} = (?=\{{)", page).end()
    return json.JSONDecoder().raw_decode(page, start)[0]


def text(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def test_every_result_is_there_with_its_labels(made):
    results = variable(made, "results")
    expected = {
        f"{FOLDER}/figures/{name}.{suffix}": labels | {"vector graphics": vector}
        for name, (_, labels) in FIGURES.items()
        for suffix, vector in (("svg", "yes"), ("png", "no"))
    }
    for suffix, form in (("csv", "CSV"), ("tex", "LaTeX")):
        labels = {"table": "results", "main model": "large", "format": form}
        expected[f"{FOLDER}/tables/results-large.{suffix}"] = labels
        labels = {"table": "references", "references": "all", "format": form}
        expected[f"{FOLDER}/tables/references.{suffix}"] = labels
        labels = {"table": "outcomes", "main model": "large", "format": form}
        expected[f"{FOLDER}/tables/outcomes-large.{suffix}"] = labels
    for name in ("summary", "comparison", "cost_curve", "forecast", "memory", "references", "transfer"):
        expected[f"{FOLDER}/{name}.csv"] = {"table": name}
    expected[f"{FOLDER}/report.html"] = {"page": "report.html"}
    assert {path: result["labels"] for path, result in results.items()} == expected


def test_results_are_in_their_categories(made):
    categories = variable(made, "categories")
    assert set(categories) == {"Page", "Figures", "Tables"}
    assert set(categories["Figures"]) == {heading for heading, _ in FIGURES.values()}
    for name, (heading, _) in FIGURES.items():
        for suffix in ("svg", "png"):
            assert f"{FOLDER}/figures/{name}.{suffix}" in categories["Figures"][heading]
    assert set(categories["Tables"]) == {"For papers", "In full"}


def test_captions_say_what_is_shown(made):
    results = variable(made, "results")
    captions = {path.removeprefix(f"{FOLDER}/"): text(result["caption"]) for path, result in results.items()}
    assert all(len(caption) > 50 for caption in captions.values())
    assert not [caption for caption in captions.values() if "{" in caption or "System Message" in caption]
    assert "Swayamdipta et al. (2020)" in captions["figures/datamap-small-seed0.svg"]
    assert captions["figures/cost-curve-large.svg"].startswith("Dev accuracy at each evaluation")
    assert "Pareto front" in captions["figures/robustness-cost-large.png"]
    assert "booktabs" in captions["tables/results-large.tex"]
    assert "configuration of topics" in captions["report.html"]


def test_it_begins_with_what_was_done(made):
    description = made[made.index("workflow_desc") :][:3000]
    assert "topics" in description
    assert "Main models: large." in description
    assert "erm, random, dm, ftft" in description


def test_as_an_archive(finished, tmp_path):
    done = snakemake(finished, "--report", str(tmp_path / "report.zip"))
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        svg = finished / FOLDER / "figures/datamap-small-seed0.svg"
        assert archive.read(names["datamap-small-seed0.svg"]) == svg.read_bytes()
    assert {"report.html", "results-large.tex", "summary.csv"} <= set(names)
