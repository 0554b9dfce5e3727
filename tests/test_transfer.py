"""Verdicts on references and how far they agree: data maps made by hand, against scipy and scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from ftft.compute.schemas import COST
from ftft.core.artifacts import read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import data_schema
from ftft.dynamics import datamap
from ftft.dynamics.schemas import DATAMAP
from ftft.evaluation.schemas import METRICS
from ftft.results import transfer
from ftft.results.cells import EN_DASH

N = 60
UIDS = [f"u{row:02}" for row in range(N)]


def write_map(path, confidence, variability, uids=UIDS):
    columns = {name: np.zeros(len(uids)) for name in DATAMAP.names}
    columns |= {"uid": uids, "confidence": confidence, "variability": variability}
    columns["region"] = datamap.region(confidence, variability, uids)
    write_table(pa.table(columns).select(DATAMAP.names).cast(DATAMAP), path, DATAMAP)


def write_run(folder, name, seed, *, confidence, variability, dev, steps=(10, 20), uids=UIDS):
    """A run whose dev scores, ``{dataset: score}``, are those of its last step; before it had none right."""
    path = folder / f"{name}{seed}"
    write_map(path.with_suffix(".map"), np.asarray(confidence), np.asarray(variability), uids)
    curve = [
        {"step": step, "epoch": 0.0, "dataset": dataset, "split": "dev", "metric": "accuracy", "value": value}
        for step, factor in zip(steps, (0, 1), strict=True)
        for dataset, value in {key: factor * score for key, score in dev.items()}.items()
    ]
    write_table(pa.Table.from_pylist(curve, METRICS), path.with_suffix(".curve"), METRICS)
    cost = dict.fromkeys(COST.names, 0) | {"checkpoint": "final", "stage": "train", "steps": steps[-1]}
    write_table(
        pa.Table.from_pylist([cost | {"device": "cpu", "precision": "fp32"}], COST), path.with_suffix(".cost"), COST
    )
    files = {
        kind: path.with_suffix(f".{end}") for kind, end in (("datamap", "map"), ("curve", "curve"), ("cost", "cost"))
    }
    return {"reference": name, "seed": seed, "head": False, "checkpoint": "final", **files}


@pytest.fixture
def dev(tmp_path):
    labels = [0, 0, 0, 1, 2]
    columns = {"uid": [f"d{row}" for row in range(5)], "text_a": ["a"] * 5, "label": pa.array(labels, pa.int16())}
    write_table(pa.table(columns), tmp_path / "dev.parquet", data_schema(pairs=False))
    return tmp_path / "dev.parquet"


def reported(runs, dev, folder, metric="accuracy"):
    names = [(folder / f"{name}.parquet", folder / f"{name}.csv") for name in ("references", "transfer")]
    transfer.write({"runs": runs, "metric": metric, "labels": 3}, dev, *names, folder / "references.txt")
    return [read_table(path).to_pylist() for path, _ in names]


def scores(good, ood):
    return {"in_distribution": good, "far": ood - 0.1, "near": ood + 0.1}


@pytest.fixture
def runs(tmp_path):
    """A strong run; one that finds 3 of the strong one's 20 ambiguous examples hard; one that finds 1 of them so."""
    rng = np.random.default_rng(0)
    variability = np.concatenate([np.full(20, 0.4), np.full(40, 0.1)]) + rng.random(N) / 100
    confidence = np.full(N, 0.9)
    found = [write_run(tmp_path, "strong", 0, confidence=confidence, variability=variability, dev=scores(0.9, 0.8))]
    for name, hard in (("weak", 3), ("fair", 1)):
        moved, sure = variability.copy(), confidence.copy()
        moved[:hard], sure[:hard] = 0.0, 0.1
        found.append(write_run(tmp_path, name, 0, confidence=sure, variability=moved, dev=scores(0.95, 0.5)))
    return found


def test_verdicts_follow_the_rule(runs, dev, tmp_path):
    strong, weak, fair = reported(runs, dev, tmp_path)[0]
    assert [row["verdict"] for row in (strong, weak, fair)] == ["suitable", "too weak", "doubtful"]
    assert [row["lost"] for row in (strong, weak, fair)] == pytest.approx([0, 3 / 20, 1 / 20])
    # The strongest is the best out of distribution, not in it; it is itself compared with the best of the others.
    assert [row["compared_with"] for row in (strong, weak, fair)] == [
        "weak, seed 0",
        "strong, seed 0",
        "strong, seed 0",
    ]
    assert (strong["dev"], strong["ood_dev"], strong["chance"]) == pytest.approx((0.9, 0.8, 0.6))
    assert weak["reason"] == "it finds 15.0 % of the strongest run's ambiguous examples hard, 10 % or more"
    assert (weak["ambiguous"], weak["hard"], weak["easy"]) == pytest.approx((20 / 60, 3 / 60, 37 / 60))


