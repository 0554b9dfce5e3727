import base64
import gzip
import json
import re
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftft.compute.schemas import COST
from ftft.core.artifacts import write_table
from ftft.core.errors import UserError
from ftft.data import inspection
from ftft.data.schemas import data_schema
from ftft.display import sentences, webpage
from ftft.dynamics.artifact import write_dynamics
from ftft.dynamics.schemas import DATAMAP, SUBSET
from ftft.results.cells import EN_DASH
from ftft.results.overview import COSTS, DIFFERENCE
from ftft.results.schemas import COMPARISON, COST_CURVE, FORECAST, MEMORY, OOD_MEAN, REFERENCES, SUMMARY
from ftft.results.transfer import VERDICTS

EVIL = "<script>alert(1)</script>"
# Ten examples: six easy, two counter-examples, two with wrong labels.
KINDS = ["easy"] * 6 + ["counter_example"] * 2 + ["wrong_label"] * 2
UIDS = [f"u{i}" for i in range(10)]
EASY, AMBIGUOUS, HARD = "easy-to-learn", "ambiguous", "hard-to-learn"


class Page(HTMLParser):
    """The text that a reader sees, the cells of the tables, and what is packed for the scripts."""

    def __init__(self, html):
        super().__init__()
        self.pieces, self.rows, self.tags, self.packed = [], [], [], {}
        self.in_cell = False
        self.name = None
        self.feed(html)
        self.text = " ".join("".join(self.pieces).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        self.name = dict(attributes).get("id", "") if tag == "script" else None

    def handle_endtag(self, tag):
        self.name = None
        if tag in ("td", "th"):
            self.in_cell = False
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())

    def handle_data(self, data):
        if self.name is not None and self.name.startswith("packed-"):
            self.packed[self.name.removeprefix("packed-")] = gzip.decompress(base64.b64decode(data)).decode()
        elif self.tags[-1:] not in (["style"], ["script"]):
            self.pieces.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data


