"""Artifacts are written whole or not at all, the same to the byte, with their metadata."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftft.schemas import (
    atomic_path,
    data_schema,
    dynamics_schema,
    predictions_schema,
    read_metadata,
    read_table,
    tokens_schema,
    write_table,
)

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


def test_schemas_that_depend_on_the_data():
    assert data_schema(pairs=False).names == ["uid", "text_a", "label"]
    extra = pa.field("kind", pa.string())
    assert data_schema(pairs=True, extra=[extra]).names == ["uid", "text_a", "text_b", "label", "kind"]
    assert tokens_schema(token_types=False).names == ["uid", "label", "input_ids", "length"]
    assert tokens_schema(token_types=True).names == ["uid", "label", "input_ids", "token_type_ids", "length"]
    for schema in (dynamics_schema(3), predictions_schema(3)):
        assert schema.field("logits").type.list_size == 3
        assert schema.field("logits").type.value_type == pa.float32()
