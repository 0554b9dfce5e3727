import logging
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.model_selection import StratifiedShuffleSplit

from ftft.core.artifacts import read_metadata, read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import data_schema
from ftft.dynamics import criteria, ranking, selection
from ftft.dynamics.schemas import DATAMAP, SUBSET

UIDS = ["d", "b", "a", "c", "e"]
VARIABILITY = [0.2, 0.3, 0.1, 0.3, 0.4]
CONFIDENCE = [0.9, 0.1, 0.5, 0.7, 0.1]


def test_every_number_of_the_data_map_selects_from_either_end():
    numbers = [field.name for field in DATAMAP if pa.types.is_floating(field.type) or field.name == "forgetting"]
    assert list(criteria.CRITERIA)[:4] == ["ambiguous", "hard", "easy", "random"]
    for name in numbers:
        high, low = criteria.CRITERIA[f"{name}-high"], criteria.CRITERIA[f"{name}-low"]
        assert (high.column, high.descending, low.column, low.descending) == (name, True, name, False)
    assert len(criteria.CRITERIA) == 4 + 2 * 8
    assert criteria.CRITERIA["ambiguous"] == criteria.CRITERIA["variability-high"]
    assert criteria.CRITERIA["hard"] == criteria.CRITERIA["confidence-low"]
    assert criteria.CRITERIA["easy"] == criteria.CRITERIA["confidence-high"]


