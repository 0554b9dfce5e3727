import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ftft.core.artifacts import read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import data_schema
from ftft.display import explorer
from ftft.dynamics.artifact import write_dynamics
from ftft.dynamics.datamap import REGIONS
from ftft.dynamics.datamap import write as write_datamap
from ftft.dynamics.schemas import SUBSET

LABELS = ["no", "yes"]


def logits_of(gold_probability, labels):
    """(E, N, 2) logits that give each example's gold label such probabilities, (E, N)."""
    logits = np.zeros((*np.shape(gold_probability), 2), np.float32)
    values = np.asarray(gold_probability)
    epochs, rows = np.indices(values.shape)
    logits[epochs, rows, np.asarray(labels)] = np.log(values / (1 - values))
    return logits


@pytest.fixture
def write(tmp_path):
    """Writes a train set and one data map of it; returns the arguments of ``explore``."""

    def write(gold_probability, labels, *, subset=(), texts=None, **datamap):
        n = len(labels)
        uids = [f"u{row:04}" for row in range(n)]
        columns = {"uid": uids, "text_a": texts or [f"text {row}" for row in range(n)]}
        columns |= {
            "label": pa.array(labels, pa.int16()),
            "kind": ["rare", *["common"] * (n - 1)],
        }
        train = tmp_path / "train.parquet"
        write_table(pa.table(columns), train, data_schema(pairs=False, extra=[pa.field("kind", pa.string())]))
        paths = {"path": tmp_path / "map.parquet", "dynamics": tmp_path / "dynamics.parquet"}
        write_dynamics(list(logits_of(gold_probability, labels)), paths["dynamics"], 2, {})
        write_datamap(paths["dynamics"], train, paths["path"], **datamap)
        chosen = {"uid": list(subset), "score": np.zeros(len(subset)), "rank": np.arange(len(subset))}
        write_table(pa.table(chosen), tmp_path / "subset.parquet", SUBSET)
        names = {"reference": "small", "seed": 0}
        subsets = [names | {"by": "ambiguous", "fraction": 0.33, "path": tmp_path / "subset.parquet"}]
        return {
            "datamaps": [names | paths],
            "subsets": [*subsets, subsets[0] | {"seed": 1}],
            "train_data": train,
            "labels": LABELS,
            "group": "kind",
        }

    return write


def test_columns_by_hand(write):
    found = explorer.explore(**write([[0.9, 0.2, 0.4], [0.7, 0.4, 0.8]], [0, 1, 1], subset=["u0002"]))
    assert found["examples"] == {
        "uid": ["u0000", "u0001", "u0002"],
        "text_a": ["text 0", "text 1", "text 2"],
        "text_b": None,
        "label": [0, 1, 1],
        "group": [1, 0, 0],
    }
    assert (found["groups"], found["total"], found["top"]) == (["common", "rare"], 3, 3)
    (shown,) = found["maps"]
    assert shown["confidence"] == [8000, 3000, 6000]
    assert shown["variability"] == [1000, 1000, 2000]
    assert shown["correctness"] == [2, 0, 1]
    assert [REGIONS[region] for region in shown["region"]] == ["easy-to-learn", "hard-to-learn", "ambiguous"]
    assert shown["selected"] == [0, 0, 1]
    assert shown["subsets"] == ["ambiguous 33 %"]
    # The second example is believed to be "no" with 0.7 on average, against 0.3 for its gold label.
    assert shown["believed"] == [0, 0, 1]
    assert shown["doubt"] == [0, 4000, 0]
    assert shown["predicted"] == [[0, 0, 0], [0, 0, 1]]
    assert shown["gold"] == [[90, 20, 40], [70, 40, 80]]
    assert (shown["epochs"], shown["first_epoch"], shown["width"], shown["cells"]) == (2, 0, 5000, None)


def test_the_types_of_the_pages_script_are_those_of_what_it_is_given(write, monkeypatch):
    """The checker of ``make lint`` sees the script alone, so a key that changes its name would go unnoticed."""
    monkeypatch.setattr(explorer, "MAX_EXAMPLES", 2)
    found = explorer.explore(**write([[0.9, 0.2, 0.4], [0.7, 0.4, 0.8]], [0, 1, 1], subset=["u0002"]))
    types = (Path(explorer.__file__).parent / "templates/page/types.d.ts").read_text(encoding="utf-8")
    declared = {
        name: set(re.findall(r"^  (\w+): ", body, re.MULTILINE))
        for name, body in re.findall(r"^interface (\w+) \{\n(.*?)^\}", types, re.MULTILINE | re.DOTALL)
    }
    (shown,) = found["maps"]
    given = {"Explored": found, "Examples": found["examples"], "DataMap": shown, "Cells": shown["cells"]}
    assert {name: declared[name] for name in given} == {name: set(value) for name, value in given.items()}