def write_datamap(path, regions):
    """A data map and the dynamics that it is of; returns where they lie."""
    n = len(regions)
    columns = {field.name: np.linspace(0, 1, n) for field in DATAMAP}
    columns |= {"uid": UIDS[:n], "label": pa.array([0, 1] * (n // 2), pa.int16()), "region": regions}
    columns |= {"forgetting": pa.array([0] * n, pa.int32())}
    write_table(pa.table(columns), path, DATAMAP, {"burn_in": "0", "epochs": "2"})
    dynamics = path.with_suffix(".dynamics.parquet")
    write_dynamics(list(np.random.default_rng(0).normal(size=(2, n, 2)).astype(np.float32)), dynamics, 2, {})
    return {"path": path, "dynamics": dynamics}


def write_subset(path, uids):
    write_table(pa.table({"uid": uids, "score": np.zeros(len(uids)), "rank": np.arange(len(uids))}), path, SUBSET)
    return path


def write_data(path, kinds=None):
    table = pa.table(
        {"uid": UIDS, "text_a": [EVIL] * 10, "label": pa.array([0, 1] * 5, pa.int16()), "kind": kinds or KINDS}
    )
    write_table(table, path, data_schema(pairs=False, extra=[pa.field("kind", pa.string())]))
    return path


def write_checks(path, in_train=0):
    rows = [{"dataset": "far.test", "rows": 50, "in_train": in_train, "other_label": 1, "missing": []}]
    write_table(pa.Table.from_pylist(rows, inspection.SCHEMA), path, inspection.SCHEMA)
    return path


def write_summary(path, runs):
    """``runs``: (method, reference, seed, score on each of two OOD sets, FLOPs, seconds, step)."""
    rows = []
    for method, reference, seed, scores, flops, seconds, step in runs:
        common = {"task": "toy", "main": "big", "method": method, "reference": reference, "seed": seed}
        common |= {"split": "test", "metric": "accuracy", "step": step, "train_examples": 0}
        common |= {"flops": flops, "seconds": seconds}
        rows += [
            common | {"dataset": name, "value": value}
            for name, value in zip(("in_distribution", "plain", "reversed"), (0.9, *scores), strict=True)
        ]
    write_table(pa.Table.from_pylist(rows, schema=SUMMARY), path, SUMMARY)
    return path


def write_comparison(path, intervals, dataset=OOD_MEAN):
    """``intervals``: (method, reference, low and high end of the difference's interval)."""
    rows = [
        {"main": "big", "method": method, "reference": reference, "dataset": dataset, "metric": "accuracy"}
        | {"difference_low": low, "difference_high": high}
        for method, reference, low, high in intervals
    ]
    write_table(pa.Table.from_pylist(rows, COMPARISON), path, COMPARISON)
    return path


def write_cost_curve(path, points):
    """``points``: (method, reference, seed, step, value, flops, seconds, whether it reaches ERM)."""
    names = ("method", "reference", "seed", "step", "value", "flops", "seconds", "reaches_erm")
    common = {"task": "toy", "main": "big", "dataset": OOD_MEAN, "metric": "accuracy"}
    rows = [common | dict(zip(names, point, strict=True)) for point in points]
    write_table(pa.Table.from_pylist(rows, COST_CURVE), path, COST_CURVE)
    return path


def write_cost(path, seed):
    """Two saved models of one run: the later one has the totals."""
    stages = {"start": (0.0, 1.0), "train": (4e12, 100.0 + seed), "evaluate": (1e12, 20.0), "save": (0.0, 2.0)}
    rows = [
        {"checkpoint": checkpoint, "stage": stage, "flops": flops * share, "seconds": seconds * share}
        | {"device": "some GPU", "precision": "bf16", "peak_memory_mb": 1000.0 + seed}
        for checkpoint, share in (("early", 0.5), ("final", 1.0))
        for stage, (flops, seconds) in stages.items()
    ]
    write_table(pa.Table.from_pylist(rows, COST), path, COST)
    return path


INTERVALS = [("erm", "", None, None), ("ftft", "small", 0.02, 0.18), ("dm", "big", -0.12, 0.02)]
CURVE = [
    ("erm", "", 0, 45, 0.4, 50.0, 5.0, False),
    ("erm", "", 0, 90, 0.45, 100.0, 10.0, True),
    ("ftft", "small", 0, 30, 0.5, 60.0, 8.0, True),
    ("dm", "big", 0, 90, 0.4, 200.0, 25.0, False),
]
RUNS = [
    ("erm", "", 0, (0.5, 0.4), 100.0, 10.0, 90),
    ("ftft", "small", 0, (0.6, 0.5), 60.0, 8.0, 30),
]


def write_forecast(path):
    """ERM, a method that has to stop early, and one that the results do not have."""
    names = ("method", "reference", "preparation_share", "share", "break_even_step", "break_even_share", "pays")
    rows = [
        ("erm", "", 0.0, 1.0, None, None, None),
        ("ftft", "small", 0.25, 1.25, 67, 0.75, "if it stops early"),
        ("dm", "big", 1.0, 2.0, None, None, "no"),
    ]
    common = {"task": "toy", "main": "big", "steps": 90, "step_flops": 1.0, "erm_flops": 90.0, "at_most": False}
    table = [common | dict(zip(names, row, strict=True)) for row in rows]
    table = [row | {"preparation_flops": 90 * row["preparation_share"]} for row in table]
    table[1]["earliest_stop"] = 20
    write_table(pa.Table.from_pylist(table, FORECAST), path, FORECAST)
    return path


def write_memory(path):
    """One model that has not enough, and one of which that is not known."""
    names = ("device", "batch", "length", "weights", "gradients", "moments", "activations", "other", "total")
    rows = {"small": ("cpu", 16, 64, 20, 20, 40, 400, 520, 1000), "big": ("gpu", 32, 96, 100, 100, 200, 500, 100, 1000)}
    table = []
    for model, row in rows.items():
        values = dict(zip(names, row, strict=True))
        sizes = {f"{name}_mb": values.pop(name) for name in names[3:]}
        table.append({"model": model, "precision": "fp32"} | values | sizes)
    table[0] |= {"available_mb": 900, "enough": False}
    write_table(pa.Table.from_pylist(table, MEMORY), path, MEMORY)
    return path


@pytest.fixture
def arguments(tmp_path):
    regions = [EASY] * 5 + [AMBIGUOUS] * 3 + [HARD] * 2
    return {
        "output": tmp_path / "report.html",
        "task": "toy",
        "config": {"task": "toy", "seeds": [0]},
        "summary": write_summary(tmp_path / "summary.parquet", RUNS),
        "comparison": write_comparison(tmp_path / "comparison.parquet", INTERVALS),
        "cost_curve": write_cost_curve(tmp_path / "cost_curve.parquet", CURVE[:3]),
        "labels": ["no", "yes"],
        "references": None,
        "transfer": None,
        "datamaps": [{"reference": "small", "seed": 0, **write_datamap(tmp_path / "map.parquet", regions)}],
        "subsets": [
            {
                "reference": "small",
                "by": "ambiguous",
                "fraction": 0.3,
                "seed": 0,
                "path": write_subset(tmp_path / "subset.parquet", ["u7", "u6", "u5"]),
            },
            {
                "reference": "",
                "by": "random",
                "fraction": 0.3,
                "seed": 0,
                "path": write_subset(tmp_path / "random.parquet", ["u0"]),
            },
        ],
        "train": write_data(tmp_path / "data.parquet"),
        "checks": write_checks(tmp_path / "checks.parquet"),
        "group": "kind",
        "metric": "accuracy",
        "judging": {"big": ["ftft"]},
        "costs": [
            {"rule": "train_reference", "name": "small", "path": write_cost(tmp_path / f"cost{seed}.parquet", seed)}
            for seed in (0, 1)
        ],
        "lineage": {"edges": [["data", "m"]], "nodes": {"data": ["download", "data"], "m": ["train_main", "m"]}},
        "budgets": {},
        "stopping": [],
        "blur_text": False,
        "forecast": write_forecast(tmp_path / "forecast.parquet"),
        "memory": write_memory(tmp_path / "memory.parquet"),
    }


def write(arguments):
    tables = {field.name: arguments[field.name] for field in fields(webpage.Inputs)}
    told = {name: value for name, value in arguments.items() if name not in {*tables, "output"}}
    webpage.write(arguments["output"], told, webpage.Inputs(**tables))


def written(arguments):
    write(arguments)
    return Page(arguments["output"].read_text(encoding="utf-8"))


def test_results_and_headline(arguments):
    page = written(arguments)
    difference = "+10.00 [+2.00, +18.00]"
    assert ["ftft", "small", "55.00", difference, "60.0", "80.0", "30", "1", "90.00", "60.00", "50.00"] in page.rows
    assert ["erm", EN_DASH, "45.00", EN_DASH, "100.0", "100.0", "90", "1", "90.00", "50.00", "40.00"] in page.rows
    assert (
        "big: ftft (reference small) has the highest mean OOD accuracy, 55.00 %: 10.00 points above ERM (all training "
        "data) at 60.0 % of ERM's training FLOPs and 80.0 % of its seconds, over one seed. The 95 % interval of the "
        "difference to ERM, over test examples alone, is +2.00 to +18.00 points, which leaves out zero. One seed shows "
        "no spread: how another would do is not known."
    ) in page.text
    assert "2 runs of 1 main model, seed 0; scored by accuracy" in page.text


def test_the_forecast_against_what_came_of_it(arguments):
    page = written(arguments)
    headings = ["preparation", "in all", "must stop by", "can stop at", "pays"]
    assert ["method", "reference", *headings, "stopped at step", "forecast by then", "cost by then"] in page.rows
    # It stopped at step 30: 22.5 + 30 of ERM's 90 were forecast, 60 it cost.
    expected = ["25.0", "125.0", "67 (75 %)", "20", "if it stops early", "30", "58.3", "66.7"]
    assert ["ftft", "small", *expected] in page.rows
    assert ["erm", EN_DASH, "0.0", "100.0", *[EN_DASH] * 3, "90", "100.0", "111.1"] in page.rows
    assert ["dm", "big", "100.0", "200.0", *[EN_DASH] * 2, "no", *[EN_DASH] * 3] in page.rows  # it has not run
    assert "dm (reference big): cannot pay: the reference alone costs 100 % of ERM" in page.text


def test_the_memory_of_trainings(arguments):
    page = written(arguments)
    headings = ["largest pass", "weights", "gradients", "optimizer", "activations", "other", "in all", "there is"]
    assert ["model", "on", *headings] in page.rows
    assert ["small", "CPU, fp32", "16 x 64", "20", "20", "40", "400", "520", "1,000", "900"] in page.rows
    assert ["big", "GPU, fp32", "32 x 96", "100", "100", "200", "500", "100", "1,000", EN_DASH] in page.rows
    assert "small: training it takes about 1,000 MB, and its resources.mem_mb is 900; set resources.mem_mb" in page.text
    assert "big: training it takes" not in page.text


def test_verdicts_on_references(arguments, tmp_path):
    assert "Which references are suitable" not in written(arguments).text
    rows = [
        ("small", 0, 0.91, 0.625, "tiny, seed 0", 0.07, "doubtful", "it finds 7.0 % hard"),
        ("tiny", 0, 0.4, None, None, None, "too weak", "not above chance"),
        *[("fair", seed, 0.8, 0.8, "small, seed 0", 0.01 + seed / 20, v, "") for seed, v in enumerate(VERDICTS)],
    ]
    names = ("reference", "seed", "dev", "ood_dev", "compared_with", "lost", "verdict", "reason")
    common = {"chance": 0.5, "ambiguous": 0.33, "easy": 0.57, "hard": 0.1}
    table = pa.Table.from_pylist([common | dict(zip(names, row, strict=True)) for row in rows], REFERENCES)
    write_table(table, tmp_path / "references.parquet", REFERENCES)
    page = written(arguments | {"references": tmp_path / "references.parquet"})
    assert ["small", "0", "91.0", "62.5", "10.0", "7.0", "tiny, seed 0", "doubtful: it finds 7.0 % hard"] in page.rows
    assert (
        "judged before a main model was trained: small doubtful; tiny too weak; fair suitable (1 of 3 seeds), doubtful "
        "(1 of 3 seeds), too weak (1 of 3 seeds)."
    ) in page.text
    assert ["tiny", "0", "40.0", EN_DASH, "10.0", EN_DASH, EN_DASH, "too weak: not above chance"] in page.rows
    assert "What big then did ftft, doubtful (1 run): +10.00 points to ERM." in page.text
    assert ["reference", "verdict", "seed", "lost", "ftft to ERM"] in page.rows
    assert ["small", "doubtful", "0", "7.0", "+10.00"] in page.rows


def test_models_that_predict_one_class_are_named():
    rows = [
        {"main": "big", "method": method, "reference": reference, "seed": seed, "dataset": dataset}
        | {"metric": "predicted_classes", "value": value}
        for method, reference, seed, values in (
            ("erm", "", 0, (1.0, 1.0)),
            ("erm", "", 1, (1.0, 2.0)),  # one class on one data set alone
            ("ftft", "small", 1, (1.0, 1.0)),
        )
        for dataset, value in zip(("in_distribution", "far"), values, strict=True)
    ]
    assert sentences.collapsed_sentence(pa.Table.from_pylist(rows, SUMMARY)) == (
        "These models predict one class whatever they read, so their scores mean nothing: big, erm, seed 0; big, ftft "
        "(reference small), seed 1."
    )
    assert sentences.collapsed_sentence(pa.Table.from_pylist(rows[2:4], SUMMARY)) is None
    assert sentences.collapsed_sentence(pa.Table.from_pylist([], SUMMARY)) is None


def test_what_main_models_did_by_verdict():
    verdicts = ["suitable", "doubtful", "too weak", "too weak"]
    known = {"verdict": verdicts, "dev": [0.9, 0.8, 0.7, 0.6], "ood_dev": [0.5] * 4, "hard": 0.1}
    table = pd.DataFrame(known | {"lost": [0.01, 0.06, 0.2, 0.1], "ftft to ERM": [0.02, -0.01, -0.03, -0.05]})
    # Losses rank 1 2 4 3 and differences 4 3 2 1: 1 - 6 * (9 + 1 + 4 + 4) / 60 = -0.8. All OOD dev scores are equal.
    assert sentences.outcome_sentence(table, "ftft").replace("\N{MINUS SIGN}", "-") == (
        "ftft, suitable (1 run): +2.00 points to ERM; doubtful (1 run): -1.00 points to ERM; too weak (2 runs): -4.00 "
        "points to ERM on average, -5.00 at worst. Rank correlation of the difference: -0.80 with lost, 1.00 with the "
        "dev score."
    )


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([], None),
        ([("ftft", 200.0, 0.1, 0.2)], "big: no method costs less than ERM."),
        ([("half", 50.0, -0.1, -0.01)], "big: no method that costs less than ERM keeps up with it."),
        (
            [("half", 50.0, -0.02, 0.01), ("tenth", 40.0, 0.01, 0.03), ("more", 200.0, 0.1, 0.2)],
            "big: cheaper than ERM and not clearly below it (the interval of the difference reaches zero): tenth "
            "(reference small) at 40.0 % of its FLOPs (+1.00 points); half (reference small) at 50.0 % of its FLOPs "
            "(\N{MINUS SIGN}2.00 points).",
        ),
        ([(f"m{cost}", cost, 0.0, 0.0) for cost in (90.0, 80.0, 70.0, 60.0, 50.0)], "(+0.00 points); and 2 more."),
    ],
)
def test_what_is_cheaper_and_as_good(runs, sentence):
    """``runs``: (method, cost, difference to ERM, high end of its interval)."""
    rows = [("erm", "", 100.0, np.nan, np.nan)] + [(name, "small", *values) for name, *values in runs]
    index = pd.MultiIndex.from_tuples([("big", *row[:2]) for row in rows], names=["main", "method", "reference"])
    columns = pd.MultiIndex.from_tuples([(COSTS, "FLOPs"), (DIFFERENCE, "mean"), (DIFFERENCE, "high")])
    table = pd.DataFrame([row[2:] for row in rows], index, columns)
    found = sentences.savings(table, "big")
    assert found == sentence or (found and sentence and found.endswith(sentence))
    if runs:
        assert sentences.savings(table[1:], "big") is None  # without ERM


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ({}, []),
        ({"a": 0.5}, []),  # nothing to compare it with
        (
            {"a": 0.5, "erm_half": 0.5},
            ["big, mean OOD F1 in percent with 50 % of the steps: a (reference small) 80.00, erm_half 70.00."],
        ),
        (
            {"a": 1 / 3, "erm_half": 1 / 3, "b": 1 / 3, "c": 0.1},
            [
                "big, mean OOD F1 in percent with 33.3 % of the steps: b 90.00, a (reference small) 80.00, "
                "erm_half 70.00."
            ],
        ),
    ],
)
def test_methods_with_the_same_number_of_steps_are_compared(budgets, said):
    rows = [("erm", "", 0.95), ("erm_half", "", 0.7), ("a", "small", 0.8), ("b", "", 0.9), ("c", "", 0.2)]
    index = pd.MultiIndex.from_tuples([("big", *row[:2]) for row in rows], names=["main", "method", "reference"])
    columns = pd.MultiIndex.from_tuples([(OOD_MEAN, "mean")])
    table = pd.DataFrame([[row[2]] for row in rows], index, columns)
    assert sentences.budget_sentences(table, "big", "F1", budgets) == said


