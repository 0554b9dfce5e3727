"""Where results lie: each path once, the same for the plan's values and the rules' wildcards."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftft.experiment import layout
from ftft.experiment.layout import Layout
from ftft.experiment.naming import Run

ROOT = Path(__file__).parents[1]
TOY = Layout.of("toy")
# By hand: results of a run made long ago are found there.
EXPECTED = {
    "data/far.dev.parquet": TOY.data("far.dev"),
    "data_checks.txt": TOY.data_checks.txt,
    "source/someone--big/source.json": TOY.source("someone--big").identity,
    "source/someone--big/tokenizer.json": TOY.source("someone--big").tokenizer,
    "tokens/someone--big+64/train.parquet": TOY.tokens("someone--big+64", "train"),
    "features/someone--big/train.parquet": TOY.features("someone--big", "train"),
    "features/someone--big/cost.parquet": TOY.features_cost("someone--big"),
    "reference/small/seed3/models": TOY.reference("small", 3).models,
    "reference/small/seed3/dynamics.parquet": TOY.reference("small", 3).dynamics,
    "main/big/small/ambiguous-0.5/seed3/metrics.parquet": TOY.main("big", "small/ambiguous-0.5", 3).metrics,
    "main/big/all+probe/seed3/interpolated/final+wise0.5": TOY.main("big", "all+probe", 3).interpolated(
        "final+wise0.5"
    ),
    "probe/big/seed3/manifest.json": TOY.probe("big", 3).manifest,
    "datamap/small/seed3.parquet": TOY.datamap("small", 3),
    "datamap/small/seed3.cost.parquet": TOY.datamap_cost("small", 3),
    "subset/small/ambiguous-0.5/seed3.parquet": TOY.subset("small/ambiguous-0.5", 3),
    "subset/random-0.5/seed3.cost.parquet": TOY.subset_cost("random-0.5", 3),
    "evaluation/reference/big/seed3/final/metrics.parquet": TOY.evaluation("reference/big/seed3", "final").metrics,
    "evaluation/reference/big/seed3/final/predictions/far.parquet": TOY.evaluation(
        "reference/big/seed3", "final"
    ).predictions("far"),
    "references.txt": TOY.references.txt,
    "summary.parquet": TOY.summary.parquet,
    "cost_curve.csv": TOY.cost_curve.csv,
    "report.html": TOY.page,
    "figures/datamap-small-seed3": TOY.figure("datamap", "small", "seed3"),
    "tables/references": TOY.table("references"),
    "logs/compute_datamap/small/seed3.log": TOY.log("compute_datamap", "small/seed3"),
    "benchmarks/compute_datamap/small/seed3.tsv": TOY.benchmark("compute_datamap", "small/seed3"),
}


@pytest.mark.parametrize("expected", EXPECTED)
def test_results_lie_where_they_always_did(expected):
    assert EXPECTED[expected] == f"results/toy/{expected}"


def test_a_run_lies_in_the_folder_that_is_its_name():
    assert TOY.run(Run("small", "", 3).path) == TOY.reference("small", 3)
    assert TOY.run(Run("big", "random-0.5", 3).path) == TOY.main("big", "random-0.5", 3)


def paths(found: Any, values: tuple[str, ...], name: str = "") -> Iterator[tuple[str, str]]:
    """Every path that an object gives, with the name of what gives it, for all combinations of the values."""
    if isinstance(found, str):
        yield name, found
        return
    for member, kind in inspect.getmembers(type(found)):
        if member.startswith("_") or member in ("of", "run"):  # the latter is what reference, main and probe give
            continue
        if isinstance(kind, property):
            yield from paths(getattr(found, member), values, f"{name}.{member}")
        elif inspect.isfunction(kind):
            for arguments in combinations(kind, values):
                yield from paths(getattr(found, member)(*arguments), values, f"{name}.{member}{arguments}")


def combinations(method: Any, values: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The arguments of a method: one value differs from the others, in each place once."""
    count = len(inspect.signature(method).parameters) - 1
    first, *others = values
    return [
        (first,) * count,
        *((first,) * place + (other,) + (first,) * (count - place - 1) for place in range(count) for other in others),
    ]


def test_no_two_artifacts_and_no_two_arguments_have_one_path():
    found = list(paths(TOY, ("a", "b")))
    owners = {path: name for name, path in found}
    assert len(found) > 100
    assert [(name, owners[path]) for name, path in found if owners[path] != name] == []
    assert all(path.startswith("results/toy/") for _, path in found)


def test_wildcards_filled_in_are_the_paths_of_values():
    values = dict(paths(TOY, ("a", "b")))
    wildcards = dict(paths(TOY, ("{first}", "{second}")))
    filled = {
        name.format(first="a", second="b"): path.format(first="a", second="b") for name, path in wildcards.items()
    }
    assert filled == values


def test_layouts_of_two_tasks_share_no_path():
    assert not dict(paths(TOY, ("a",))).items() & dict(paths(Layout.of("other"), ("a",))).items()


@pytest.mark.parametrize(
    "file", [*sorted((ROOT / "rules").glob("*.smk")), ROOT / "Snakefile"], ids=lambda path: path.name
)
def test_rules_spell_no_path(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if not line.lstrip().startswith("#")]
    spelled = re.compile(r"results/|RESULTS|\.parquet\"|\.json\"|\.tsv\"|\.log\"|\.txt\"")
    assert [line for line in code if spelled.search(line)] == []


def test_the_plan_spells_no_path():
    """Nor does any other module beside it."""
    folder = Path(layout.__file__).parent
    found = []
    for file in set(folder.rglob("*.py")) - {Path(layout.__file__)}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts = [str(part.value) for part in node.values if isinstance(part, ast.Constant)]
                found += [(file.name, text) for text in texts if re.search(r"results/|\.parquet|/seed", text)]
    assert found == []
