from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy import special, stats

from ftft.core.artifacts import read_metadata, read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import data_schema
from ftft.dynamics import datamap, measures
from ftft.dynamics.schemas import DATAMAP, dynamics_schema


def logits_of(gold_probability):
    """(E, N, 2) logits whose gold class, 0, has the given (E, N) probabilities."""
    gold = np.asarray(gold_probability, dtype=np.float64)
    return np.log(np.stack([gold, 1 - gold], axis=-1)).astype(np.float32)


def random_dynamics(epochs=5, n=200, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(epochs, n, classes)).astype(np.float32)
    return logits, rng.integers(0, classes, n).astype(np.int16), [f"u{i:04}" for i in range(n)]


def test_three_examples_by_hand():
    # Gold probabilities over four epochs: steady 0.9; rising 0.2 to 0.8 with a relapse; never right.
    gold = [[0.9, 0.2, 0.1], [0.9, 0.8, 0.1], [0.9, 0.4, 0.3], [0.9, 0.8, 0.3]]
    found = datamap.compute(logits_of(gold), [0, 0, 0], ["a", "b", "c"])

    assert found["confidence"] == pytest.approx([0.9, 0.55, 0.2], abs=1e-7)
    # Deviations of b: -.35 .25 -.15 .25, squares .1225 .0625 .0225 .0625; of c: all 0.1.
    assert found["variability"] == pytest.approx([0, (0.27 / 4) ** 0.5, 0.1], abs=1e-7)
    assert found["correctness"] == pytest.approx([1, 0.5, 0])
    assert found["forgetting"].tolist() == [0, 1, 4]
    assert found["forgetting"].dtype == np.int32
    assert found["threshold_closeness"] == pytest.approx([0.09, 0.55 * 0.45, 0.16], abs=1e-7)
    # For two classes the margin is log(p / (1 - p)), and the norm is sqrt(2) (1 - p).
    assert found["aum"] == pytest.approx(
        [np.log(9), (np.log(1 / 4) + 2 * np.log(4) + np.log(2 / 3)) / 4, (2 * np.log(1 / 9) + 2 * np.log(3 / 7)) / 4],
        abs=1e-6,
    )
    assert found["el2n"] == pytest.approx([0.1 * 2**0.5, 0.45 * 2**0.5, 0.8 * 2**0.5], abs=1e-6)
    # For two classes the entropy is H(p) = -p log p - (1 - p) log(1 - p).
    h1, h2, h3, h4 = (-p * np.log(p) - (1 - p) * np.log(1 - p) for p in (0.1, 0.2, 0.3, 0.4))
    assert found["entropy"] == pytest.approx([h1, (3 * h2 + h4) / 4, (h1 + h3) / 2], abs=1e-6)
    assert found["region"].tolist() == ["easy-to-learn", "ambiguous", "hard-to-learn"]


def test_the_data_map_has_a_column_of_every_measure_with_the_type_of_its_values():
    found = measures.compute(*random_dynamics()[:2])
    assert {name: values.dtype for name, values in found.items()} == measures.MEASURES
    assert list(found) == list(measures.MEASURES) == DATAMAP.names[2:-1]
    kinds = {"uid": "string", "label": "int16", "forgetting": "int32", "region": "string"}
    assert [str(field.type) for field in DATAMAP] == [kinds.get(name, "double") for name in DATAMAP.names]
    assert len(DATAMAP) == 11


def test_variability_of_few_epochs_by_hand():
    # 0.2 and 0.6: mean 0.4, squared deviations 0.04 twice. One example never varies.
    gold = np.array([[0.2, 0.7], [0.6, 0.7]])
    assert measures.variability(gold) == pytest.approx([0.2, 0])
    assert measures.variability(gold, "sample") == pytest.approx([0.08**0.5, 0])
    assert measures.variability(gold, "active_bias") == pytest.approx([(0.04 + 0.04**2) ** 0.5, 0])


def test_corrections_change_no_ranking():
    gold = np.random.default_rng(3).random((4, 300))
    assert measures.variability(gold, "sample") == pytest.approx(stats.tstd(gold, axis=0))
    ranks = stats.rankdata(measures.variability(gold))
    for correction in ("sample", "active_bias"):
        assert stats.rankdata(measures.variability(gold, correction)).tolist() == ranks.tolist()


def test_el2n_at_an_epoch_by_hand():
    # Errors of the gold class 0.5 then 0.2, so norms sqrt(2) times as large for two classes.
    probabilities = np.array([[[0.5, 0.5]], [[0.8, 0.2]]])
    assert measures.el2n(probabilities, [0], 0) == pytest.approx([0.5 * 2**0.5])
    assert measures.el2n(probabilities, [0], 1) == pytest.approx([0.2 * 2**0.5])
    assert measures.el2n(probabilities, [0]) == pytest.approx([0.35 * 2**0.5])


