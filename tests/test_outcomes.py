"""What main models did by the verdict on their references: by hand, and against scipy."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from ftft.data.schemas import IN_DISTRIBUTION
from ftft.results.outcomes import agreement, by_verdict, outcomes
from ftft.results.schemas import REFERENCES, SUMMARY

# Reference, seed, dev score, OOD dev score, what it lost, verdict.
RUNS = [
    ("small", 0, 0.9, 0.8, 0.03, "suitable"),
    ("small", 1, 0.9, 0.7, 0.06, "doubtful"),
    ("tiny", 0, 0.8, 0.6, 0.2, "too weak"),
    ("tiny", 1, 0.7, None, None, "too weak"),
    ("unused", 0, 0.7, 0.5, 0.01, "suitable"),
]


def summary_of(runs, main="big"):
    """``runs``: (method, reference, seed, scores on two OOD sets)."""
    rows = [
        {"task": "t", "main": main, "method": method, "reference": reference, "seed": seed, "metric": "accuracy"}
        | {"split": "test", "dataset": dataset, "value": value}
        for method, reference, seed, scores in runs
        for dataset, value in zip((IN_DISTRIBUTION, "far", "near"), (0.95, *scores), strict=True)
    ]
    return pa.Table.from_pylist(rows, SUMMARY)


@pytest.fixture
def references():
    names = ("reference", "seed", "dev", "ood_dev", "lost", "verdict")
    rows = [dict(zip(names, run, strict=True)) | {"hard": 0.1} for run in RUNS]
    return pa.Table.from_pylist(rows, REFERENCES)


@pytest.fixture
def summary():
    return summary_of(
        [
            ("erm", "", 0, (0.7, 0.5)),
            ("erm", "", 1, (0.6, 0.5)),
            ("dm", "big", 0, (0.9, 0.9)),
            ("half", "small", 0, (0.7, 0.6)),
            ("half", "small", 1, (0.6, 0.6)),
            ("ftft", "small", 0, (0.7, 0.7)),
            ("ftft", "small", 1, (0.6, 0.4)),
            ("ftft", "tiny", 0, (0.5, 0.5)),
            ("ftft", "tiny", 1, (0.3, 0.4)),
            ("other", "tiny", 0, (0.1, 0.1)),
        ]
    )


def test_each_run_of_a_reference_with_the_difference_to_erm_of_its_own_seed(summary, references):
    found = outcomes(summary, references, "big", "accuracy", ["half", "ftft"])
    # By what they lose; what was compared with nothing comes last, what no method used is left out.
    assert list(found.index) == [("small", 0), ("small", 1), ("tiny", 0), ("tiny", 1)]
    assert list(found.columns) == ["dev", "ood_dev", "hard", "lost", "verdict", "half to ERM", "ftft to ERM"]
    # ERM has 0.6 with seed 0 and 0.55 with seed 1.
    assert found["ftft to ERM"].to_numpy() == pytest.approx([0.1, -0.05, -0.1, -0.2])
    assert found["half to ERM"].to_numpy() == pytest.approx([0.05, 0.05, np.nan, np.nan], nan_ok=True)
    assert found["lost"].to_numpy() == pytest.approx([0.03, 0.06, 0.2, np.nan], nan_ok=True)


def test_a_method_that_used_no_such_reference_is_left_out(summary, references):
    found = outcomes(summary, references, "big", "accuracy", ["dm", "half"])
    assert list(found.columns)[-1] == "half to ERM"
    assert list(found.index) == [("small", 0), ("small", 1)]


def test_a_method_may_have_the_name_of_a_column(references):
    summary = summary_of([("erm", "", 0, (0.7, 0.5)), ("lost", "small", 0, (0.7, 0.7))])
    found = outcomes(summary, references, "big", "accuracy", ["lost"])
    assert found[["lost", "lost to ERM"]].to_numpy().tolist() == [[0.03, pytest.approx(0.1)]]
    assert by_verdict(found, "lost")["mean"].to_list() == pytest.approx([0.1])


def test_one_main_model_at_a_time(summary, references):
    other = summary_of([("erm", "", 0, (0.5, 0.5)), ("ftft", "small", 0, (0.6, 0.6))], main="large")
    both = pa.concat_tables([summary, other])
    assert outcomes(both, references, "large", "accuracy", ["ftft"])["ftft to ERM"].to_list() == pytest.approx([0.1])
    assert len(outcomes(both, references, "big", "accuracy", ["ftft"])) == 4


def test_by_verdict(summary, references):
    table = outcomes(summary, references, "big", "accuracy", ["half", "ftft"])
    found = by_verdict(table, "ftft")
    assert list(found.index) == ["suitable", "doubtful", "too weak"]
    assert found["runs"].to_list() == [1, 1, 2]
    assert found["mean"].to_numpy() == pytest.approx([0.1, -0.05, -0.15])
    assert found["worst"].to_numpy() == pytest.approx([0.1, -0.05, -0.2])
    assert list(by_verdict(table, "half").index) == ["suitable", "doubtful"]


def test_agreement_is_spearmans_over_the_runs_that_have_both():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.random(12) for name in ("dev", "ood_dev", "lost", "ftft to ERM")})
    table["hard"] = 0.1
    table.loc[3, "lost"] = np.nan
    table.loc[5, "ftft to ERM"] = np.nan
    found = agreement(table, "ftft")
    for name in ("dev", "ood_dev", "lost"):
        both = table[[name, "ftft to ERM"]].dropna()
        assert found[name] == pytest.approx(spearmanr(both[name], both["ftft to ERM"]).statistic)
    assert np.isnan(found["hard"])
    assert agreement(table[:3], "ftft").isna().all()


def test_what_differs_by_rounding_is_tied():
    table = pd.DataFrame({"lost": [0.1, 0.2, 0.3, 0.4], "ftft to ERM": [0.1 + 0.2, 0.3, 0.2, 0.1]})
    table[["dev", "ood_dev", "hard"]] = 0.5
    assert agreement(table, "ftft")["lost"] == pytest.approx(spearmanr([1, 2, 3, 4], [3, 3, 2, 1]).statistic)
