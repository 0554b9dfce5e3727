"""The comparison with ERM: values by hand, and intervals that cover what they say."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ftft.core.artifacts import read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.evaluation.schemas import predictions_schema
from ftft.results import comparison, statistics
from ftft.results.cells import MINUS, number_text
from ftft.results.schemas import COMPARISON, OOD_MEAN

LABELS = [0, 0, 0, 1, 1]


def write_predictions(path, predicted, labels=LABELS, uids=None):
    schema = predictions_schema(2)
    rows = [
        {"uid": uid, "label": label, "logits": [1.0 - 2 * found, 0.0]}
        for uid, label, found in zip(uids or map(str, range(len(labels))), labels, predicted, strict=True)
    ]
    write_table(pa.Table.from_pylist(rows, schema), path, schema)
    return path


def entry(folder, method, seed, *predicted, reference=""):
    """A run with predictions in distribution and on the OOD sets a and b."""
    paths = {
        name: write_predictions(folder / f"{method}{reference}{seed}/{name}.parquet", found)
        for name, found in zip(("b", IN_DISTRIBUTION, "a"), predicted, strict=True)
    }
    names = {"task": "nli", "main": "large", "method": method, "reference": reference, "seed": seed}
    return names | {"predictions": paths}


RIGHT, FOUR, THREE, NONE = [0, 0, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 1, 1, 0], [1, 1, 1, 0, 0]


@pytest.fixture
def entries(tmp_path):
    """ERM and FTFT with two seeds, the later one first."""
    return [
        entry(tmp_path, "erm", 1, THREE, RIGHT, THREE),
        entry(tmp_path, "erm", 0, FOUR, RIGHT, NONE),
        entry(tmp_path, "ftft", 1, RIGHT, RIGHT, FOUR, reference="small"),
        entry(tmp_path, "ftft", 0, FOUR, FOUR, THREE, reference="small"),
    ]


def compared(entries, folder):
    comparison.compare(entries, folder / "comparison.parquet", folder / "comparison.csv", resamples=500)
    table = read_table(folder / "comparison.parquet")
    assert table.schema.equals(COMPARISON)
    return table.to_pandas().set_index(["method", "dataset", "metric"])


def test_means_and_differences_by_hand(entries, tmp_path):
    table = compared(entries, tmp_path)
    # ERM on a and b: seed 0 has 0 and 0.8, seed 1 has 0.6 and 0.6; FTFT: 0.6 and 0.8, 0.8 and 1.
    erm, ftft = table.loc["erm", OOD_MEAN, "accuracy"], table.loc["ftft", OOD_MEAN, "accuracy"]
    assert erm["mean"] == pytest.approx(0.5)
    assert erm["sd"] == pytest.approx(math.sqrt(2) * 0.1)
    assert ftft["mean"] == pytest.approx(0.8)
    assert ftft["sd"] == pytest.approx(math.sqrt(2) * 0.1)
    # Same seeds: 0.7 - 0.4 and 0.9 - 0.6.
    assert ftft["difference"] == pytest.approx(0.3)
    assert ftft["difference_sd"] == pytest.approx(0, abs=1e-12)
    assert ftft["difference_low"] <= 0.3 <= ftft["difference_high"]
    assert erm[["difference", "difference_sd", "difference_low", "difference_high"]].isna().all()
    assert (table["seeds"] == 2).all()
    assert table.loc["ftft", "b", "accuracy"]["difference"] == pytest.approx(((1 - 0.6) + (0.8 - 0.8)) / 2)
    # FTFT in distribution: all right, and one of class 1 taken for 0, whose F1 are 6/7 and 2/3.
    assert table.loc["ftft", IN_DISTRIBUTION, "macro_f1"]["mean"] == pytest.approx((1 + (6 / 7 + 2 / 3) / 2) / 2)


def test_rows_are_in_order(entries, tmp_path):
    rows = list(compared(entries, tmp_path).index)
    assert rows[:4] == [("erm", OOD_MEAN, metric) for metric in ("accuracy", "macro_f1")] + [
        ("erm", IN_DISTRIBUTION, metric) for metric in ("accuracy", "macro_f1")
    ]
    assert len(rows) == 2 * 4 * 2


def test_what_never_varies_has_an_interval_of_no_width(tmp_path):
    same = [entry(tmp_path, method, 0, RIGHT, RIGHT, RIGHT) for method in ("erm", "dm")]
    table = compared(same, tmp_path)
    accuracy = table.xs("accuracy", level="metric").loc["dm"]
    assert (accuracy[["low", "high", "mean"]] == 1).all(axis=None)
    assert (accuracy[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert accuracy[["sd", "difference_sd"]].isna().all(axis=None)


def test_equal_predictions_differ_by_nothing_however_the_examples_are_drawn(tmp_path):
    same = [entry(tmp_path, method, 0, FOUR, FOUR, THREE) for method in ("erm", "dm")]
    row = compared(same, tmp_path).loc["dm", OOD_MEAN, "macro_f1"]
    assert row["low"] < row["high"]
    assert row["difference_low"] == row["difference_high"] == 0


def test_the_interval_of_one_seed_is_over_examples_and_of_two_over_seeds_too(tmp_path):
    """Accuracy 1 with seed 0 and 0 with seed 1: no resample of the examples changes either."""
    runs = [entry(tmp_path, "erm", seed, *[found] * 3) for seed, found in enumerate([RIGHT, NONE])]
    alone = compared(runs[:1], tmp_path).loc["erm", OOD_MEAN, "accuracy"]
    both = compared(runs, tmp_path).loc["erm", OOD_MEAN, "accuracy"]
    assert (alone["low"], alone["high"]) == (1, 1)
    assert (both["low"], both["high"], both["mean"]) == (0, 1, 0.5)


def test_the_order_of_runs_changes_no_value(entries, tmp_path):
    before = compared(entries, tmp_path)
    pd.testing.assert_frame_equal(compared(entries[::-1], tmp_path).sort_index(), before.sort_index())


def test_another_method_changes_no_row_of_the_others(entries, tmp_path):
    before = compared(entries, tmp_path)
    more = [*entries, *(entry(tmp_path, "random", seed, NONE, FOUR, RIGHT) for seed in (0, 1))]
    pd.testing.assert_frame_equal(compared(more, tmp_path).loc[["erm", "ftft"]], before)


def test_same_bytes_twice_and_csv_with_the_same_values(entries, tmp_path):
    compared(entries, tmp_path)
    files = [tmp_path / "comparison.parquet", tmp_path / "comparison.csv"]
    before = [file.read_bytes() for file in files]
    compared(entries, tmp_path)
    assert [file.read_bytes() for file in files] == before
    pd.testing.assert_frame_equal(
        pd.read_csv(files[1], keep_default_na=False, na_values={"sd": ""} | dict.fromkeys(COMPARISON.names[-4:], "")),
        read_table(files[0]).to_pandas(),
        check_dtype=False,
    )


def test_each_main_model_has_its_own_erm_and_without_one_nothing_is_compared(entries, tmp_path):
    other = [dict(run, main="base") for run in entries if run["method"] == "ftft"]
    comparison.compare([*entries, *other], tmp_path / "c.parquet", tmp_path / "c.csv", resamples=10)
    table = read_table(tmp_path / "c.parquet").to_pandas()
    assert table[(table["main"] == "base")]["difference"].isna().all()
    assert table[(table["main"] == "large") & (table["method"] == "ftft")]["difference"].notna().all()


def test_without_ood_sets_there_is_no_mean_of_them(entries, tmp_path):
    for run in entries:
        run["predictions"] = {IN_DISTRIBUTION: run["predictions"][IN_DISTRIBUTION]}
    assert set(compared(entries, tmp_path).index.get_level_values("dataset")) == {IN_DISTRIBUTION}


@pytest.mark.parametrize(("labels", "uids"), [(LABELS, list("abcde")), ([0, 0, 1, 1, 1], None)])
def test_predictions_of_other_examples(entries, tmp_path, labels, uids):
    path = entries[2]["predictions"]["a"]
    write_predictions(path, FOUR, labels, uids)
    with pytest.raises(UserError, match=r"ftftsmall1/a.parquet is damaged: its examples are not .*; delete"):
        compared(entries, tmp_path)
    assert not (tmp_path / "comparison.parquet").exists()


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Of 300 test sets of 200 examples with a true accuracy of 0.7, about 95 % have 0.7 in their interval."""
    rng = np.random.default_rng(0)
    predicted = (rng.random((300, 200)) > 0.7).astype(int)
    resampled = statistics.resampled_scores(np.zeros(200, int), predicted, 2, resamples=1000, rng=rng)["accuracy"]
    bounds = np.array([statistics.interval(each) for each in resampled])
    assert 0.91 <= ((bounds[:, 0] <= 0.7) & (bounds[:, 1] >= 0.7)).mean() <= 0.98


def test_what_is_zero_but_for_rounding_is_zero():
    """A sum of fractions may be 1e-16, and an interval is told by whether it includes zero."""
    noise = np.array([0.1 + 0.2 - 0.3])
    found = comparison._described("difference_", -noise, np.tile(noise, (1, 50)), np.ones((1, 50)))
    assert (found["difference"], found["difference_low"], found["difference_high"]) == (0.0, 0.0, 0.0)
    assert number_text(found["difference"], "+.2f") == number_text(-1e-14, "+.2f") == "+0.00"
    assert number_text(-0.004, ".2f") == "0.00"
    assert number_text(-0.006, ".2f") == f"{MINUS}0.01"