def test_where_groups_lie_by_hand(arguments):
    page = written(arguments)
    for statement in (
        "0 of 2 counter_example examples (0.0 %) lie in the hard-to-learn region, against 0.4 (20.0 %) expected by "
        "chance (the region's share of the data).",
        "2 of 2 counter_example examples (100.0 %) are in the ambiguous subset of 30 %, against 0.6 (30.0 %) expected "
        "by chance (the subset's share of the data).",
        "2 of 2 wrong_label examples (100.0 %) lie in the hard-to-learn region, against 0.4 (20.0 %) expected",
        "0 of 2 wrong_label examples (0.0 %) are in the ambiguous subset of 30 %, against 0.6 (30.0 %) expected",
    ):
        assert statement in page.text
    assert ["easy", "6", "5 (83.3 %)", "1 (16.7 %)", "0 (0.0 %)", "1 (16.7 %)"] in page.rows
    assert ["all (chance)", "10", "5 (50.0 %)", "3 (30.0 %)", "2 (20.0 %)", "3 (30.0 %)"] in page.rows
    assert "of 6 easy examples" not in page.text


def test_every_subset_of_a_reference_is_counted_and_the_plainly_ambiguous_ones_are_spoken_of(arguments, tmp_path):
    before = written(arguments)
    path = write_subset(tmp_path / "equal.parquet", ["u0", "u9"])
    arguments["subsets"].append(arguments["subsets"][0] | {"by": "ambiguous+equal", "fraction": 0.2, "path": path})
    page = written(arguments)
    assert ["easy", "6", "5 (83.3 %)", "1 (16.7 %)", "0 (0.0 %)", "1 (16.7 %)", "1 (16.7 %)"] in page.rows
    assert ["wrong_label", "2", "0 (0.0 %)", "0 (0.0 %)", "2 (100.0 %)", "0 (0.0 %)", "1 (50.0 %)"] in page.rows
    headings = next(row for row in page.rows if row[:2] == ["kind", "examples"])
    assert headings[-2:] == ["ambiguous subset of 30 %", "ambiguous+equal subset of 20 %"]
    assert page.text.count("expected by chance") == before.text.count("expected by chance")


