"""Rows that a set shares with the train set are counted, and classes without rows are named."""

import pytest

from ftft.core.artifacts import read_table
from ftft.core.errors import UserError
from ftft.data import inspection


@pytest.fixture
def checked(tmp_path, write_data):
    """``checked(train, dev, …)`` gives the rows of the table by set, and the warnings."""

    def run(group=None, labels=("no", "yes"), **sets):
        paths = {
            name: write_data(tmp_path / f"{name}.parquet", *map(list, zip(*rows, strict=True)))
            for name, rows in sets.items()
        }
        output, text = tmp_path / "out.parquet", tmp_path / "out.txt"
        found = inspection.check(paths, labels, group, output, text)
        assert inspection.warnings(read_table(output)) == found
        assert text.read_text(encoding="utf-8") == "".join(f"WARNING: {line}\n" for line in found)
        return {row.pop("dataset"): row for row in read_table(output).to_pylist()}, found

    return run


TRAIN = [("a", 0), ("b", 1), ("b", 0), ("c", 1)]


def test_texts_of_the_train_set_are_counted_with_those_of_another_label(checked):
    table, found = checked(
        train=TRAIN, dev=[("a", 0), ("a", 1), ("b", 1), ("b", 0), ("c", 0), ("d", 0), ("A", 1), ("", 1)]
    )
    assert table["dev"] == {"rows": 8, "in_train": 5, "other_label": 2, "missing": []}
    assert table["train"] == {"rows": 4, "in_train": None, "other_label": None, "missing": []}
    assert found == [
        "5 of the 8 rows of dev (62.5 %) have texts that are in the train set too, 2 of them with another label: "
        "scores on dev are not of unseen text alone."
    ]


def test_a_pair_is_shared_where_both_texts_are(checked):
    train = [("a", 0, "b"), ("c", 1, "d")]
    table, _ = checked(train=train, dev=[("a", 0, "d"), ("b", 1, "a"), ("c", 1, "d"), ("ab", 0, ""), ("", 1, "ab")])
    assert table["dev"]["in_train"] == 1


@pytest.mark.parametrize(("shared", "warned"), [(2, False), (3, True)])
def test_up_to_one_row_in_a_hundred_is_no_warning(checked, shared, warned):
    rows = [("a", 0)] * shared + [(f"other{number}", number % 2) for number in range(200 - shared)]
    table, found = checked(train=TRAIN, dev=[("x", 0), ("y", 1)], **{"far.test": rows})
    assert table["far.test"]["in_train"] == shared
    assert bool(found) == warned
    assert not found or found[0].startswith("3 of the 200 rows of far.test (1.5 %)")


def test_classes_without_a_row_are_named(checked):
    labels = ("no", "yes", "maybe")
    table, found = checked(labels=labels, train=TRAIN, dev=[("x", 2)], test=[("y", 0)], **{"far.test": [("z", 1)]})
    assert {name: row["missing"] for name, row in table.items()} == {
        "train": ["maybe"],
        "dev": ["no", "yes"],
        "far.test": ["no", "maybe"],
        "test": ["yes", "maybe"],
    }
    # A set from elsewhere may well lack a class.
    assert found == [
        "No row of the train set has the label 'maybe'.",
        "No row of dev has the label 'no', 'yes'.",
        "No row of test has the label 'yes', 'maybe'.",
    ]


def test_a_group_is_a_column_of_the_train_set(checked):
    checked(train=TRAIN, dev=TRAIN, group="uid")
    with pytest.raises(UserError) as failure:
        checked(train=TRAIN, dev=TRAIN, group="gener\n")
    assert str(failure.value) == (
        r"data.group is 'gener\n', but the train set has no such column; found: uid, text_a, label; name one of them, "
        "or leave data.group out"
    )
