"""What a score costs on the way, and when a method catches up with ERM: two methods by hand."""

import json
import math

import pandas as pd
import pyarrow as pa
import pytest
from test_summary import write_cost

from ftft.core.artifacts import read_table, write_table
from ftft.evaluation.schemas import METRICS
from ftft.results import cost_curve
from ftft.results.schemas import COST_CURVE, OOD_MEAN


def write_curve(path, scores, checkpoints, ood=True):
    """``scores``: OOD mean by step; the two OOD sets are 0.1 above and below it, in distribution it is 0.9."""
    rows = []
    for step, score in scores.items():
        sets = {"in_distribution": 0.9 if ood else score} | ({"a": score - 0.1, "b": score + 0.1} if ood else {})
        for metric, shift in (("accuracy", 0.0), ("macro_f1", -0.05), ("loss", 1.0)):
            rows += [
                {"step": step, "epoch": 0.0, "dataset": name, "split": "dev", "metric": metric, "value": value + shift}
                for name, value in sets.items()
            ]
    write_table(pa.Table.from_pylist(rows, METRICS), path, METRICS, {"checkpoints": json.dumps(checkpoints)})
    return path


@pytest.fixture
def entries(tmp_path):
    """ERM costs 100 FLOPs and 20 seconds; FTFT stops at step 20 of 30, after a reference of 10 FLOPs and 2 seconds."""
    reference = write_cost(tmp_path / "reference.parquet", [("final", "train", 50, 50, 10.0, 2.0)])
    select = write_cost(tmp_path / "select.parquet", [("final", "select", 0, 0, 0.0, 1.0)])
    found = []
    for seed, last in enumerate([0.6, 0.9]):
        erm = {"task": "nli", "main": "large", "method": "erm", "reference": "", "seed": seed, "checkpoint": "final"}
        erm |= {"interpolated": False, "training_costs": [], "other_costs": []}
        erm["curve"] = write_curve(tmp_path / f"erm{seed}.parquet", {10: 0.5, 20: 0.7, 40: last}, {"final": 40})
        erm["cost"] = write_cost(tmp_path / f"erm{seed}-cost.parquet", [("final", "train", 40, 40, 100.0, 20.0)])
        ftft = erm | {"method": "ftft", "reference": "small", "checkpoint": "stop"}
        costs = [{"cost": reference, "checkpoint": "final"}]
        ftft |= {"interpolated": False, "training_costs": costs, "other_costs": [select]}
        ftft["curve"] = write_curve(
            tmp_path / f"ftft{seed}.parquet", {10: 0.6, 20: 0.55, 30: 0.99}, {"stop": 10, "final": 30}
        )
        costs = [("stop", "train", 20, 20, 40.0, 8.0), ("final", "train", 30, 30, 60.0, 12.0)]
        ftft["cost"] = write_cost(
            tmp_path / f"ftft{seed}-cost.parquet", [*costs, ("stop", "evaluate", 20, 9, 9.0, 9.0)]
        )
        found += [erm, ftft]
    return found


def traced(entries, folder):
    cost_curve.trace(entries, folder / "curve.parquet", folder / "curve.csv")
    table = read_table(folder / "curve.parquet")
    assert table.schema.equals(COST_CURVE)
    return table


def test_a_mean_with_the_pretrained_weights_has_no_curve(entries, tmp_path):
    mean = entries[0] | {"method": "wise", "interpolated": True}
    assert traced([*entries, mean], tmp_path).equals(traced(entries, tmp_path))
    alone = traced([mean], tmp_path)
    assert alone.num_rows == 0
    assert cost_curve.reaching(alone, "accuracy").empty


def test_a_step_at_which_not_all_sets_were_scored_is_no_point(entries, tmp_path):
    """A stop rule on one OOD set looks at step 15; the mean over OOD sets is not known there."""
    path = entries[1]["curve"]
    table = read_table(path)
    more = {"step": 15, "epoch": 0.0, "dataset": "a", "split": "dev", "metric": "accuracy", "value": 0.99}
    more = pa.concat_tables([table.replace_schema_metadata(), pa.Table.from_pylist([more], METRICS)])
    before = traced(entries, tmp_path)
    write_table(more, path, METRICS, {"checkpoints": json.dumps({"stop": 10, "final": 30})})
    assert traced(entries, tmp_path).equals(before)


