"""The summary of an experiment, the overview of it, and its text for the terminal: by hand."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ftft.compute.schemas import COST
from ftft.core.artifacts import read_table, write_table
from ftft.core.errors import UserError
from ftft.evaluation.schemas import METRICS
from ftft.results import summary
from ftft.results.cells import EN_DASH
from ftft.results.overview import COSTS, DIFFERENCE, SEEDS, STEP, headline, overview
from ftft.results.schemas import COMPARISON, OOD_MEAN, SUMMARY
from ftft.results.text import as_text, formatted


def write_cost(path, rows):
    """``rows``: (checkpoint, stage, steps, examples, flops, seconds)."""
    table = pa.Table.from_pylist(
        [
            dict(zip(("checkpoint", "stage", "steps", "examples", "flops", "seconds"), row, strict=True))
            | {"tokens": 0, "tokens_padded": 0, "device": "cpu", "peak_memory_mb": 0.0}
            for row in rows
        ],
        schema=COST,
    )
    write_table(table, path, COST)
    return path


def write_metrics(path, rows):
    """``rows``: (dataset, split, metric, value)."""
    table = pa.Table.from_pylist(
        [
            dict(zip(("dataset", "split", "metric", "value"), row, strict=True)) | {"step": 0, "epoch": 0.0}
            for row in rows
        ],
        schema=METRICS,
    )
    write_table(table, path, METRICS)
    return path


def entry(folder, method, *, reference="", seed=0, scores, checkpoint="final", cost, reference_costs=()):
    """An entry whose evaluation has the given scores on the in-distribution dev set and two OOD sets."""
    name = folder / f"{method}{reference}{seed}"
    dev, *ood = scores
    rows = [("in_distribution", "dev", "accuracy", dev)]
    rows += [(f"set{i}", "test", "accuracy", value) for i, value in enumerate(ood)]
    return {
        "task": "nli",
        "main": "large",
        "method": method,
        "reference": reference,
        "seed": seed,
        "metrics": write_metrics(f"{name}-metrics.parquet", rows),
        "predictions": {},
        "curve": "",
        "cost": write_cost(f"{name}-cost.parquet", cost),
        "checkpoint": checkpoint,
        "interpolated": False,
        "training_costs": [{"cost": path, "checkpoint": "final"} for path in reference_costs],
        "other_costs": [],
    }


@pytest.fixture
def entries(tmp_path):
    """ERM and FTFT, two seeds each; FTFT stops at half the steps and its reference costs a tenth of ERM."""
    reference = write_cost(
        tmp_path / "reference.parquet",
        [("final", "train", 100, 3200, 10.0, 2.0), ("final", "evaluate", 100, 500, 900.0, 90.0)],
    )
    found = []
    for seed, offset in enumerate([0.0, 0.02]):
        found.append(
            entry(
                tmp_path,
                "erm",
                seed=seed,
                scores=[0.8, 0.5 + offset, 0.3],
                cost=[("final", "train", 100, 3200, 100.0, 20.0), ("final", "start", 0, 0, 0.0, 5.0)],
            )
        )
        found.append(
            entry(
                tmp_path,
                "ftft",
                reference="small",
                seed=seed,
                scores=[0.7, 0.6, 0.4 + 2 * offset],
                checkpoint="stopped",
                cost=[
                    ("stopped", "train", 50, 1600, 50.0, 9.0 + 2 * seed),
                    ("stopped", "evaluate", 50, 400, 33.0, 3.0),
                    ("final", "train", 100, 3200, 100.0, 20.0),
                ],
                reference_costs=[reference],
            )
        )
    return found


def test_every_reference_that_selected_is_paid_for(entries, tmp_path):
    other = write_cost(tmp_path / "other.parquet", [("final", "train", 100, 3200, 7.0, 1.5)])
    entries[1]["training_costs"].append({"cost": other, "checkpoint": "final"})
    row = next(row for row in summarized(entries, tmp_path).to_pylist() if row["method"] == "ftft")
    assert (row["flops"], row["seconds"]) == (50 + 10 + 7, 9 + 2 + 1.5)


def summarized(entries, tmp_path):
    summary.summarize(entries, tmp_path / "summary.parquet", tmp_path / "summary.csv")
    return read_table(tmp_path / "summary.parquet")


def test_one_row_per_run_dataset_and_metric(entries, tmp_path):
    table = summarized(entries, tmp_path)
    assert table.schema.equals(SUMMARY)
    assert table.num_rows == 4 * 3
    common = {"task": "nli", "main": "large", "dataset": "set0", "split": "test", "metric": "accuracy"}
    rows = [row for row in table.to_pylist() if row["dataset"] == "set0"]
    assert rows[:2] == [
        common
        | {"method": "erm", "reference": "", "seed": 0, "value": 0.5}
        | {"step": 100, "train_examples": 3200, "flops": 100.0, "seconds": 20.0},
        common
        | {"method": "ftft", "reference": "small", "seed": 0, "value": 0.6}
        | {"step": 50, "train_examples": 1600, "flops": 60.0, "seconds": 11.0},
    ]


def test_csv_has_the_same_rows(entries, tmp_path):
    table = summarized(entries, tmp_path)
    read = pd.read_csv(tmp_path / "summary.csv", keep_default_na=False)
    assert read.to_dict("records") == table.to_pylist()


def test_same_bytes_twice(entries, tmp_path):
    summarized(entries, tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("summary.parquet", "summary.csv")]
    summarized(entries, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("summary.parquet", "summary.csv")] == before


def test_a_missing_checkpoint_is_named(entries, tmp_path):
    entries[0]["checkpoint"] = "stopped"
    with pytest.raises(UserError, match=r"erm0-cost.parquet is damaged: it has 0 rows .*'stopped'.*; delete"):
        summarized(entries, tmp_path)
    assert not (tmp_path / "summary.parquet").exists()


def test_overview_by_hand(entries, tmp_path):
    table = overview(summarized(entries, tmp_path), "accuracy")
    erm, ftft = table.loc["large", "erm", ""], table.loc["large", "ftft", "small"]

    assert list(table.columns.unique(level=0))[-3:] == ["in_distribution", "set0", "set1"]
    assert erm["set0", "mean"] == pytest.approx(0.51)
    assert erm["set0", "sd"] == pytest.approx(0.02 / math.sqrt(2))  # ddof 1
    assert ftft["in_distribution", "mean"] == pytest.approx(0.7)
    # OOD means: ERM 0.40 and 0.41, FTFT 0.50 and 0.52.
    assert ftft[OOD_MEAN, "mean"] == pytest.approx(0.51)
    assert ftft[OOD_MEAN, "sd"] == pytest.approx(np.std([0.50, 0.52], ddof=1))
    # Differences with the same seed: 0.10 and 0.11.
    assert ftft[DIFFERENCE, "mean"] == pytest.approx(0.105)
    assert ftft[DIFFERENCE, "sd"] == pytest.approx(np.std([0.10, 0.11], ddof=1))
    assert math.isnan(erm[DIFFERENCE, "mean"])
    # 50 + 10 of 100 FLOPs; 9 + 2 and 11 + 2 of 20 seconds.
    assert ftft[COSTS, "FLOPs"] == pytest.approx(60)
    assert ftft[COSTS, "seconds"] == pytest.approx(60)
    assert erm[COSTS, "FLOPs"] == erm[COSTS, "seconds"] == 100
    assert ftft[STEP, "mean"] == 50
    assert ftft[SEEDS, "number"] == 2


def test_one_seed_has_no_spread(entries, tmp_path):
    table = overview(summarized(entries[:2], tmp_path), "accuracy")
    assert table.xs("sd", axis=1, level=1).isna().all(axis=None)
    assert formatted(table).loc[("large", "ftft", "small"), OOD_MEAN] == "50.00"


def test_without_erm_nothing_is_relative(entries, tmp_path):
    table = overview(summarized(entries[1::2], tmp_path), "accuracy")
    assert table[COSTS].isna().all(axis=None)
    text = formatted(table).iloc[0]
    assert text["FLOPs (ERM = 100)"] == text["seconds (ERM = 100)"] == text[DIFFERENCE] == EN_DASH


def test_each_main_model_has_its_own_baseline(entries, tmp_path):
    cheap = [dict(run, main="small-main") for run in entries]
    for run in cheap:
        if run["method"] == "erm":
            run["cost"] = write_cost(tmp_path / "cheap.parquet", [("final", "train", 100, 3200, 30.0, 10.0)])
    table = overview(summarized([*entries, *cheap], tmp_path), "accuracy")
    costs = table.xs("ftft", level="method")[COSTS, "FLOPs"]
    assert costs.to_dict() == {("large", "small"): pytest.approx(60), ("small-main", "small"): pytest.approx(200)}


def test_the_test_split_goes_before_dev(tmp_path):
    run = entry(tmp_path, "erm", scores=[0.8, 0.5, 0.3], cost=[("final", "train", 1, 1, 1.0, 1.0)])
    run["metrics"] = write_metrics(
        tmp_path / "metrics.parquet",
        [
            ("set0", "dev", "macro_f1", 0.1),
            ("set0", "test", "macro_f1", 0.2),
            ("set0", "test", "accuracy", 0.9),
            ("in_distribution", "dev", "macro_f1", 0.3),
            ("in_distribution", "test", "macro_f1", 0.4),
        ],
    )
    table = overview(summarized([run], tmp_path), "macro_f1")
    assert table["set0", "mean"].tolist() == [0.2]
    assert table["in_distribution", "mean"].tolist() == [0.4]


def test_without_ood_sets_the_difference_is_in_distribution(entries, tmp_path):
    rows = summarized(entries, tmp_path)
    rows = rows.filter(pa.compute.equal(rows["dataset"], "in_distribution"))
    table = overview(rows, "accuracy")
    assert headline(table) == "in_distribution"
    assert table.loc[("large", "ftft", "small"), (DIFFERENCE, "mean")] == pytest.approx(-0.1)


def test_methods_stay_in_the_order_of_the_entries(entries, tmp_path):
    table = overview(summarized(entries[::-1], tmp_path), "accuracy")
    assert list(table.index.get_level_values("method")) == ["ftft", "erm"]


def test_the_text_says_what_decides(entries, tmp_path):
    table = overview(summarized(entries, tmp_path), "accuracy")
    none = EN_DASH
    assert as_text(table, "accuracy").splitlines() == [
        "large, 2 seeds, accuracy in percent ± spread over seeds, cost in FLOPs (ERM = 100)",
        "",
        "method  reference      OOD mean         to ERM   cost  steps",
        f"erm     {none}          40.50 ± 0.71              {none}  100.0    100",
        "ftft    small      51.00 ± 1.41  +10.50 ± 0.71   60.0     50",
    ]


def test_the_text_leaves_out_what_says_nothing(entries, tmp_path):
    """Without a baseline there is neither difference nor cost; without OOD sets the score is in distribution."""
    rows = summarized([each for each in entries if each["method"] == "ftft"][:1], tmp_path)
    rows = rows.filter(pa.compute.equal(rows["dataset"], "in_distribution"))
    lines = as_text(overview(rows, "accuracy"), "accuracy").splitlines()
    assert lines[0] == "large, 1 seed, accuracy in percent"
    assert lines[2].split() == ["method", "reference", "in_distribution", "steps"]


def test_the_text_names_main_models_and_seeds_where_they_differ(entries, tmp_path):
    entries[3]["main"] = "other"
    lines = as_text(overview(summarized(entries, tmp_path), "accuracy"), "accuracy").splitlines()
    assert lines[0] == "accuracy in percent ± spread over seeds, cost in FLOPs (ERM = 100)"
    assert lines[2].split()[0] == "main"
    assert [(line.split()[0], line.split()[-1]) for line in lines[3:]] == [
        ("large", "2"),
        ("large", "1"),
        ("other", "1"),
    ]


def test_the_text_fits_the_terminal_however_many_sets_there_are(entries, tmp_path):
    reference = entries[2]["training_costs"]
    runs = [
        entry(
            tmp_path,
            "erm" if number == 0 else f"a_method_{number}",
            reference="" if number == 0 else "minilm-l4",
            seed=seed,
            scores=[0.9, *[0.5 + number / 100 + seed / 50] * 6],
            cost=[("final", "train", 40_000, 32, 100.0, 10.0)],
            reference_costs=[each["cost"] for each in reference][: number > 0],
        )
        for number in range(13)
        for seed in range(4)
    ]
    table = summarized(runs, tmp_path)
    comparison = pa.Table.from_pylist(
        [
            dict.fromkeys(COMPARISON.names)
            | {"main": "large", "method": f"a_method_{number}", "reference": "minilm-l4"}
            | {"dataset": OOD_MEAN, "metric": "accuracy", "difference_low": -0.4567, "difference_high": -0.1234}
            for number in range(1, 13)
        ],
        COMPARISON,
    )
    lines = as_text(overview(table, "accuracy", comparison=comparison), "accuracy").splitlines()
    assert len(lines) == 2 + 1 + 13
    assert max(map(len, lines)) <= 85
    assert "[-45.67, -12.34]" in lines[-1].replace("\N{MINUS SIGN}", "-")


def test_data_map_and_selection_cost_too(entries, tmp_path):
    entries[1]["other_costs"] = [
        write_cost(tmp_path / f"{stage}.parquet", [("final", stage, 0, 0, 0.0, seconds)])
        for stage, seconds in (("datamap", 3.0), ("select", 0.5))
    ]
    row = next(row for row in summarized(entries, tmp_path).to_pylist() if row["method"] == "ftft")
    assert (row["flops"], row["seconds"]) == (60, 9 + 2 + 3.5)


def compared(rows):
    """A comparison; ``rows``: (method, reference, dataset, metric, difference and its interval)."""
    names = ("method", "reference", "dataset", "metric", "difference", "difference_low", "difference_high")
    return pa.Table.from_pylist([{"main": "large"} | dict(zip(names, row, strict=True)) for row in rows], COMPARISON)


def test_the_text_is_written_beside_the_tables(entries, tmp_path):
    comparison = compared([("ftft", "small", OOD_MEAN, "accuracy", 0.105, -0.01, 0.2)])
    write_table(comparison, tmp_path / "comparison.parquet", COMPARISON)
    outputs = [tmp_path / f"summary.{kind}" for kind in ("parquet", "csv", "txt")]
    summary.write(entries, tmp_path / "comparison.parquet", "accuracy", *outputs)
    text = outputs[2].read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")
    assert text.endswith("50\n")
    assert text.split()[-5:] == ["+10.50", "[-1.00,", "+20.00]", "60.0", "50"]
    assert read_table(outputs[0]).equals(summarized(entries, tmp_path))


def test_differences_are_shown_with_the_interval_of_the_comparison(entries, tmp_path):
    comparison = compared(
        [
            ("ftft", "small", "set0", "accuracy", 0.5, 0.4, 0.6),
            ("ftft", "small", OOD_MEAN, "macro_f1", 0.5, 0.4, 0.6),
            ("ftft", "small", OOD_MEAN, "accuracy", 0.105, -0.01, 0.2),
            ("erm", "", OOD_MEAN, "accuracy", None, None, None),
        ]
    )
    table = overview(summarized(entries, tmp_path), "accuracy", comparison=comparison)
    assert table.loc[("large", "ftft", "small"), (DIFFERENCE, "low")] == -0.01
    text = formatted(table)[DIFFERENCE]
    assert text["large", "ftft", "small"] == "+10.50 [\N{MINUS SIGN}1.00, +20.00]"
    assert text["large", "erm", ""] == EN_DASH
    plain = overview(summarized(entries, tmp_path), "accuracy")
    pd.testing.assert_frame_equal(table.drop(columns=[(DIFFERENCE, "low"), (DIFFERENCE, "high")]), plain)
