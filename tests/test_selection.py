import logging
from decimal import Decimal
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from ftft import config, selection
from ftft.errors import UserError
from ftft.schemas import DATAMAP, SUBSET, data_schema, read_metadata, read_table, write_table

UIDS = ["d", "b", "a", "c", "e"]
VARIABILITY = [0.2, 0.3, 0.1, 0.3, 0.4]
CONFIDENCE = [0.9, 0.1, 0.5, 0.7, 0.1]


def test_the_configuration_knows_the_same_criteria():
    assert list(selection.CRITERIA) == list(get_args(config.Criterion))


@pytest.mark.parametrize(
    ("by", "scores", "expected"),
    [
        ("ambiguous", VARIABILITY, ["e", "b", "c", "d"]),
        ("hard", CONFIDENCE, ["b", "e", "a", "c"]),
        ("easy", CONFIDENCE, ["d", "c", "a", "b"]),
        ("random", CONFIDENCE, ["b", "e", "a", "c"]),
    ],
)
def test_order_by_hand(by, scores, expected):
    subset = selection.select(UIDS, scores, by, 0.8)
    assert subset.schema.equals(SUBSET)
    assert subset["uid"].to_pylist() == expected
    assert subset["rank"].to_pylist() == [0, 1, 2, 3]
    assert subset["score"].to_pylist() == [scores[UIDS.index(uid)] for uid in expected]


@pytest.mark.parametrize("fraction", ["0.1", "0.25", "0.29", "0.3", "0.33", "0.57", "0.58", "0.7", "1e-3", "1"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 99, 100, 1000, 1001, 392702])
def test_sizes_are_exact(n, fraction):
    exact = int(Decimal(fraction) * n)  # whole numbers and decimals: no rounding on the way
    assert selection.subset_size(n, float(fraction)) == exact


def test_sizes_where_floating_point_falls_short():
    assert int(0.29 * 100) == 28
    assert selection.subset_size(100, 0.29) == 29


@pytest.mark.parametrize("n", [10, 33, 100])
@pytest.mark.parametrize("by", selection.CRITERIA)
def test_the_order_of_the_rows_makes_no_difference(by, n):
    rng = np.random.default_rng(n)
    uids = np.array([f"u{i}" for i in range(n)])
    scores = rng.integers(0, 4, size=n) / 4  # many ties
    order = rng.permutation(n)
    expected = selection.select(uids, scores, by, 0.5)
    assert selection.select(uids[order], scores[order], by, 0.5).equals(expected)
    assert (
        expected["uid"].to_pylist()
        == [
            uids[i]
            for i in sorted(
                range(n), key=lambda i: (-scores[i] if selection.CRITERIA[by].descending else scores[i], uids[i])
            )
        ][: n // 2]
    )


def test_random_scores_follow_the_uids():
    uids = np.array(["b", "c", "a"])
    scores = selection.random_scores(uids, seed=7)
    a, b, c = np.random.default_rng(7).random(3)
    assert scores.tolist() == [b, c, a]
    assert selection.random_scores(uids[::-1], seed=7).tolist() == [a, c, b]
    assert selection.random_scores(uids, seed=8).tolist() != scores.tolist()


def test_random_subsets_favour_no_class():
    n = 20_000
    uids = [f"u{i:05}" for i in range(n)]
    chosen = selection.select(uids, selection.random_scores(uids, seed=0), "random", 0.33)
    late = np.mean([uid >= "u10000" for uid in chosen["uid"].to_pylist()])
    assert late == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(0.33 * n))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_range(fraction):
    with pytest.raises(UserError, match=r"select.fraction is .*; allowed: greater than 0, at most 1"):
        selection.select(UIDS, VARIABILITY, "ambiguous", fraction)


def write_datamap(path, uids, labels, variability):
    columns = {
        field.name: pa.array([""] * len(uids)) if field.type == pa.string() else np.zeros(len(uids))
        for field in DATAMAP
    }
    columns |= {"uid": uids, "label": pa.array(labels, pa.int8()), "variability": variability}
    write_table(pa.table(columns), path, DATAMAP)


def write_data(path, uids, labels):
    table = pa.table({"uid": uids, "text_a": uids, "label": pa.array(labels, pa.int8())})
    write_table(table, path, data_schema(pairs=False))


def test_write_from_a_data_map(tmp_path):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 1, 0, 1, 0], VARIABILITY)
    output = tmp_path / "subset.parquet"
    selection.write(tmp_path / "map.parquet", output, "ambiguous", 0.5)
    assert read_table(output).schema.equals(SUBSET)
    assert read_table(output).to_pydict() == {"uid": ["e", "b"], "score": [0.4, 0.3], "rank": [0, 1]}
    assert read_metadata(output) == {"by": "ambiguous", "fraction": "0.5", "rows": "2", "of": "5"}


def test_write_random_from_data(tmp_path):
    write_data(tmp_path / "data.parquet", UIDS, [0, 1, 0, 1, 0])
    output = tmp_path / "subset.parquet"
    selection.write(tmp_path / "data.parquet", output, "random", 0.8, seed=3)
    scores = selection.random_scores(UIDS, seed=3)
    assert read_table(output)["uid"].to_pylist() == [UIDS[i] for i in np.argsort(scores)[:4]]

    before = output.read_bytes()
    selection.write(tmp_path / "data.parquet", output, "random", 0.8, seed=3)
    assert output.read_bytes() == before


def test_fewer_rows_than_classes(tmp_path):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 1, 2, 1, 0], VARIABILITY)
    with pytest.raises(UserError, match=r"^select.fraction 0.5 of 5 examples is a subset of 2 for 3 classes; .*raise"):
        selection.write(tmp_path / "map.parquet", tmp_path / "subset.parquet", "hard", 0.5)
    assert not (tmp_path / "subset.parquet").exists()


def test_an_empty_subset(tmp_path):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 0, 0, 0, 0], VARIABILITY)
    with pytest.raises(UserError, match="a subset of 0 for 1 classes"):
        selection.write(tmp_path / "map.parquet", tmp_path / "subset.parquet", "hard", 0.1)


def test_an_unknown_criterion(tmp_path):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 1, 0, 1, 0], VARIABILITY)
    with pytest.raises(UserError, match=r"'best', .*allowed: ambiguous, hard, easy, random"):
        selection.write(tmp_path / "map.parquet", tmp_path / "subset.parquet", "best", 0.5)


def test_a_class_that_the_subset_lacks_is_a_warning(tmp_path, caplog):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 1, 2, 1, 1], VARIABILITY)
    with caplog.at_level(logging.WARNING):
        selection.write(tmp_path / "map.parquet", tmp_path / "subset.parquet", "ambiguous", 0.6)
    assert "no example of class 0, 2" in caplog.text