def test_counts_of_groups_are_means_over_seeds(arguments, tmp_path):
    # In the second seed one of the two wrong labels, and no other example, is hard to learn; it has no subset.
    regions = [EASY] * 6 + [AMBIGUOUS] * 3 + [HARD]
    arguments["datamaps"].append({"reference": "small", "seed": 1, **write_datamap(tmp_path / "map1.parquet", regions)})
    page = written(arguments)
    assert (
        "1.5 of 2 wrong_label examples (75.0 %) lie in the hard-to-learn region, against 0.3 (15.0 %) expected"
        in page.text
    )
    assert "2 of 2 counter_example examples (100.0 %) are in the ambiguous subset of 30 %" in page.text
    assert "means over the seeds 0, 1" in page.text


def test_the_page_stands_on_its_own(arguments):
    written(arguments)
    html = re.sub(r'(?s)<script type="text/plain".*?</script>', "", arguments["output"].read_text(encoding="utf-8"))
    assert not re.findall(r"https?://|url\(|<link(?! rel=\"icon\" href=\"data:)|src=", html)


def test_every_part_of_the_script_is_in_the_page_and_type_checked():
    parts = {path.stem: path.read_text(encoding="utf-8") for path in (webpage.TEMPLATES / "page").glob("*.js")}
    assert sorted(parts) == sorted(webpage.SCRIPTS)
    assert [name for name, text in parts.items() if not text.startswith("// @ts-check\n")] == []


