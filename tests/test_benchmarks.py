"""The benchmarks run: what they call of the library is still there, on a few texts and a model of a few weights."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftft.core.artifacts import read_table
from ftft.experiment import config
from ftft.experiment.plan import Plan

ROOT = Path(__file__).parents[1]
TEXTS = 64


@pytest.fixture
def speed(monkeypatch):
    """The module ``training_speed``, on fewer texts."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import training_speed

    monkeypatch.setattr(training_speed, "TEXTS", TEXTS)
    monkeypatch.setattr(training_speed, "PLAIN_STEPS", 1)
    yield training_speed
    sys.modules.pop("training_speed")


@pytest.fixture
def case(speed, tmp_path):
    """A small BERT on texts in the form of the corpus."""
    texts = [f"{'a day in town ' * (row % 7)}ends" for row in range(2 * TEXTS)]
    labels = [speed.LABELS["single"][row % 2] for row in range(2 * TEXTS)]
    (tmp_path / "corpora/cad").mkdir(parents=True)
    table = pa.table({"uid": [f"u{row}" for row in range(2 * TEXTS)], "text": texts, "label": labels})
    pq.write_table(table, tmp_path / "corpora/cad/train.parquet")
    case = speed.Case("small", "single", speed.shape("bert", 1, 16, 2, 200))
    case.prepare(tmp_path / "case", tmp_path / "corpora")
    return case


def test_every_loop_trains_and_is_timed(speed, case, tmp_path):
    folder = tmp_path / "case"
    assert speed.ours(folder, case) > 0
    assert speed.plain(folder, case) > 0
    assert speed.hf_trainer(folder, case, bf16=False, compiled=False) > 0
    assert speed.useful_flops(folder, speed.FlopCount.of(speed.of_shape(folder, case))) > 0


def test_single_steps_can_be_taken(speed, case, tmp_path):
    import where_time_goes

    run = speed.start(tmp_path / "case", case)
    assert where_time_goes.take(run, 1) > 0
    assert len(run.journal.losses) == 1


def test_tokens_of_an_experiments_data(speed, case, tmp_path):
    import basis

    (tmp_path / "train.csv").write_text("words,class\na day in town ends,no\nends,yes\n", encoding="utf-8")
    data = {"text": "words", "label": "class", "labels": ["no", "yes"], "train": {"path": "train.csv"}}
    models = {"models": {"model": {"path": "nowhere"}}, "mains": ["model"], "methods": {"erm": {}}, "seeds": [0]}
    training = {"training": {"epochs": 1, "learning_rate": 1e-3}}
    plan = Plan(config.load({"task": "t", "data": data | {"dev": {"path": "none.csv"}}} | models | training))
    (texts, tokens) = basis.tokenized(plan, "train", tmp_path, tmp_path / "case", max_length=4)
    assert read_table(texts)["label"].to_pylist() == [0, 1]
    assert [len(ids) for ids in read_table(tokens)["input_ids"].to_pylist()] == [4, 3]  # [CLS] ends [SEP]