def test_scores_and_costs_by_hand(entries, tmp_path):
    rows = traced(entries, tmp_path).to_pandas()
    rows = rows[(rows["seed"] == 0) & (rows["metric"] == "accuracy")]
    assert set(rows["dataset"]) == {OOD_MEAN}
    found = rows[["method", "step", "value", "flops", "seconds", "reaches_erm"]].to_numpy().tolist()
    assert found == [
        ["erm", 10, pytest.approx(0.5), 25, 5, False],
        ["erm", 20, pytest.approx(0.7), 50, 10, True],
        ["erm", 40, pytest.approx(0.6), 100, 20, True],
        # Reference and selection, then half and all of the 20 steps.
        ["ftft", 10, pytest.approx(0.6), 10 + 20, 3 + 4, True],
        ["ftft", 20, pytest.approx(0.55), 10 + 40, 3 + 8, False],
    ]


def test_both_metrics_and_no_loss(entries, tmp_path):
    rows = traced(entries, tmp_path).to_pandas()
    assert rows.groupby("metric").size().to_dict() == {"accuracy": 10, "macro_f1": 10}
    first = rows[rows["metric"] == "macro_f1"].iloc[0]
    assert first["value"] == pytest.approx(0.45)


def test_the_cost_at_which_erm_is_reached(entries, tmp_path):
    found = cost_curve.reaching(traced(entries, tmp_path), "accuracy")
    # With seed 1 ERM ends at 0.9, which FTFT never reaches and ERM at its end only.
    assert found.reset_index().to_dict("records") == [
        {"main": "large", "method": "erm", "reference": "", "seeds": 2, "reached": 2, "FLOPs": 75, "seconds": 75},
        {"main": "large", "method": "ftft", "reference": "small", "seeds": 2, "reached": 1, "FLOPs": 30, "seconds": 35},
    ]


def test_never(entries, tmp_path):
    found = cost_curve.reaching(traced(entries[2:], tmp_path), "accuracy").loc["large", "ftft", "small"]
    assert (found["seeds"], found["reached"]) == (1, 0)
    assert math.isnan(found["FLOPs"])


def test_the_score_to_reach_is_that_of_the_saved_model(entries, tmp_path):
    entries = entries[:2]
    # An ERM that stopped at step 40 and kept the model of step 20, which scores 0.7.
    entries[0]["curve"] = write_curve(tmp_path / "stopped.parquet", {10: 0.65, 20: 0.7, 40: 0.6}, {"final": 20})
    rows = traced(entries, tmp_path).to_pandas()
    assert rows[rows["metric"] == "accuracy"]["reaches_erm"].tolist() == [False, True, False, False, False]


def test_without_erm(entries, tmp_path):
    table = traced(entries[1::2], tmp_path)
    assert table["reaches_erm"].null_count == table.num_rows
    assert cost_curve.reaching(table, "accuracy").empty


def test_without_ood_dev_sets_the_score_is_in_distribution(entries, tmp_path):
    entries[0]["curve"] = write_curve(tmp_path / "own.parquet", {40: 0.8}, {"final": 40}, ood=False)
    rows = traced(entries[:1], tmp_path).to_pandas()
    assert rows["dataset"].tolist() == ["in_distribution"] * 2
    assert rows["value"].tolist() == pytest.approx([0.8, 0.75])


def test_csv_has_the_same_rows_and_bytes_are_the_same_twice(entries, tmp_path):
    table = traced(entries, tmp_path)
    read = pd.read_csv(tmp_path / "curve.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(read, table.to_pandas(), check_dtype=False)
    before = [(tmp_path / f"curve.{kind}").read_bytes() for kind in ("parquet", "csv")]
    traced(entries, tmp_path)
    assert [(tmp_path / f"curve.{kind}").read_bytes() for kind in ("parquet", "csv")] == before


@pytest.mark.parametrize("known", [["in_distribution"], ["a"]])
def test_a_run_that_stopped_before_all_sets_were_scored_has_no_points(entries, tmp_path, known):
    """Its scores are of other sets than those of ERM."""
    for entry in entries[1::2]:
        table = read_table(entry["curve"]).to_pandas()
        table = pa.Table.from_pandas(table[table["dataset"].isin(known)], METRICS, preserve_index=False)
        write_table(table, entry["curve"], METRICS, {"checkpoints": json.dumps({"stop": 10, "final": 30})})
    rows = traced(entries, tmp_path).to_pandas()
    assert set(rows["method"]) == {"erm"}
    assert set(rows["dataset"]) == {OOD_MEAN}