def test_same_bytes_twice(arguments):
    written(arguments)
    before = arguments["output"].read_bytes()
    written(arguments)
    assert arguments["output"].read_bytes() == before


def test_texts_are_escaped(arguments, tmp_path):
    before = written(arguments).tags.count("script")
    arguments["train"] = write_data(tmp_path / "evil.parquet", [EVIL] * 2 + KINDS[2:])
    arguments["task"] = EVIL
    arguments["config"] = {"task": EVIL, "data": {"labels": [EVIL]}}
    page = written(arguments)
    assert page.tags.count("script") == before
    assert f"0 of 2 {EVIL} examples (0.0 %) lie in the hard-to-learn region" in page.text
    assert f"task: {EVIL}" in page.text
    assert json.loads(page.packed["explorer"])["examples"]["text_a"] == [EVIL] * 10


def test_what_it_took_adds_up_over_seeds(arguments):
    page = written(arguments)
    # 100 and 101 s of training; 1,000 and 1,001 MB
    row = ["train_reference", "small", "2", "8.00e+12", "201.0", "40.0", "6.0", "1,001", "some GPU, bf16"]
    assert row in page.rows


def test_configuration_and_versions_are_shown(arguments):
    page = written(arguments)
    assert "task: toy seeds: - 0" in page.text
    assert f"numpy {np.__version__}" in page.text


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        (
            [RUNS[0], ("dm", "big", 0, (0.4, 0.4), 200.0, 25.0, 90)],
            "big: ERM has the highest mean OOD accuracy, 45.00 %: no method exceeds plain training on all data. The "
            "closest, dm (reference big), is 5.00 points below at 200.0 % of its training FLOPs and 250.0 % of its "
            "seconds, over one seed. The 95 % interval of the difference to ERM, over test examples alone, is "
            "\N{MINUS SIGN}12.00 to +2.00 points, which includes zero, so it may be chance.",
        ),
        (
            [RUNS[0], ("dm", "big", 0, (0.4, 0.4), 200.0, 25.0, 90), ("ftft", "small", 0, (0.4, 0.4), 60.0, 8.0, 30)],
            "The closest, ftft (reference small), is 5.00 points below at 60.0 % of its training FLOPs",
        ),
        (RUNS[1:], "big: ftft (reference small) has the highest mean OOD accuracy, 55.00 %, over one seed."),
        (
            [*RUNS, ("erm", "", 1, (0.6, 0.5), 100.0, 10.0, 90), ("ftft", "small", 1, (0.65, 0.55), 60.0, 8.0, 30)],
            # Differences to ERM: 10 and 5 points; their standard deviation is 5 / sqrt(2).
            "7.50 points above ERM (all training data) at 60.0 % of ERM's training FLOPs and 80.0 % of its seconds, "
            "over 2 seeds. The 95 % interval of the difference to ERM, over seeds and test examples, is +2.00 to "
            "+18.00 points, which leaves out zero. The difference varies by 3.54 points (standard deviation) over "
            "seeds.",
        ),
    ],
)
def test_the_sentence_claims_what_the_table_shows(arguments, tmp_path, runs, sentence):
    arguments["summary"] = write_summary(tmp_path / "other.parquet", runs)
    curve = [point for point in CURVE if point[0] in {run[0] for run in runs}]
    arguments["cost_curve"] = write_cost_curve(tmp_path / "curve.parquet", curve)
    assert sentence in written(arguments).text