def test_entropy_of_certainty_and_of_ignorance():
    probabilities = np.array([[[0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], [[0, 1, 0], [1, 0, 0]]])
    found = measures.entropy(probabilities)
    assert found == pytest.approx([0, np.log(3) / 2])
    assert not np.signbit(found).any()


def test_random_dynamics_agree_with_scipy_and_loops():
    logits, labels, uids = random_dynamics()
    probabilities = special.softmax(logits.astype(np.float64), axis=-1)
    found = datamap.compute(logits, labels, uids)
    for i, label in enumerate(labels):
        gold = probabilities[:, i, label]
        right = [int(np.argmax(epoch)) == label for epoch in logits[:, i]]
        events = sum(before and not after for before, after in pairwise(right))
        margins = [float(epoch[label]) - max(np.delete(epoch, label).tolist()) for epoch in logits[:, i]]
        errors = [np.sqrt(((epoch - np.eye(3)[label]) ** 2).sum()) for epoch in probabilities[:, i]]
        assert found["confidence"][i] == pytest.approx(sum(gold) / 5)
        assert found["variability"][i] == pytest.approx(np.sqrt(sum((gold - sum(gold) / 5) ** 2) / 5))
        assert found["correctness"][i] == pytest.approx(sum(right) / 5)
        assert found["forgetting"][i] == (events if any(right) else 5)
        assert found["aum"][i] == pytest.approx(sum(margins) / 5)
        assert found["el2n"][i] == pytest.approx(sum(errors) / 5)
        assert found["entropy"][i] == pytest.approx(stats.entropy(probabilities[:, i], axis=1).mean())


def test_blocks_make_no_difference(monkeypatch):
    logits, labels, uids = random_dynamics(n=101)
    whole = datamap.compute(logits, labels, uids)
    monkeypatch.setattr(measures, "_BLOCK_ROWS", 7)
    blocks = datamap.compute(logits, labels, uids)
    for name, values in whole.items():
        assert values.tolist() == blocks[name].tolist(), name


def test_the_input_is_left_as_it_was():
    logits, labels, uids = random_dynamics()
    before = logits.copy()
    datamap.compute(logits, labels, uids)
    assert (logits == before).all()


def test_huge_logits_neither_overflow_nor_warn():
    logits = np.array([[[3e4, -3e4]], [[3e4, -3e4]]], dtype=np.float32)
    found = datamap.compute(logits, [1], ["a"])
    assert found["confidence"] == [0]
    assert found["aum"] == [-6e4]
    assert found["entropy"] == [0]


@pytest.mark.parametrize(
    ("trend", "events"),
    [("1111", 0), ("0111", 0), ("1011", 1), ("1010", 2), ("0100", 1), ("0001", 0), ("0000", 4)],
)
def test_forgetting(trend, events):
    correct = np.array([[digit == "1"] for digit in trend])
    assert measures.forgetting(correct).tolist() == [events]


def test_regions():
    confidence = np.array([0.5, 0.49, 0.9, 0.1, 0.6, 0.2, 0.3])
    variability = np.array([0.1, 0.1, 0.3, 0.3, 0.3, 0.0, 0.2])
    # floor(7 / 3) = 2 of the three examples with variability 0.3: those with the smallest uids.
    found = datamap.region(confidence, variability, ["a", "b", "z", "y", "x", "c", "d"])
    easy, hard, ambiguous = "easy-to-learn", "hard-to-learn", "ambiguous"
    assert found.tolist() == [easy, hard, easy, ambiguous, ambiguous, hard, hard]


def write_dynamics(path, logits, rows=None, epochs=None):
    """One row group per epoch; ``rows`` and ``epochs`` replace the proper numbers, to plant damage."""
    n_epochs, n, classes = logits.shape
    schema = dynamics_schema(classes)
    groups = [
        pa.table(
            {
                "epoch": pa.array(np.full(n, epoch if epochs is None else epochs[epoch]), pa.int16()),
                "row": pa.array(np.arange(n) if rows is None else rows[epoch], pa.int32()),
                "logits": pa.FixedSizeListArray.from_arrays(
                    pa.array(logits[epoch].reshape(-1), pa.float32()), type=schema.field("logits").type
                ),
            }
        )
        for epoch in range(n_epochs)
    ]
    write_table(iter(groups), path, schema)


def write_data(path, labels, uids):
    table = pa.table({"uid": uids, "text_a": ["text"] * len(uids), "label": pa.array(labels, pa.int16())})
    write_table(table, path, data_schema(pairs=False))


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "dynamics.parquet", tmp_path / "data.parquet", tmp_path / "datamap.parquet"


@pytest.mark.parametrize("first_epoch", [0, 1])
def test_write_keeps_the_order_of_the_data(paths, first_epoch):
    logits, labels, uids = random_dynamics(n=50)
    uids = uids[::-1]
    write_dynamics(paths[0], logits, epochs=range(first_epoch, first_epoch + 5))
    write_data(paths[1], labels, uids)
    datamap.write(*paths)

    table = read_table(paths[2])
    assert table.schema.equals(DATAMAP)
    assert table["uid"].to_pylist() == uids
    assert table["label"].to_pylist() == labels.tolist()
    for name, values in datamap.compute(logits, labels, uids).items():
        assert table[name].to_pylist() == values.tolist()
    assert read_metadata(paths[2]) == {
        "burn_in": "0",
        "correction": "none",
        "el2n_epoch": "mean",
        "epochs": "5",
        "rows": "50",
    }

    before = paths[2].read_bytes()
    datamap.write(*paths)
    assert paths[2].read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ({"burn_in": 2}, [2, 3, 4]),
        ({"max_epochs": 3}, [0, 1, 2]),
        ({"burn_in": 1, "max_epochs": 4}, [1, 2, 3]),
        ({"burn_in": 3, "max_epochs": 9}, [3, 4]),
    ],
)
def test_some_epochs_are_as_if_there_were_no_others(paths, settings, used):
    logits, labels, uids = random_dynamics(n=50)
    write_dynamics(paths[0], logits)
    write_data(paths[1], labels, uids)
    datamap.write(*paths, **settings, correction="sample", el2n_epoch=used[1])

    table = read_table(paths[2])
    expected = datamap.compute(logits[used], labels, uids, correction="sample")
    expected["el2n"] = measures.el2n(special.softmax(logits.astype(np.float64), axis=-1), labels, used[1])
    for name, values in expected.items():
        found = table[name].to_pylist()
        assert found == (pytest.approx(values) if name == "el2n" else values.tolist()), name
    assert read_metadata(paths[2]) == {
        "burn_in": str(used[0]),
        "correction": "sample",
        "el2n_epoch": str(used[1]),
        "epochs": str(len(used)),
        "rows": "50",
    }