@pytest.mark.parametrize(
    ("by", "scores", "expected"),
    [
        ("ambiguous", VARIABILITY, ["e", "b", "c", "d"]),
        ("hard", CONFIDENCE, ["b", "e", "a", "c"]),
        ("easy", CONFIDENCE, ["d", "c", "a", "b"]),
        ("random", CONFIDENCE, ["b", "e", "a", "c"]),
        ("aum-high", [-1.0, 2.0, -3.0, 2.0, 0.0], ["b", "c", "e", "d"]),
        ("aum-low", [-1.0, 2.0, -3.0, 2.0, 0.0], ["a", "d", "e", "b"]),
        ("forgetting-high", [0, 1, 4, 1, 2], ["a", "e", "b", "c"]),
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
    assert ranking.subset_size(n, float(fraction)) == exact


def test_sizes_where_floating_point_falls_short():
    assert int(0.29 * 100) == 28
    assert ranking.subset_size(100, 0.29) == 29


@pytest.mark.parametrize("n", [10, 33, 100])
@pytest.mark.parametrize("by", criteria.CRITERIA)
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
                range(n), key=lambda i: (-scores[i] if criteria.CRITERIA[by].descending else scores[i], uids[i])
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


@pytest.mark.parametrize(
    ("counts", "size", "balance", "expected"),
    [
        ([50, 30, 20], 10, "proportional", [5, 3, 2]),
        # 3.3, 3.3 and 3.4 of ten: the largest remainder gets the tenth.
        ([33, 33, 34], 10, "proportional", [3, 3, 4]),
        # 1.5 and 1.5 of three: equal remainders, the lower class.
        ([5, 5], 3, "proportional", [2, 1]),
        # 0.9, 8.1: rounding down would leave class 0 out.
        ([1, 9], 9, "proportional", [1, 8]),
        ([4, 0, 6], 10, "proportional", [4, 0, 6]),
        ([50, 30, 20], 30, "equal", [10, 10, 10]),
        ([50, 30, 20], 32, "equal", [11, 11, 10]),
        ([50, 30, 2], 30, "equal", [14, 14, 2]),
        ([5, 5, 5], 7, "equal", [2, 2, 3]),
        ([1, 2, 3], 6, "equal", [1, 2, 3]),
        ([7], 3, "equal", [3]),
    ],
)
def test_class_sizes_by_hand(counts, size, balance, expected):
    assert selection.class_sizes(counts, size, balance).tolist() == expected


@pytest.mark.parametrize("balance", selection.BALANCES)
def test_class_sizes_add_up_and_fit(balance):
    rng = np.random.default_rng(1)
    for _ in range(300):
        counts = rng.integers(0, 30, size=rng.integers(1, 6))
        size = int(rng.integers(0, counts.sum() + 1))
        sizes = selection.class_sizes(counts, size, balance)
        assert sizes.sum() == size
        assert (sizes <= counts).all()
        if balance == "proportional":
            assert (abs(sizes - size * counts / max(counts.sum(), 1)) < 1).all()
        else:  # whoever has fewer than another has given all
            assert all(sizes[i] >= sizes.max() - 1 or sizes[i] == counts[i] for i in range(len(counts)))


def test_proportional_classes_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    (chosen, _), *_ = StratifiedShuffleSplit(1, train_size=330, random_state=0).split(labels, labels)
    found = selection.class_sizes([500, 300, 200], 330, "proportional")
    assert found.tolist() == np.bincount(labels[chosen]).tolist() == [165, 99, 66]


BALANCED = {"uids": [*"abcdefgh"], "labels": [0, 0, 0, 0, 0, 0, 1, 1]}
SCORES = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("balance", "expected"), [(None, [*"abcd"]), ("proportional", [*"abcg"]), ("equal", [*"abgh"])]
)
def test_balanced_classes_by_hand(balance, expected):
    subset = selection.select(
        BALANCED["uids"], SCORES, "ambiguous", 0.5, labels=BALANCED["labels"], balance=balance
    ).to_pydict()
    assert subset["uid"] == expected
    assert subset["score"] == [SCORES["abcdefgh".index(uid)] for uid in expected]
    assert subset["rank"] == [0, 1, 2, 3]


def test_easy_examples_mixed_in_by_hand():
    # Four of five; a quarter of them easy. e, b and c vary most; of the others, d is surer than a.
    subset = selection.select(UIDS, VARIABILITY, "ambiguous", 0.8, confidence=CONFIDENCE, easy_share=0.25)
    assert subset.schema.equals(SUBSET)
    assert subset.to_pydict() == {"uid": ["e", "b", "c", "d"], "score": [0.4, 0.3, 0.3, 0.9], "rank": [0, 1, 2, 3]}
    # Both ends of the confidence: b and e are the hardest, d and c the easiest.
    ends = selection.select(UIDS, CONFIDENCE, "hard", 0.8, confidence=CONFIDENCE, easy_share=0.5)
    assert ends["uid"].to_pylist() == ["b", "e", "d", "c"]
    # floor(0.2 * 4) = 0: nothing changes.
    few = selection.select(UIDS, VARIABILITY, "ambiguous", 0.8, confidence=CONFIDENCE, easy_share=0.2)
    assert few.equals(selection.select(UIDS, VARIABILITY, "ambiguous", 0.8))


def test_easy_examples_within_balanced_classes_by_hand():
    # Two of each class, one of them easy: the most variable (a, g), then the surest of the class's others.
    confidence = [0.9, 0.1, 0.1, 0.1, 0.3, 0.2, 0.8, 0.5]
    subset = selection.select(
        BALANCED["uids"],
        SCORES,
        "ambiguous",
        0.5,
        labels=BALANCED["labels"],
        balance="equal",
        confidence=confidence,
        easy_share=0.5,
    )
    assert subset["uid"].to_pylist() == ["a", "g", "h", "e"]
    assert subset["score"].to_pylist() == [0.8, 0.2, 0.5, 0.3]


@pytest.mark.parametrize("balance", [None, *selection.BALANCES])
@pytest.mark.parametrize("easy_share", [0.0, 0.1, 0.5, 0.99])
def test_size_and_order_do_not_depend_on_what_is_mixed(balance, easy_share):
    rng = np.random.default_rng(5)
    n = 203
    uids = np.array([f"u{i}" for i in range(n)])
    scores, confidence = rng.integers(0, 9, (2, n)) / 9
    labels = rng.choice(3, n, p=[0.7, 0.2, 0.1])

    def selected(rows):
        return selection.select(
            uids[rows],
            scores[rows],
            "forgetting-high",
            0.33,
            labels=labels[rows],
            balance=balance,
            confidence=confidence[rows],
            easy_share=easy_share,
        )

    expected = selected(np.arange(n))
    assert expected.num_rows == len(set(expected["uid"].to_pylist())) == 66
    assert expected["rank"].to_pylist() == list(range(66))
    assert selected(rng.permutation(n)).equals(expected)


def test_mean_rank_by_hand():
    # Ranks 1 2 3 and 3 1.5 1.5, means 2 1.75 2.25, minus a half, over 3.
    found = selection.mean_rank([[0.1, 0.2, 0.3], [9.0, -5.0, -5.0]])
    assert found == pytest.approx([0.5, 1.25 / 3, 1.75 / 3])


def test_mean_rank_agrees_with_scipy_and_has_exact_ties():
    rng = np.random.default_rng(2)
    maps = rng.integers(0, 40, (3, 150)).astype(float)
    found = selection.mean_rank(maps)
    assert found == pytest.approx((np.mean([stats.rankdata(scores) for scores in maps], axis=0) - 0.5) / 150)
    assert found.tolist() == selection.mean_rank(maps[::-1]).tolist()
    assert selection.mean_rank([[0, 1, 2], [1, 2, 0], [2, 0, 1]]).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"balance": "even"}, "select.balance is 'even'; allowed: equal, proportional"),
        ({"easy_share": 1}, "select.easy_share is 1; allowed: at least 0, less than 1"),
        ({"by": "random", "easy_share": 0.1}, "select.easy_share needs a data map"),
    ],
)
def test_settings_outside_their_range(settings, message):
    with pytest.raises(UserError, match=message):
        selection.select(UIDS, VARIABILITY, **({"by": "ambiguous", "fraction": 0.5} | settings))


def write_datamap(path, uids, labels, variability, confidence=None):
    columns = {
        field.name: pa.array([""] * len(uids)) if field.type == pa.string() else np.zeros(len(uids))
        for field in DATAMAP
    }
    columns |= {"uid": uids, "label": pa.array(labels, pa.int16()), "variability": variability}
    if confidence is not None:
        columns["confidence"] = confidence
    write_table(pa.table(columns), path, DATAMAP)