def test_the_forecast_of_memory_stands_beside_the_peak_of_a_training(speed, case, tmp_path, monkeypatch):
    """Libraries take nearly all of so small a one, so the peak is much the same every time."""
    monkeypatch.delitem(sys.modules, "memory", raising=False)
    import memory

    monkeypatch.setattr(memory, "STEPS", TEXTS // speed.BATCH)
    said = memory.foreseen(tmp_path / "case", case, tmp_path / "corpora", TEXTS)
    assert memory.measured(tmp_path / "case", case, threads=1) == pytest.approx(said["total_mb"], rel=0.4)
    assert memory.foreseen(tmp_path / "case", case, tmp_path / "corpora", TEXTS, gpu=1)["device"] == "gpu"


@pytest.mark.data
def test_the_gpu_benchmark_runs_through_in_short(tmp_path):
    corpora, out = ROOT.parent / "shared/data", tmp_path / "gpu.md"
    if not corpora.is_dir():
        pytest.skip("needs the corpora of config/README.md")
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--smoke", "--data", str(corpora), "--out", str(out)]
    done = subprocess.run([*command, "--minutes", "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text(encoding="utf-8")
    assert "**no**" not in text  # nothing that was checked is wrong
    for row in (
        "| modernbert |",
        "| llama |",
        "| a run that is interrupted and goes on |",
        "| a small BERT, posts |",
        "| 2 |",
        "ftft_third    head-l1",
    ):
        assert row in text
    assert "cut off" not in text


def test_a_dev_score_is_that_of_the_saved_model(tmp_path, monkeypatch):
    """The best with a stop rule, else the last; by hand, before anything is evaluated."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import dev_table

    names = ("method", "step", "value", "flops")
    points = [("erm", 1, 0.7, 5.0), ("erm", 2, 0.5, 10.0), ("erm_stop", 1, 0.7, 5.0), ("erm_stop", 2, 0.6, 10.0)]
    rows = [dict(zip(names, point, strict=True)) for point in points]
    curve = pd.DataFrame(rows).assign(main="big", reference="", seed=0)
    found = {}
    for method, stop in (("erm", None), ("erm_stop", object())):
        run = SimpleNamespace(path="main/big/all/seed0")
        result = SimpleNamespace(main="big", method=method, reference="", seed=0, run=run, checkpoint="final")
        plan = SimpleNamespace(methods={method: SimpleNamespace(stop=stop)})
        found[method] = dev_table.row(result, plan, curve, tmp_path)
    assert [row["dev"] for row in found.values()] == pytest.approx([50, 70])
    assert [row["step"] for row in found.values()] == [2, 2]
    assert np.isnan(found["erm"]["test"])


def test_differences_have_the_interval_of_the_t_distribution(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import dev_table

    # Mean 1, standard deviation 1, and 4.303 is the 97.5 % point with two degrees of freedom.
    group, erm = (pd.DataFrame({"dev": scores}) for scores in ([5.0, 6.0, 7.0, 8.0], [5.0, 5.0, 5.0, np.nan]))
    each, mean = dev_table.differences(group, erm, "dev")
    assert each == "+0.0, +1.0, +2.0"
    assert mean == "+1.00 [\N{MINUS SIGN}1.48, +3.48]"


def test_agreement_of_references_by_hand(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import agreement

    names = ("reference", "seed", "other", "other_seed", "rank_correlation", "ambiguous_overlap")
    rows = [
        ("a", 0, "b", 0, 0.5, 0.2), ("a", 1, "b", 1, -0.25, 0.4), ("a", 0, "b", 1, 0.9, 0.9),
        ("a", 0, "a", 1, 0.125, 0.3), ("a", 1, "a", 0, 0.125, 0.3),
        ("b", 0, "a", 0, 0.5, 0.2), ("b", 1, "a", 1, -0.25, 0.4),
    ]  # fmt: skip
    found = agreement.pairs(pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows]))
    assert found.to_numpy().tolist() == [
        ["a, two seeds", 1, "12.5", "30.0"],
        ["a and b", 2, "12.5 (\N{MINUS SIGN}25.0 to 50.0)", "30.0 (20.0 to 40.0)"],
    ]


def test_what_a_reference_unlearns_by_hand(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import agreement

    regions = ["easy-to-learn", "ambiguous", "ambiguous", "hard-to-learn"]
    datamap = pd.DataFrame(
        {"uid": list("abcd"), "region": regions, "variability": [0.1, 0.4, 0.3, 0.2], "forgetting": [0, 1, 0, 3]}
    )
    data = pd.DataFrame({"kind": ["easy", "counter", "easy", "noise"]})
    probability = np.array([[0.8, 0.6, 0.2, 0.3], [0.9, 0.1, 0.9, 0.9], [0.9, 0.4, 0.8, 0.1]])
    found = agreement.moves(datamap, data, probability)
    assert found["ambiguous: first"] == pytest.approx(40)
    assert found["ambiguous: last"] == pytest.approx(60)
    assert (found["easy-to-learn: fell"], found["ambiguous: fell"], found["hard-to-learn: fell"]) == (0, 50, 100)
    assert found["forgotten"] == 25  # d was never right, which counts as three
    # The first third of four is one example.
    assert [found[f"{kind}: ambiguous"] for kind in ("counter", "easy", "noise")] == [100, 0, 0]
