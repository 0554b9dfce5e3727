"""Artifacts are written whole or not at all, the same to the byte, and refused when they are not what was written."""

import json
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftft.core.artifacts import (
    atomic_path,
    column_names,
    count_groups,
    read_groups,
    read_json,
    read_metadata,
    read_names,
    read_table,
    write_table,
)
from ftft.core.errors import UserError

SCHEMA = pa.schema({"uid": pa.string(), "rank": pa.int32()})


def table(*ranks: int) -> pa.Table:
    return pa.table({"uid": [f"u{rank}" for rank in ranks], "rank": pa.array(ranks, pa.int32())})


def test_round_trip_in_a_new_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "table.parquet"
    write_table(table(1, 2), path, SCHEMA, {"rows": "2"})
    assert read_table(path).to_pylist() == [{"uid": "u1", "rank": 1}, {"uid": "u2", "rank": 2}]
    assert read_table(path, ["rank"]).column_names == ["rank"]
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_columns_are_put_in_order_and_cast(tmp_path):
    write_table(pa.table({"rank": pa.array([7], pa.int64()), "uid": ["u7"]}), tmp_path / "t.parquet", SCHEMA)
    assert pq.read_schema(tmp_path / "t.parquet") == SCHEMA


@pytest.mark.parametrize("columns", [{"uid": ["a"]}, {"uid": ["a"], "rank": [1], "score": [0.5]}])
def test_missing_and_surplus_columns_are_refused(tmp_path, columns):
    with pytest.raises(ValueError, match=r"columns must be \['uid', 'rank'\]; found "):
        write_table(pa.table(columns), tmp_path / "t.parquet", SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(pa.ArrowInvalid):
        write_table(pa.table({"uid": ["a"], "rank": [2**40]}), tmp_path / "t.parquet", SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    def groups():
        yield table(1)
        raise RuntimeError("half way")

    path = tmp_path / "t.parquet"
    with pytest.raises(RuntimeError, match="half way"):
        write_table(groups(), path, SCHEMA)
    assert list(tmp_path.iterdir()) == []
    write_table(table(9), path, SCHEMA)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="half way"):
        write_table(groups(), path, SCHEMA)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_replaces_only_at_the_end(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_table_without_rows_is_read_by_other_programs(tmp_path):
    from datasets import load_dataset  # slow to import

    schema = pa.schema({"name": pa.string(), "value": pa.float64()})
    write_table(schema.empty_table(), tmp_path / "empty.parquet", schema)
    assert read_table(tmp_path / "empty.parquet").equals(schema.empty_table())
    assert pq.read_table(tmp_path / "empty.parquet").num_rows == 0
    assert pd.read_parquet(tmp_path / "empty.parquet").columns.to_list() == ["name", "value"]
    files = {"train": str(tmp_path / "empty.parquet")}
    assert list(load_dataset("parquet", data_files=files, split="train", streaming=True)) == []


def test_same_bytes_whatever_the_order_of_metadata_and_chunks(tmp_path):
    write_table(table(1, 2, 3), tmp_path / "a.parquet", SCHEMA, {"b": "2", "a": "1"})
    chunks = pa.concat_tables([table(1), table(2, 3)])
    write_table(chunks, tmp_path / "b.parquet", SCHEMA, {"a": "1", "b": "2"})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_metadata_is_sorted_and_complete(tmp_path):
    write_table(table(1), tmp_path / "t.parquet", SCHEMA, {"z": "ü", "a": "1", "m": ""})
    assert list(read_metadata(tmp_path / "t.parquet").items()) == [("a", "1"), ("m", ""), ("z", "ü")]
    write_table(table(1), tmp_path / "t.parquet", SCHEMA)
    assert read_metadata(tmp_path / "t.parquet") == {}


def test_metadata_of_the_table_itself_is_not_kept(tmp_path):
    stray = table(1).replace_schema_metadata({"pandas": "of this machine"})
    write_table(stray, tmp_path / "t.parquet", SCHEMA, {"a": "1"})
    assert read_metadata(tmp_path / "t.parquet") == {"a": "1"}


def test_one_row_group_per_table_of_an_iterable(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(iter([table(1, 2), table(), table(3)]), path, SCHEMA)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 1]
    write_table(iter([]), path, SCHEMA)
    assert read_table(path).num_rows == 0
    write_table(table(), path, SCHEMA)
    assert read_table(path).schema == SCHEMA


# One column of every kind that data may carry along, with missing values.
KINDS = {
    "int": pa.array([1, None, 3, 4], pa.int16()),
    "float": pa.array([0.5, float("nan"), None, -0.0], pa.float32()),
    "text": pa.array(["a", "", None, "ü\n"]),
    "large": pa.array(["a", "", None, "ü"], pa.large_string()),
    "bytes": pa.array([b"a", b"", None, b"\xff"]),
    "bool": pa.array([True, None, False, True]),
    "list": pa.array([[1, 2], [], None, [3]], pa.list_(pa.int32())),
    "lists": pa.array([[["a"], []], None, [None], [["b", "c"]]]),
    "fixed": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 2, "b": None}]),
    "when": pa.array([0, None, 1, 2], pa.timestamp("us")),
    "decimal": pa.array(["1.5", None, "2.5", "3.5"]).cast(pa.decimal128(5, 2)),
    "word": pa.array(["x", "y", None, "x"]).dictionary_encode(),
    "nothing": pa.nulls(4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column_is_read_back_and_noticed_when_it_changes(tmp_path, kind):
    path, whole = tmp_path / "t.parquet", pa.table({"x": KINDS[kind]})
    write_table(whole, path, whole.schema)
    assert str(read_table(path)["x"].to_pylist()) == str(KINDS[kind].to_pylist())
    if kind == "nothing":
        return
    metadata = pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, whole.schema) as writer:  # as somebody does who edits a file and keeps its metadata
        writer.write_table(whole.take([2, 1, 3, 0]))
        writer.add_key_value_metadata({b"checksums": metadata[b"checksums"]})
    with pytest.raises(UserError, match=r"t.parquet is damaged: values in x are not those that were written; delete"):
        read_table(path)