def test_what_it_cost_to_catch_up_with_erm(arguments, tmp_path):
    runs = [*RUNS, ("dm", "big", 0, (0.4, 0.4), 200.0, 25.0, 90)]
    arguments["summary"] = write_summary(tmp_path / "other.parquet", runs)
    arguments["cost_curve"] = write_cost_curve(tmp_path / "curve.parquet", CURVE)
    page = written(arguments)
    assert ["erm", EN_DASH, "1 of 1", "100.0", "100.0"] in page.rows
    assert ["ftft", "small", "1 of 1", "60.0", "80.0"] in page.rows
    assert ["dm", "big", "0 of 1", "never", "never"] in page.rows


def test_without_erm_there_is_a_curve_but_nothing_to_catch_up_with(arguments, tmp_path):
    arguments["summary"] = write_summary(tmp_path / "other.parquet", RUNS[1:])
    curve = [(*point[:-1], None) for point in CURVE if point[0] == "ftft"]
    arguments["cost_curve"] = write_cost_curve(tmp_path / "curve.parquet", curve)
    page = written(arguments)
    found = json.loads(page.packed["charts"], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert set(found) == {"curves-big", "robustness-big", "lineage"}
    flops, seconds = found["robustness-big"]["variants"]
    assert (flops["x"], seconds["x"]) == ([[60.0], [60.0]], [[], [8.0]])
    assert flops["title"] == "training FLOPs, reference included"
    assert "1 of 1" not in page.text


def test_calibration_and_classes(arguments, tmp_path):
    assert "Calibration" not in written(arguments).text
    scores = pq.read_table(arguments["summary"]).to_pylist()
    # In distribution, plain, reversed; the mean over the two OOD sets counts.
    shown = {"ece": (0.02, 0.1, 0.2), "f1/<yes>": (0.9, 0.5, 0.7), "f1/no": (0.9, 0.4, 0.4)}
    more = [
        row | {"metric": metric, "value": values[number % 3]}
        for metric, values in shown.items()
        for number, row in enumerate(scores)
    ]
    table = pa.Table.from_pylist(scores + more, SUMMARY)
    write_table(table, arguments["summary"], SUMMARY)
    page = written(arguments)
    headings = ["ECE, in_\u200bdistribution", "ECE, OOD mean", "F1 of <yes>, OOD mean", "F1 of no, OOD mean"]
    assert ["method", "reference", *headings] in page.rows
    assert ["ftft", "small", "2.00", "15.00", "60.00", "40.00"] in page.rows


def test_without_groups_and_references(arguments):
    arguments |= {"group": None, "datamaps": [], "subsets": []}
    page = written(arguments)
    assert json.loads(page.packed["explorer"]) is None
    assert "No method of this experiment uses a reference model." in page.text
    assert "Where the groups" not in page.text


@pytest.mark.parametrize(("group", "row"), [("uid", ["u3", "1"]), ("label", ["0", "5"])])
def test_a_group_may_be_a_column_that_the_page_reads_anyway(arguments, group, row):
    assert row in [cells[:2] for cells in written(arguments | {"group": group}).rows]


def test_a_data_map_of_other_data(arguments, tmp_path):
    arguments["datamaps"][0] |= write_datamap(tmp_path / "short.parquet", [EASY, HARD])
    with pytest.raises(UserError, match=r"short.parquet is damaged: it does not have the rows .*; delete"):
        write(arguments)


def test_many_groups_are_cut(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(sentences, "MAX_GROUPS", 2)
    page = written(arguments)
    assert "1 rarer values of kind are left out" in page.text
    assert "counter_example examples" in page.text
    assert "wrong_label" not in page.text


def test_the_page_says_which_sets_share_texts_with_the_train_set(arguments, tmp_path):
    assert "in the train set too" not in written(arguments).text
    arguments["checks"] = write_checks(tmp_path / "shared.parquet", 5)
    assert "5 of the 50 rows of far.test (10.0 %) have texts that are in the train set too" in written(arguments).text