@pytest.mark.parametrize(
    ("dev_score", "chance", "lost", "hard", "verdict", "word"),
    [
        (0.6, 0.6, 0.0, None, "too weak", "not above chance, 60.0"),
        (0.61, 0.6, None, None, "doubtful", "nothing to compare it with"),
        (0.9, 0.6, 0.049, None, "suitable", "4.9 %"),
        (0.9, 0.6, 0.05, None, "doubtful", "5 % or more"),
        (0.9, 0.6, 0.1, None, "too weak", "10 % or more"),
        (0.9, 0.6, 0.0, 0.02, "suitable", "0.0 %"),
        (0.9, 0.6, 0.0, 0.019, "doubtful", "it finds only 1.9 % hard: it knows them by heart"),
        (0.9, 0.6, 0.0, 0.5, "suitable", "0.0 %"),
        (0.9, 0.6, None, 0.51, "doubtful", "it finds 51.0 % hard: it has hardly learned the task"),
        (0.9, 0.6, 0.1, 0.01, "too weak", "10 % or more"),
        (0.6, 0.6, 0.0, 0.01, "too weak", "not above chance"),
    ],
)
def test_the_rule_at_its_bounds(dev_score, chance, lost, hard, verdict, word):
    found, reason = transfer.verdict(dev_score, chance, lost, hard)
    assert found == verdict
    assert word in reason


def test_one_run_alone_is_compared_with_nothing(runs, dev, tmp_path):
    (row,), pairs = reported(runs[:1], dev, tmp_path)
    assert (row["verdict"], row["lost"], row["compared_with"]) == ("doubtful", None, None)
    assert pairs == []


def test_the_text_gives_reasons_for_what_is_not_suitable(runs, dev, tmp_path):
    reported(runs, dev, tmp_path)
    lines = (tmp_path / "references.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "reference  seed   dev  ood_dev  hard  lost  verdict",
        "strong        0  90.0     80.0   0.0   0.0  suitable",
        "weak          0  95.0     50.0   5.0  15.0  too weak",
        "fair          0  95.0     50.0   1.7   5.0  doubtful",
        "",
        "weak, seed 0: too weak: it finds 15.0 % of the strongest run's ambiguous examples hard, 10 % or more",
        "fair, seed 0: doubtful: it finds 5.0 % of the strongest run's ambiguous examples hard, 5 % or more",
    ]
    reported(runs[:1], dev, tmp_path)
    alone = (tmp_path / "references.txt").read_text(encoding="utf-8").splitlines()
    assert alone[1].split() == ["strong", "0", "90.0", "80.0", "0.0", EN_DASH, "doubtful"]


def test_pairs_agree_with_scipy_and_scikit_learn(dev, tmp_path):
    rng = np.random.default_rng(2)
    runs = [
        write_run(tmp_path, "some", seed, confidence=rng.random(N), variability=rng.random(N), dev=scores(0.9, 0.8))
        for seed in (0, 1)
    ]
    one, other = (read_table(run["datamap"]).to_pandas() for run in runs)
    there, back = reported(runs, dev, tmp_path)[1]
    assert (there["other_seed"], back["other_seed"]) == (1, 0)
    expected = stats.spearmanr(one["variability"], other["variability"]).statistic
    assert there["rank_correlation"] == back["rank_correlation"] == pytest.approx(expected)
    for name, region in (("ambiguous", "ambiguous"), ("easy", "easy-to-learn"), ("hard", "hard-to-learn")):
        assert there[f"{name}_overlap"] == pytest.approx(
            jaccard_score(one["region"] == region, other["region"] == region)
        )
    hard = one["region"] == "hard-to-learn"
    assert there["lost"] == pytest.approx(hard[other["region"] == "ambiguous"].mean())
    assert there["lost"] != back["lost"]


def test_scores_are_those_at_the_end_of_the_reference(runs, dev, tmp_path):
    """A run that goes on for its own result is judged where its dynamics end."""
    cost = read_table(runs[0]["cost"]).to_pylist()
    write_table(pa.Table.from_pylist([row | {"steps": 19} for row in cost], COST), runs[0]["cost"], COST)
    row = reported(runs, dev, tmp_path)[0][0]
    assert (row["dev"], row["verdict"]) == (0, "too weak")


def test_maps_of_other_examples_are_refused(runs, dev, tmp_path):
    other = write_run(
        tmp_path, "other", 0, confidence=[0.9] * 3, variability=[0.1] * 3, dev=scores(0.9, 0.8), uids=["a", "b", "c"]
    )
    with pytest.raises(UserError, match=r"other0\.map is damaged: its examples are not .*strong0\.map; delete"):
        reported([*runs, other], dev, tmp_path)


@pytest.mark.parametrize(("lost", "expected"), [(0.0497, "doubtful"), (0.0494, "suitable"), (0.0998, "too weak")])
def test_a_verdict_is_by_what_it_prints(lost, expected):
    found, reason = transfer.verdict(0.9, 0.5, lost)
    assert found == expected
    assert f"{100 * lost:.1f} %" in reason