@pytest.mark.parametrize("kind", KINDS)
def test_checksums_see_values_alone(tmp_path, kind):
    """Not how a column is cut into chunks, nor where in a larger buffer it lies."""
    array = KINDS[kind]
    longer = pa.concat_arrays([array, array])
    forms = [pa.chunked_array([array]), pa.chunked_array([array[:1], array[1:]]), pa.chunked_array([longer[4:]])]
    found = set()
    for form in forms:
        write_table(pa.table({"x": form}), tmp_path / "t.parquet", pa.schema({"x": array.type}))
        found.add(pq.read_metadata(tmp_path / "t.parquet").metadata[b"checksums"])
    assert len(found) == 1


def test_columns_that_are_not_read_are_not_checked(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(table(1, 2), path, SCHEMA)
    metadata = pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, SCHEMA) as writer:
        writer.write_table(table(1, 3).set_column(0, "uid", pa.array(["u1", "u2"])))
        writer.add_key_value_metadata({b"checksums": metadata[b"checksums"]})
    assert read_table(path, ["uid"])["uid"].to_pylist() == ["u1", "u2"]
    with pytest.raises(UserError, match="values in rank"):
        read_table(path, ["uid", "rank"])


def test_parts_are_checked_by_themselves(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(iter([table(1), table(2), table(3)]), path, SCHEMA)
    assert [group["rank"].to_pylist() for group in read_groups(path, slice(1, None))] == [[2], [3]]
    assert count_groups(path) == 3
    assert column_names(path) == ["uid", "rank"]
    metadata = pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for rank in (1, 3, 2):
            writer.write_table(table(rank))
        writer.add_key_value_metadata({b"checksums": metadata[b"checksums"]})
    assert [group["rank"].to_pylist() for group in read_groups(path, slice(1))] == [[1]]
    with pytest.raises(UserError, match="are not those that were written"):
        list(read_groups(path))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "beginning only": lambda path: path.write_bytes(path.read_bytes()[:6]),
    "garbled": lambda path: path.write_bytes(
        path.read_bytes()[:8] + bytes(byte ^ 0xFF for byte in path.read_bytes()[8:40]) + path.read_bytes()[40:]
    ),
    "garbled footer": lambda path: path.write_bytes(path.read_bytes()[:-60] + b"x" * 52 + path.read_bytes()[-8:]),
    "another format": lambda path: path.write_text("uid,rank\n"),
    "without checksums": lambda path: pq.write_table(table(1, 2), path),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path, damage):
    path = tmp_path / "t.parquet"
    write_table(table(1, 2), path, SCHEMA, {"rows": "2"})
    DAMAGE[damage](path)
    with pytest.raises(UserError) as caught:
        read_table(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "run again" in message
    assert len(message) <= 400


def test_a_column_and_a_key_that_are_missing_are_named(tmp_path):
    write_table(table(1), tmp_path / "t.parquet", SCHEMA, {"rows": "1"})
    with pytest.raises(UserError, match="has no column score"):
        read_table(tmp_path / "t.parquet", ["uid", "score"])
    assert read_metadata(tmp_path / "t.parquet", "rows") == {"rows": "1"}
    with pytest.raises(UserError, match="its metadata lack labels"):
        read_metadata(tmp_path / "t.parquet", "rows", "labels")


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", ["{", "1", "[1]", DEEP])
def test_names_that_are_none_are_one_line(tmp_path, text):
    write_table(table(1), tmp_path / "t.parquet", SCHEMA, {"labels": text})
    with pytest.raises(UserError, match=r"t.parquet is damaged: labels in its metadata are no list of names"):
        read_names(tmp_path / "t.parquet")


def test_garbled_metadata_are_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(table(1), path, SCHEMA, {"labels": "garbled"})
    path.write_bytes(path.read_bytes().replace(b"garbled", b"garb\xffed"))
    with pytest.raises(UserError, match=r"t.parquet is damaged: its metadata are no text"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged"),
        (DEEP, "damaged"),
        ("", "damaged"),
        ("[]", "holds no object"),
        ('{"a": 1}', "lacks b"),
        (None, "there is no file"),
    ],
)
def test_json_that_is_not_what_it_should_be_is_one_line(tmp_path, text, words):
    path = tmp_path / "source.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_json(path, "a", "b")
    assert str(path) in str(caught.value)


def test_json_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    assert read_json(tmp_path / "a.json", "a") == {"a": 1}