@pytest.mark.parametrize("classes", [151, 300])
def test_predictions_of_many_classes_are_not_taken_for_others(tmp_path, classes):
    """With 8 bits the last class of 300 would be class 43, the gold label of the second example."""
    gold, predicted = [classes - 1, 43, 0], [[classes - 1] * 3, [0, 43, classes - 2]]
    logits = np.zeros((2, 3, classes), np.float32)
    np.put_along_axis(logits, np.array(predicted)[:, :, None], [[[9]], [[20]]], axis=2)
    table = pa.table({"uid": list("abc"), "text_a": list("abc"), "label": pa.array(gold, pa.int16())})
    paths = {name: tmp_path / f"{name}.parquet" for name in ("dynamics", "train", "path")}
    write_table(table, paths["train"], data_schema(pairs=False))
    write_dynamics(list(logits), paths["dynamics"], classes, {})
    write_datamap(*paths.values())
    entry = {"reference": "small", "seed": 0, "path": paths["path"], "dynamics": paths["dynamics"]}
    found = explorer.explore([entry], [], paths["train"], [str(label) for label in range(classes)], None)
    assert found["examples"]["label"] == gold
    (shown,) = found["maps"]
    assert shown["predicted"] == predicted
    assert shown["correctness"] == [1, 1, 0]
    assert shown["believed"] == [0, 43, classes - 2]


def test_only_the_epochs_of_the_data_map_count(write):
    arguments = write([[0.1, 0.1], [0.9, 0.6], [0.7, 0.8], [0.2, 0.2]], [0, 1], burn_in=1, max_epochs=3)
    (shown,) = explorer.explore(**arguments)["maps"]
    assert (shown["epochs"], shown["first_epoch"]) == (2, 1)
    assert shown["confidence"] == [8000, 7000]
    assert shown["gold"] == [[90, 60], [70, 80]]


def test_a_corrected_variability_widens_the_grid(write):
    (shown,) = explorer.explore(**write([[0.01, 0.5], [0.99, 0.6]], [0, 1], correction="sample"))["maps"]
    assert shown["width"] == shown["variability"][0] > 6000


def test_of_many_examples_the_ends_of_every_ranking_are_carried_and_all_are_counted(write, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_EXAMPLES", 80)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    probabilities = rng.uniform(0.01, 0.99, (3, 400))
    arguments = write(probabilities, labels, subset=[f"u{row:04}" for row in range(100)])
    found = explorer.explore(**arguments)
    assert (len(found["examples"]["uid"]), found["top"], found["total"]) == (80, 10, 400)
    carried = set(found["examples"]["uid"])
    table = read_table(arguments["datamaps"][0]["path"]).to_pandas().set_index("uid")
    for measure, largest in (("variability", True), ("confidence", True), ("confidence", False)):
        ranked = table[measure].round(4).sort_values(ascending=not largest, kind="stable")
        assert set(ranked.index[:10]) <= carried
    doubtful = sorted(range(400), key=lambda row: probabilities[:, row].mean())[:10]
    assert {f"u{row:04}" for row in doubtful} <= carried

    cells = found["maps"][0]["cells"]
    counts = np.array(cells["count"])
    assert counts.sum() == 400
    assert counts[np.array(cells["selected"]) == 1].sum() == 100
    assert [counts[np.array(cells["label"]) == label].sum() for label in (0, 1)] == np.bincount(labels).tolist()
    assert [counts[np.array(cells["region"]) == number].sum() for number in range(3)] == [
        (table["region"] == region).sum() for region in REGIONS
    ]
    expected, _, _ = np.histogram2d(
        table["variability"].round(4), table["confidence"].round(4), bins=explorer.GRID, range=((0, 0.5), (0, 1))
    )
    grid = np.zeros_like(expected)
    np.add.at(grid, (cells["x"], cells["y"]), counts)
    np.testing.assert_array_equal(grid, expected)
    assert explorer.explore(**arguments) == found


def test_long_texts_leave_room_for_fewer(write, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_BYTES", 10_000)
    texts = ["long " * 30] * 100
    found = explorer.explore(**write(np.full((2, 100), 0.7), [0, 1] * 50, texts=texts))
    # 150 bytes of text, 26 and twice 6 of numbers
    assert len(found["examples"]["uid"]) == 10_000 // 188


def test_a_data_map_of_other_data(write, tmp_path):
    arguments = write([[0.9, 0.2], [0.7, 0.4]], [0, 1])
    table = read_table(arguments["train_data"])
    write_table(table.slice(1), tmp_path / "other.parquet", table.schema.remove_metadata())
    with pytest.raises(UserError, match=r"map.parquet is damaged: it does not have the rows of the train set; delete"):
        explorer.explore(**arguments | {"train_data": tmp_path / "other.parquet"})


def test_of_many_groups_the_rarer_ones_are_one(write, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_GROUPS", 1)
    arguments = write([[0.9, 0.2, 0.5], [0.7, 0.4, 0.6]], [0, 1, 0])
    assert explorer.explore(**arguments)["groups"] == ["common", "(rarer values)"]
    found = explorer.explore(**arguments | {"group": "text_a"})
    assert found["groups"] == ["text 0", "(rarer values)"]
    assert found["examples"]["group"] == [0, 1, 1]