def write_data(path, uids, labels):
    table = pa.table({"uid": uids, "text_a": uids, "label": pa.array(labels, pa.int16())})
    write_table(table, path, data_schema(pairs=False))


def test_write_from_a_data_map(tmp_path):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 1, 0, 1, 0], VARIABILITY)
    output = tmp_path / "subset.parquet"
    selection.write(tmp_path / "map.parquet", output, "ambiguous", 0.5)
    assert read_table(output).schema.equals(SUBSET)
    assert read_table(output).to_pydict() == {"uid": ["e", "b"], "score": [0.4, 0.3], "rank": [0, 1]}
    plain = {"balance": "none", "by": "ambiguous", "easy_share": "0.0", "fraction": "0.5"}
    assert read_metadata(output) == plain | {"maps": "1", "of": "5", "rows": "2"}


def test_write_from_several_data_maps(tmp_path):
    # Ranks by variability of d b a c e: 2 3.5 1 3.5 5 and 5 1.5 4 3 1.5, sums 7 5 5 6.5 6.5.
    maps = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    write_datamap(maps[0], UIDS, [0, 1, 0, 1, 0], VARIABILITY, CONFIDENCE)
    write_datamap(maps[1], UIDS, [0, 1, 0, 1, 0], [0.5, 0.01, 0.04, 0.03, 0.01], CONFIDENCE)
    output = tmp_path / "subset.parquet"
    selection.write(maps, output, "ambiguous", 0.8, easy_share=0.25)
    found = read_table(output).to_pydict()
    # Then the surest of a and b, whose confidences 0.5 and 0.1 have the ranks 3 and 1.5.
    assert found["uid"] == ["d", "c", "e", "a"]
    assert found["score"] == pytest.approx([3 / 5, 2.75 / 5, 2.75 / 5, 2.5 / 5])
    assert read_metadata(output)["maps"] == "2"
    before = output.read_bytes()
    selection.write(maps[::-1], output, "ambiguous", 0.8, easy_share=0.25)
    assert output.read_bytes() == before


def test_data_maps_of_different_examples(tmp_path):
    write_datamap(tmp_path / "one.parquet", UIDS, [0, 1, 0, 1, 0], VARIABILITY)
    write_datamap(tmp_path / "two.parquet", UIDS[::-1], [0, 1, 0, 1, 0], VARIABILITY)
    with pytest.raises(UserError, match=r"one.parquet and .*two.parquet are of different examples; delete"):
        selection.write([tmp_path / "one.parquet", tmp_path / "two.parquet"], tmp_path / "s.parquet", "hard", 0.5)


def test_a_data_map_without_the_measure_is_one_line(tmp_path):
    """As one from another program's coordinates may be: an order of nothing would be the order of uids."""
    path = tmp_path / "map.parquet"
    write_datamap(path, UIDS, [0, 1, 0, 1, 0], VARIABILITY)
    table = read_table(path)
    index = table.column_names.index("aum")
    write_table(table.set_column(index, "aum", pa.nulls(len(UIDS), table["aum"].type)), path, DATAMAP)
    with pytest.raises(UserError, match=r"map.parquet has no aum for 5 examples; choose another criterion"):
        selection.write(path, tmp_path / "s.parquet", "aum-low", 0.5)


def test_write_balanced_random(tmp_path):
    write_data(tmp_path / "data.parquet", BALANCED["uids"], BALANCED["labels"])
    output = tmp_path / "subset.parquet"
    selection.write([tmp_path / "data.parquet"], output, "random", 0.5, balance="equal", seed=1)
    assert sorted(read_table(output)["uid"].to_pylist())[-2:] == ["g", "h"]
    assert read_metadata(output)["maps"] == "0"


def test_write_random_from_data(tmp_path):
    write_data(tmp_path / "data.parquet", UIDS, [0, 1, 0, 1, 0])
    output = tmp_path / "subset.parquet"
    selection.write(tmp_path / "data.parquet", output, "random", 0.8, seed=3)
    scores = selection.random_scores(UIDS, seed=3)
    assert read_table(output)["uid"].to_pylist() == [UIDS[i] for i in np.argsort(scores)[:4]]

    before = output.read_bytes()
    selection.write(tmp_path / "data.parquet", output, "random", 0.8, seed=3)
    assert output.read_bytes() == before


def test_fewer_rows_than_classes(tmp_path, caplog):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 1, 2, 1, 0], VARIABILITY)
    selection.write(tmp_path / "map.parquet", tmp_path / "subset.parquet", "hard", 0.5)
    assert read_table(tmp_path / "subset.parquet").num_rows == 2
    assert "has no example of class" in caplog.text


def test_an_empty_subset(tmp_path):
    write_datamap(tmp_path / "map.parquet", UIDS, [0, 0, 0, 0, 0], VARIABILITY)
    with pytest.raises(UserError, match="a subset of 0; at least one is needed"):
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