@pytest.mark.parametrize("settings", [{"burn_in": 4}, {"burn_in": 9}, {"burn_in": 2, "max_epochs": 3}])
def test_too_few_epochs_left(paths, settings):
    logits, labels, uids = random_dynamics(n=4)
    write_dynamics(paths[0], logits)
    write_data(paths[1], labels, uids)
    left = len(range(5)[settings["burn_in"] : settings.get("max_epochs")])
    words = ("5 complete epoch", "datamap.burn_in and datamap.max_epochs", f"leave {left},", "at least 2")
    check_error(paths, *words, **settings)


@pytest.mark.parametrize("epoch", [0, 4])
def test_el2n_at_an_epoch_that_is_not_used(paths, epoch):
    logits, labels, uids = random_dynamics(n=4)
    write_dynamics(paths[0], logits)
    write_data(paths[1], labels, uids)
    words = (f"datamap.el2n_epoch is {epoch}", "epochs 1 to 3")
    check_error(paths, *words, burn_in=1, max_epochs=4, el2n_epoch=epoch)


def check_error(paths, *words, **settings):
    with pytest.raises(UserError) as failure:
        datamap.write(*paths, **settings)
    message = str(failure.value)
    assert "\n" not in message
    assert str(paths[0]) in message
    for word in words:
        assert word in message
    assert not paths[2].exists()


def test_one_epoch_is_too_few(paths):
    logits, labels, uids = random_dynamics(epochs=1, n=4)
    write_dynamics(paths[0], logits)
    write_data(paths[1], labels, uids)
    check_error(paths, "1 complete epoch", "at least 2", "training.steps")


@pytest.mark.parametrize(
    "rows",
    [
        [[0, 1, 2, 3], [0, 1, 2, 2]],
        [[0, 1, 2, 3], [1, 0, 2, 3]],
        [[1, 2, 3, 4], [1, 2, 3, 4]],
    ],
)
def test_wrong_rows_are_damage(paths, rows):
    logits, labels, uids = random_dynamics(epochs=2, n=4)
    write_dynamics(paths[0], logits, rows=rows)
    write_data(paths[1], labels, uids)
    check_error(paths, "damaged", "delete the file and run again")


@pytest.mark.parametrize("epochs", [[0, 0], [0, 2], [1, 0]])
def test_wrong_epochs_are_damage(paths, epochs):
    logits, labels, uids = random_dynamics(epochs=2, n=4)
    write_dynamics(paths[0], logits, epochs=epochs)
    write_data(paths[1], labels, uids)
    check_error(paths, "damaged", f"{epochs[0]}, {epochs[1]}", "delete the file and run again")


def test_other_data_is_damage(paths):
    logits, labels, uids = random_dynamics(epochs=2, n=4)
    write_dynamics(paths[0], logits)
    write_data(paths[1], labels[:3], uids[:3])
    check_error(paths, "damaged", "rows 0 to 2")


def test_a_label_without_logit_is_damage(paths):
    logits, _, uids = random_dynamics(epochs=2, n=4, classes=2)
    write_dynamics(paths[0], logits)
    write_data(paths[1], [0, 1, 2, 0], uids)
    check_error(paths, "damaged", "2 classes", "label 2")


def test_not_a_parquet_file_is_damage(paths):
    paths[0].write_bytes(b"PAR1 and then the disk was full")
    write_data(paths[1], [0, 1], ["a", "b"])
    check_error(paths, "damaged", "not a parquet file")


def test_diverged_training_is_named(paths):
    logits, labels, uids = random_dynamics(epochs=2, n=4)
    logits[1, 2, 0] = np.nan
    write_dynamics(paths[0], logits)
    write_data(paths[1], labels, uids)
    check_error(paths, "not finite", "epoch 1, row 2", "learning_rate")
