"""Every kind of source becomes the same kind of dataset, and bad input gets one clear line."""

import bz2
import gzip
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftft.core import artifacts
from ftft.core.errors import UserError, without_credentials
from ftft.data import planted, prepare
from ftft.data.schemas import data_schema
from ftft.experiment.config import Source, plain

NLI = ["entailment", "neutral", "contradiction"]


def config(source, text=("text",), label="label", uid=None, labels=("no", "yes"), role="dev"):
    return {
        "source": plain(Source(**source)),
        "text": list(text),
        "label": label,
        "uid": uid,
        "labels": list(labels),
        "role": role,
    }


@pytest.fixture
def download(tmp_path):
    """Write ``content`` to a file, download it with ``settings``, and return the rows of the dataset."""

    def run(content, name="in.csv", *, source=None, **settings):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        prepare.download(config({"path": name, **(source or {})}, **settings), tmp_path / "out.parquet", tmp_path)
        return artifacts.read_table(tmp_path / "out.parquet").to_pylist()

    return run


def fails(run, *args, **kwargs):
    with pytest.raises(UserError) as failure:
        run(*args, **kwargs)
    message = str(failure.value)
    assert "\n" not in message
    return message


def test_csv(download, tmp_path):
    rows = download('text,label,note\n"a, b",no,1\n"say ""hi""\nagain",yes,02\n')
    assert rows == [
        {"uid": "row00000001", "text_a": "a, b", "label": 0, "note": "1"},
        {"uid": "row00000002", "text_a": 'say "hi"\nagain', "label": 1, "note": "02"},
    ]
    schema = pq.read_schema(tmp_path / "out.parquet").remove_metadata()
    assert schema == data_schema(pairs=False, extra=[pa.field("note", pa.string())])


def test_text_that_looks_like_nothing_or_a_number_stays_text(download):
    rows = download("text,label\nNA,no\nnull,yes\n007,yes\n")
    assert [row["text_a"] for row in rows] == ["NA", "null", "007"]


def test_tsv_without_quoting_and_with_a_header(download):
    content = 'index\tsentence1\tsentence2\tgold_label\n0\t"Open\tquote" mark\tneutral\n1\ta\tb\tentailment\n'
    rows = download(
        content,
        "mnli.txt",
        source={"format": "tsv"},
        text=("sentence1", "sentence2"),
        label="gold_label",
        labels=NLI,
    )
    assert [(row["text_a"], row["text_b"], row["label"], row["index"]) for row in rows] == [
        ('"Open', 'quote" mark', 1, "0"),
        ("a", "b", 0, "1"),
    ]


def test_headerless_columns_by_position(download):
    rows = download("yes\thello\tu2\nno\tbye\tu1\n", "in.tsv", source={"columns": ["label", "text", "id"]}, uid="id")
    assert rows == [{"uid": "u2", "text_a": "hello", "label": 1}, {"uid": "u1", "text_a": "bye", "label": 0}]


def test_json_lines_with_relabel(download):
    lines = [
        {"uid": "x", "context": "A", "hypothesis": "B", "label": "e", "reason": "", "tag": [1, {"b": 2, "a": 1}]},
        {"uid": "y", "context": "C", "hypothesis": "D", "label": "c", "genre": "wiki", "tag": None},
    ]
    rows = download(
        "\n".join(map(json.dumps, lines)) + "\n\n",
        "anli.jsonl",
        source={"relabel": {"e": "entailment", "n": "neutral", "c": "contradiction"}},
        text=("context", "hypothesis"),
        uid="uid",
        labels=NLI,
    )
    assert rows == [
        {
            "uid": "x",
            "text_a": "A",
            "text_b": "B",
            "label": 0,
            "reason": "",
            "tag": '[1, {"a": 1, "b": 2}]',
            "genre": None,
        },
        {"uid": "y", "text_a": "C", "text_b": "D", "label": 2, "reason": None, "tag": None, "genre": "wiki"},
    ]


def test_json_array(download):
    rows = download('[{"text": "a", "label": 1}, {"text": 5, "label": 0}]', "in.json")
    assert [(row["text_a"], row["label"]) for row in rows] == [("a", 1), ("5", 0)]


def test_json_lines_keep_unusual_line_separators(download):
    assert download('{"text": "a\u2028b\x85c", "label": "no"}\n', "in.jsonl")[0]["text_a"] == "a\u2028b\x85c"


def test_parquet_keeps_further_columns_and_their_types(download, tmp_path):
    table = pa.table({"text": pa.array(["a", "b"], pa.large_string()), "label": ["yes", "no"], "n": [[1], [2, 3]]})
    pq.write_table(table, tmp_path / "in.parquet")
    assert download((tmp_path / "in.parquet").read_bytes(), "in.parquet") == [
        {"uid": "row00000001", "text_a": "a", "label": 1, "n": [1]},
        {"uid": "row00000002", "text_a": "b", "label": 0, "n": [2, 3]},
    ]


def test_parquet_written_by_pandas_with_categories(download, tmp_path):
    frame = pd.DataFrame({"text": ["a", None], "label": pd.Categorical(["yes", "no"])}, index=[7, 8])
    frame.to_parquet(tmp_path / "in.parquet")
    rows = download((tmp_path / "in.parquet").read_bytes(), "in.parquet")
    assert [(row["text_a"], row["label"]) for row in rows] == [("a", 1), ("", 0)]


def test_glob_reads_files_in_order_of_their_names(download, tmp_path):
    (tmp_path / "b1.csv").write_text("text,label\nsecond,yes\n")
    rows = download("text,label\nfirst,no\n", "a1.csv", source={"path": "?1.csv"})
    assert [row["text_a"] for row in rows] == ["first", "second"]


def test_every_file_of_a_glob_needs_the_columns_in_use(download, tmp_path):
    (tmp_path / "b1.csv").write_text("text,gold\nsecond,yes\n")
    message = fails(download, "text,label\nfirst,no\n", "a1.csv", source={"path": "?1.csv"})
    assert f"{tmp_path / 'b1.csv'}: no column 'label'; found: text, gold" in message


def test_further_columns_may_differ_between_files(download, tmp_path):
    (tmp_path / "b1.csv").write_text("label,text,note\nyes,second,n\n")
    rows = download("text,label\nfirst,no\n", "a1.csv", source={"path": "?1.csv"})
    assert [(row["text_a"], row["label"], row["note"]) for row in rows] == [("first", 0, None), ("second", 1, "n")]


def test_types_of_one_column_must_agree(download, tmp_path):
    pq.write_table(pa.table({"text": ["a"], "label": [0], "n": ["x"]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": [0], "n": [[1]]}), tmp_path / "c.parquet")
    with pytest.raises(UserError, match="files differ in the types of their columns"):
        prepare.download(config({"path": "?.parquet"}), tmp_path / "out.parquet", tmp_path)


def test_names_of_the_source_win_over_those_of_the_task(download):
    rows = download("body,gold,id\na,no,x\n", source={"text": "body", "label": "gold", "uid": "id"}, uid="nope")
    assert rows == [{"uid": "x", "text_a": "a", "label": 0}]


def test_further_columns_named_like_ours_are_renamed(download):
    rows = download("body,gold,uid,label,text_b,source_uid\na,no,1,2,3,4\n", text=("body",), label="gold")
    assert rows == [
        {
            "uid": "row00000001",
            "text_a": "a",
            "label": 0,
            "source_source_uid": "1",
            "source_label": "2",
            "source_text_b": "3",
            "source_uid": "4",
        }
    ]


def test_integer_labels_that_are_names(download):
    assert [row["label"] for row in download("text,label\na,1\nb,0\n", labels=("1", "0"))] == [0, 1]


def test_integer_labels_that_are_class_indices(download):
    assert [row["label"] for row in download("text,label\na,1\nb,0\n")] == [1, 0]


def test_relabel_renames_and_drops(download, caplog):
    with caplog.at_level(logging.INFO):
        rows = download(
            "text,label\na,hate\nb,-\nc,nothate\nd,yes\n",
            source={"relabel": {"hate": "yes", "nothate": "no", "-": None}},
        )
    assert [(row["uid"], row["label"]) for row in rows] == [("row00000001", 1), ("row00000003", 0), ("row00000004", 1)]
    assert "1 rows dropped by relabel" in caplog.text


def test_unlabelled_rows_are_dropped_only_on_request(download):
    content = "text,label\na,1\nb,-1\nc,0\n"
    assert [row["label"] for row in download(content, source={"relabel": {"-1": None}})] == [1, 0]
    message = fails(download, content)
    assert "holds '-1', in 1 of 3 rows, the first in row 2; allowed: no, yes" in message
    assert 'drop such rows with relabel: {"-1": null}' in message


def test_parts_split_a_file(download):
    uids = [f"u{number}" for number in range(400)]
    content = "id,text,label\n" + "".join(f"{uid},t,no\n" for uid in uids)
    head = [row["uid"] for row in download(content, source={"part": (0, 0.7)}, uid="id")]
    tail = [row["uid"] for row in download(content, source={"part": (0.7, 1)}, uid="id")]
    share = {uid: int(hashlib.sha256(uid.encode()).hexdigest(), 16) / 2**256 for uid in uids}
    assert head == [uid for uid in uids if share[uid] < 0.7]
    assert tail == [uid for uid in uids if share[uid] >= 0.7]


def test_first_rows(download):
    assert [row["text_a"] for row in download("text,label\na,no\nb,yes\nc,no\n", source={"rows": 2})] == ["a", "b"]


def test_metadata(download, tmp_path):
    download("text,label\na,no\nb,yes\n", source={"rows": 1, "relabel": {"x": "yes"}})
    metadata = artifacts.read_metadata(tmp_path / "out.parquet")
    content = '{"uid": ["row00000001"]}{"text_a": ["a"]}{"label": [0]}'
    assert metadata == {
        "labels": '["no", "yes"]',
        "source": '{"path": "in.csv", "relabel": {"x": "yes"}, "rows": 1}',
        "rows": "1",
        "content_hash": hashlib.sha256(content.encode()).hexdigest(),
    }


def test_content_hash_does_not_depend_on_the_format(download, tmp_path):
    def content_hash(*args):
        download(*args)
        return artifacts.read_metadata(tmp_path / "out.parquet")["content_hash"]

    as_csv = content_hash("text,label\na,no\nb,yes\n")
    assert as_csv == content_hash('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n', "in.jsonl")
    assert as_csv != content_hash("text,label\na,no\nb,no\n")


def test_same_bytes_twice(download, tmp_path):
    content = "text,label\na,no\nb,yes\n"
    download(content)
    first = (tmp_path / "out.parquet").read_bytes()
    download(content)
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_builtin(tmp_path):
    source = {"builtin": "planted", "split": "no_shortcut_dev", "rows": 50, "seed": 3}
    prepare.download(config(source, ("text_a", "text_b"), labels=NLI), tmp_path / "out.parquet")
    table = artifacts.read_table(tmp_path / "out.parquet")
    made = planted.generate("no_shortcut_dev", 50, 3)
    assert table.column_names == ["uid", "text_a", "text_b", "label", "kind", "true_label"]
    for name in ("uid", "text_a", "text_b", "kind"):
        assert table[name].to_pylist() == made[name].to_pylist()
    assert [NLI[label] for label in table["label"].to_pylist()] == made["label"].to_pylist()


def test_empty_and_null_texts_are_kept_and_counted(download, caplog):
    rows = download(
        '{"text": null, "label": "no"}\n{"text": "", "label": "yes"}\n{"text": "a", "label": "no"}', "i.jsonl"
    )
    assert [row["text_a"] for row in rows] == ["", "", "a"]
    assert "2 empty texts in column 'text', kept; the first in row 1" in caplog.text


def test_missing_file(tmp_path):
    message = fails(prepare.download, config({"path": "no.csv"}), tmp_path / "out.parquet", tmp_path)
    assert f"no such file: {tmp_path / 'no.csv'}" in message


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "in.csv", "the file is empty"),
        ("", "in.jsonl", "the file is empty"),
        ("text,label\n", "in.csv", "no rows are left of the 0 in the source"),
        ("[]", "in.json", "no column 'text'; found: none"),
    ],
)
def test_empty_file(download, content, name, message):
    assert message in fails(download, content, name)


def test_no_rows_left(download):
    message = fails(download, "text,label\na,x\n", source={"relabel": {"x": None}})
    assert "in.csv: no rows are left of the 1 in the source" in message


@pytest.mark.parametrize(
    ("text", "label", "uid"), [("body", "label", None), ("text", "body", None), ("text", "label", "body")]
)
def test_missing_column(download, text, label, uid):
    message = fails(download, "text,label\na,no\n", text=(text,), label=label, uid=uid)
    assert "in.csv: no column 'body'; found: text, label" in message


def test_column_twice(download):
    assert "the column 'text' occurs more than once" in fails(download, "text,text,label\na,b,no\n")


def test_label_outside_the_list(download):
    content = "text,label\na,no\nb,Yes\nc,maybe\nd,Yes\n"
    message = fails(download, content)
    assert "column 'label' holds 'Yes', 'maybe', in 3 of 4 rows, the first in row 2; allowed: no, yes" in message
    assert 'relabel: {"Yes": yes}' in message


def test_class_index_out_of_range(download):
    assert "holds '2', in 1 of 3 rows" in fails(download, "text,label\na,0\nb,2\nc,1\n")


def test_missing_label(download):
    message = fails(download, '{"text": "a", "label": "no"}\n{"text": "b"}', "in.jsonl")
    assert "holds '', in 1 of 2 rows, the first in row 2" in message


def test_empty_uids(download):
    message = fails(download, "id,text,label\nx,a,no\n,b,yes\n,c,yes\n", uid="id")
    assert "2 empty uids in column 'id', the first in row 2" in message


def test_duplicate_uids(download):
    message = fails(download, "id,text,label\nx,a,no\ny,b,yes\nx,c,yes\n", uid="id")
    assert "1 uids in column 'id' occur more than once, such as 'x' in rows 1 and 3" in message


def test_train_set_with_one_class(download):
    content = "text,label\na,no\nb,no\n"
    assert len(download(content, role="test")) == 2
    assert "the train set has one class only: 'no' in all 2 rows" in fails(download, content, role="train")


def test_checksum(download):
    content = "text,label\na,no\n"
    found = hashlib.sha256(content.encode()).hexdigest()
    assert len(download(content, source={"sha256": found.upper()})) == 1
    message = fails(download, content, source={"sha256": "0" * 64})
    assert f"the checksum does not match: found sha256 {found}, expected {'0' * 64}" in message


def test_checksum_of_several_files(download, tmp_path):
    (tmp_path / "b1.csv").write_text("text,label\nsecond,yes\n")
    message = fails(download, "text,label\na,no\n", "a1.csv", source={"path": "?1.csv", "sha256": "0" * 64})
    assert "sha256 is the checksum of one file; found 2 files" in message


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("text,label\na,no\nb\n", "in.csv", "line 3 has 1 field, and the header 2; a field that holds"),
        ("text,label\na,no\nb,yes,c\n", "in.csv", "line 3 has 3 fields, and the header 2"),
        (b"text,label\nab\xe9,no\n", "in.csv", "in.csv: not UTF-8: byte 0xE9, number 14, in line 2; say"),
        ('{"text": "a", "label": "no"}\n{"text": \n', "in.jsonl", "cannot be read as jsonl: line 2: Expecting value"),
        ('{"text": "a", "label": "no"}\n\n7\n', "in.jsonl", "line 3: an object such as"),
        (b'{"text": "\xff"}\n', "in.jsonl", "in.jsonl: not UTF-8: byte 0xFF, number 11, in line 1; say"),
        ("PAR1 or not", "in.parquet", "cannot be read as parquet: "),
        (
            "text,label\na,no\n",
            "in.dat",
            "the file name does not tell the format; set format to one of csv, tsv, jsonl",
        ),
    ],
)
def test_unreadable_file(download, content, name, message):
    assert message in fails(download, content, name)


def test_columns_of_a_file_that_names_its_own(download):
    message = fails(download, '{"text": "a", "label": "no"}', "in.jsonl", source={"columns": ["text", "label"]})
    assert "in.jsonl: columns is for csv or tsv files; this is jsonl: leave it out" in message


QUOTED = 'text\tlabel\n"say ""hi"""\tno\nb\tyes\n'


def test_a_tsv_file_has_no_quoting_unless_it_is_said_or_seen(download):
    assert texts(download('text\tlabel\n"Open\tno\nclose"\tyes\n', "in.tsv")) == ['"Open', 'close"']
    assert texts(download('"text"\t"label"\n"a\nb"\t"no"\n', "in.tsv")) == ["a\nb"]
    assert texts(download(QUOTED, "in.tsv", source={"quoting": True})) == ['say "hi"', "b"]
    assert texts(download(QUOTED, "in.tsv", source={"quoting": False})) == ['"say ""hi"""', "b"]
    message = fails(download, QUOTED, "in.tsv")
    assert (
        "line 2: quote marks enclose a field and are doubled within it; set quoting: true, or quoting: false" in message
    )


def test_a_tsv_file_whose_texts_are_all_enclosed_wants_a_word(download):
    content = 'text\tlabel\n"a b"\tno\n"c"\tyes\n'
    assert "quote marks enclose all values of the column 'text'; set quoting: true, or quoting: false" in (
        fails(download, content, "in.tsv")
    )
    assert texts(download(content, "in.tsv", source={"quoting": True})) == ["a b", "c"]
    assert texts(download(content, "in.tsv", source={"quoting": False})) == ['"a b"', '"c"']
    assert texts(download(f"{content}d\tno\n", "in.tsv")) == ['"a b"', '"c"', "d"]


def texts(rows):
    return [row["text_a"] for row in rows]


NEVER_CLOSED = "a quote mark opens a field and is never closed; if it is part of the text, set quoting: false"
FOLLOWED = "text follows the quote mark that closes a field; if it is part of the text, set quoting: false"
ESCAPED = 'quote marks are escaped by a backslash; set escape: "\\\\"'
SWALLOWED = "a quote mark is not closed: set quoting: false if quote marks are part of the text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,label\na,no\n"b,yes\nc,no\n', f"the row of lines 3 to 4: {NEVER_CLOSED}"),
        ('text,label\n"b,yes\nc,no\n"d,yes\n', f"the row of lines 2 to 4: {FOLLOWED}"),
        # The second quote mark is followed by a delimiter: only the lines within show what has happened.
        ('text,label\n"b,yes\nc,no\nd",yes\ne,no\n', "row 1 holds other rows in its column 'text': 'b,yes\\nc"),
        ('text,label\n"b,yes\nd",yes\ne,no\n', SWALLOWED),
        ('label,text\nno,"b\nyes,c"\nyes,e\n', SWALLOWED),
        ('text,label,n\nx,yes,1\n"b,yes,1\nc,no,2\nd",yes,3\ne,no,4\n', "row 2 holds other rows"),
        ('text,label\n"say \\"hi\\"",no\n', f"line 2: {ESCAPED}"),
        ('text,label\n"12\\"",no\n"b",yes\n', f"the row of lines 2 to 3: {ESCAPED}"),
    ],
)
def test_rows_that_quote_marks_swallow_are_refused(download, content, message):
    assert message in fails(download, content)


def test_line_breaks_and_delimiters_in_a_closed_field_are_text(download, caplog):
    letter = "Dear sir,\nI am, as you know, for it.\r\n\nYours, yes\n"
    with caplog.at_level(logging.INFO):
        assert texts(download(f'text,label\n"{letter}",no\nb,yes\n')) == [letter, "b"]
    assert "2 rows read; 4 line breaks stand within fields" in caplog.text


def test_escaped_quote_marks(download, caplog):
    content = 'text,label\n"say \\"hi\\", he said",no\nb,yes\n'
    assert texts(download(content, source={"escape": "\\"})) == ['say "hi", he said', "b"]
    assert "escape" not in caplog.text
    assert texts(download('text,label\nsay \\"hi\\",no\n')) == ['say \\"hi\\"']
    assert "1 values in column 'text' hold" in caplog.text


def test_a_carriage_return_in_a_line_is_named(download):
    content = "text,label\na,no\nb\rc,yes\n"
    for source in ({"quoting": False}, {}):
        message = fails(download, content, source=source)
        assert "line 3: a carriage return (\\r) stands in it outside of quote marks; take it out" in message
    assert texts(download('text,label\r\n"b\rc",yes\r\n')) == ["b\rc"]


def test_lines_may_end_in_carriage_returns_alone(download):
    assert texts(download("text,label\ra,no\rb,yes\r")) == ["a", "b"]


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_delimiter(download, delimiter):
    content = f"text{delimiter}label\na, b{delimiter}no\n"
    message = fails(download, content)
    assert f"',' is not what separates fields; set delimiter: {json.dumps(delimiter)}" in message
    assert texts(download(content, source={"delimiter": delimiter})) == ["a, b"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8-sig", "shift-jis"])
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_encoding(download, encoding, name):
    text = "\N{HIRAGANA LETTER A}" if encoding == "shift-jis" else "\xe9"
    content = (
        f"text,label\n{text},no\n"
        if name == "in.csv"
        else json.dumps({"text": text, "label": "no"}, ensure_ascii=False)
    )
    assert texts(download(content.encode(encoding), name, source={"encoding": encoding})) == [text]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            "text,label\na,no\n".encode("utf-16"),
            "utf-8",
            "is not UTF-8: it begins with the mark of UTF-16; set encoding",
        ),
        ("text,label\na,no\n".encode("utf-16-le"), "utf-8", "without its mark, set encoding: utf-16-le"),
        ("text,label\na,no\n".encode("utf-16-be"), "utf-8", "without its mark, set encoding: utf-16-be"),
        ("text,label\na\xe9,no\n".encode(), "utf-16", "not UTF-16: UTF-16 stream does not start with BOM; leave"),
        (b"text,label\n\xe9,no\n", "ascii", "not ASCII: byte 0xE9, number 12, in line 2; correct encoding"),
        ("text,label\n\xe9,no\n".encode(), "cp1252", "encoding is cp1252, but the file is UTF-8"),
    ],
)
def test_another_encoding_than_the_file_has(download, content, encoding, message):
    assert message in fails(download, content, source={"encoding": encoding})


ZSTANDARD = pa.Codec("zstd")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".ZST", lambda data: ZSTANDARD.compress(data, asbytes=True))],
)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", "text,label\na,no\n"),
        ("in.tsv", "text\tlabel\na\tno\n"),
        ("in.jsonl", '{"text": "a", "label": "no"}'),
        ("in.json", '[{"text": "a", "label": "no"}]'),
    ],
)
def test_compressed_files(download, name, content, suffix, compress):
    assert texts(download(compress(content.encode()), name + suffix)) == ["a"]
    assert f"is compressed by {'gzip' if suffix == '.gz' else 'bzip2' if suffix == '.bz2' else 'Zst'}" in fails(
        download, compress(content.encode()), name
    )


def test_a_truncated_compressed_file(download):
    content = gzip.compress(b"text,label\n" + b"".join(b"%d,no\n" % number**5 for number in range(9999)))
    assert "in.csv.gz: cannot be read as csv: Truncated compressed stream" in fails(
        download, content[:999], "in.csv.gz"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "is a git-lfs pointer"),
        ("\n <!DOCTYPE html><title>Sign in</title>", "is a page of the web (HTML or XML), such as one to sign in"),
        ("\ufeff<html>", "is a page of the web"),
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a page of the web"),
    ],
)
@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl", "in.json", "in.parquet"])
def test_what_stands_for_a_file_is_no_file(download, content, name, message):
    assert f"{name} {message}" in fails(download, content, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PAR1\x15\x04", "is a Parquet file; set format: parquet"), (b"PK\x03\x04", "is a zip archive or a spreadsheet")],
)
def test_a_file_of_another_kind_than_its_name_says(download, content, message):
    assert message in fails(download, content)


@pytest.mark.parametrize(
    "content",
    [
        '{"data": [{"text": "a", "label": "no"}, {"text": "b", "label": "yes"}]}',
        '{"version": 2, "data": [{"text": "a", "label": "no"}, {"text": "b", "label": "yes"}]}',
        json.dumps([{"text": "a", "label": "no"}, {"text": "b", "label": "yes"}], indent=2),
        "".join(json.dumps({"text": text, "label": "no"}, indent=1) + "\n" for text in "ab"),
        '{"text": "a", "label": "no"} {"text": "b", "label": "no", "spans": [{"from": 0}]}',
    ],
)
@pytest.mark.parametrize("name", ["in.json", "in.jsonl"])
def test_forms_of_json(download, content, name):
    assert texts(download(content, name)) == ["a", "b"]


def test_one_record_that_holds_a_list_of_objects_is_one_record(download):
    assert texts(download('{"text": "a", "label": "no", "spans": [{"text": "b", "label": "yes"}]}', "in.jsonl")) == [
        "a"
    ]


@pytest.mark.parametrize("orient", ["columns", "index", "split", "values", "list"])
def test_json_that_is_no_list_of_records(download, orient):
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["no", "yes"]})
    content = json.dumps(frame.to_dict(orient)) if orient == "list" else frame.to_json(orient=orient)
    message = fails(download, content, "in.json")
    expected = {
        "columns": 'to_json(FILE, orient="records", lines=True)',
        "list": 'to_json(FILE, orient="records", lines=True)',
        "values": "item 1: an object such as",
    }
    assert expected.get(orient, "no column 'text'; found: ") in message


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["a", "b", "c"], "a list, 'a', 'b' and 1 more"),
        ({"title": "a", "body": "b"}, "an object with title, body"),
        ([], "a list"),
    ],
)
@pytest.mark.parametrize("column", ["text", "label", "id"])
def test_nested_values_of_json_are_no_text_or_label_or_uid(download, column, value, found):
    rows = [{"text": "a", "label": "no", "id": "x"}, {"text": "b", "label": "no", "id": "y", column: value}]
    message = fails(download, "\n".join(map(json.dumps, rows)), "in.jsonl", uid="id")
    assert f"line 2: '{column}' holds {found}" in message


def test_a_key_twice_in_an_object(download):
    message = fails(download, '{"text": "a", "label": "no"}\n{"text": "a", "label": "no", "text": "b"}', "in.jsonl")
    assert "line 2: an object has the key 'text' twice" in message


def test_half_surrogate_pairs_are_replaced_and_counted(download, caplog):
    content = (
        '{"text": "a", "label": "no"}\n{"text": "b \\ud83d", "label": "no"}\n{"text": "\\ud83d\\ude00", "label": "no"}'
    )
    assert texts(download(content, "in.jsonl")) == ["a", "b \ufffd", "\U0001f600"]
    assert "1 values in column 'text' hold half a surrogate pair" in caplog.text
    assert "the first: line 2" in caplog.text


def test_a_name_with_half_a_surrogate_pair_is_shown(download):
    message = fails(download, '{"text": "a", "label": "no", "x\\ud800": 1}\n', "in.jsonl")
    assert r"in.jsonl: the name 'x\ud800' has half a surrogate pair, which is no character; take it out" in message


def test_brackets_within_brackets_without_end(download):
    content = (
        '{"text": "a", "label": "no"}\n' + '{"text": "a", "label": "no", "x": ' + "[" * 200_000 + "]" * 200_000 + "}"
    )
    assert "brackets stand within each other too deep" in fails(download, content, "in.jsonl")


def test_a_long_text_is_read_in_seconds(download):
    words = "word \N{SNOWMAN} " * 2_500_000  # 20 MB in UTF-8
    content = json.dumps({"text": words, "label": "no"}, ensure_ascii=False)
    started = time.monotonic()
    assert texts(download(content, "in.jsonl")) == [words]
    assert time.monotonic() - started < 30


def test_nothing_is_no_word(download, tmp_path, caplog):
    rows = download('{"text": NaN, "label": "no", "n": NaN}\n{"text": "nan", "label": "no", "n": 1.5}', "in.jsonl")
    assert [(row["text_a"], row["n"]) for row in rows] == [("", None), ("nan", 1.5)]
    assert "1 empty texts" in caplog.text
    message = fails(download, '{"text": "a", "label": NaN}\n{"text": "b", "label": 1}', "in.jsonl")
    assert "holds '', in 1 of 2 rows" in message
    pq.write_table(pa.table({"text": ["a", "b"], "label": pa.array([1.0, float("nan")])}), tmp_path / "in.parquet")
    assert "holds '', in 1 of 2 rows" in fails(download, (tmp_path / "in.parquet").read_bytes(), "in.parquet")


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_whole_numbers_that_pandas_made_fractions(download, tmp_path, name):
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 0]})
    if name == "in.csv":
        frame.to_csv(tmp_path / name, index=False)
    elif name == "in.jsonl":
        frame.to_json(tmp_path / name, orient="records", lines=True)
    else:
        frame.to_parquet(tmp_path / name)
    rows = download((tmp_path / name).read_bytes(), name, source={"relabel": {"": None}})
    assert [(row["text_a"], row["label"]) for row in rows] == [("a", 1), ("c", 0)]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_fractions_that_pandas_made_are_first_of_all_names(download, name):
    """They would be class indices by the way: 1.0 the second label, whatever its name."""
    labels = [0.0, 1.0, 1.0]
    content = "text,label\n" + "".join(f"a,{label}\n" for label in labels)
    if name == "in.jsonl":
        content = "".join(json.dumps({"text": "a", "label": label}) + "\n" for label in labels)
    assert [row["label"] for row in download(content, name, labels=("1", "0"))] == [1, 0, 0]
    rows = download(content, name, labels=("no", "yes"), source={"relabel": {"0": "yes", "1": "no"}})
    assert [row["label"] for row in rows] == [1, 0, 0]
    rows = download(content, name, labels=("no", "yes"), source={"relabel": {"0": None}})
    assert [row["label"] for row in rows] == [1, 1]


def test_class_names_in_the_metadata_of_a_parquet_file(download, tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["yes", "no"])})
    Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 0]}, features).to_parquet(tmp_path / "in.parquet")
    rows = download((tmp_path / "in.parquet").read_bytes(), "in.parquet")
    assert [row["label"] for row in rows] == [1, 0, 1]


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b'{"info": {"features": {"label": 1}}}', b"null"])
def test_other_metadata_of_a_parquet_file_are_left_alone(download, tmp_path, metadata):
    table = pa.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "in.parquet")
    assert [row["label"] for row in download((tmp_path / "in.parquet").read_bytes(), "in.parquet")] == [0, 1]


@pytest.mark.parametrize(("role", "numbers"), [("dev", "123"), ("train", "123"), ("train", "12")])
def test_numbers_that_count_from_1_are_refused(download, role, numbers):
    content = "text,label\n" + "".join(f"a,{number}\n" for number in numbers)
    message = fails(download, content, labels=NLI, role=role)
    assert f"holds the numbers 1 to {numbers[-1]} and no 0, and the 3 labels are counted from 0" in message
    assert """by relabel: {"1": 'entailment', "2": 'neutral', …}""" in message
    relabel = {str(number): name for number, name in enumerate(NLI, 1)}
    rows = download(content, labels=NLI, role=role, source={"relabel": relabel})
    assert [row["label"] for row in rows] == [int(number) - 1 for number in numbers]


def test_numbers_of_a_dev_set_that_may_count_from_1_are_noted(download, caplog):
    assert [row["label"] for row in download("text,label\na,1\nb,2\n", labels=NLI)] == [1, 2]
    assert "holds the numbers 1 to 2 and no 0; they are read as counted from 0" in caplog.text


def test_labels_are_compared_in_one_unicode_form(download):
    composed, apart = "caf\xe9", "cafe\u0301"
    content = f"text,label\na,{composed}\nb,{apart}\nc,no\n"
    assert [row["label"] for row in download(content, labels=("no", apart))] == [1, 1, 0]
    rows = download(content, labels=("no", "yes"), source={"relabel": {apart: "yes"}})
    assert [row["label"] for row in rows] == [1, 1, 0]


def test_labels_with_leading_zeros_want_quote_marks(download):
    message = fails(download, "text,label\na,010\nb,011\n", labels=("8", "9"))
    assert 'needs quote marks in the configuration: labels: ["010", "011"]' in message
    assert "relabel" not in message


def test_labels_that_are_texts(download):
    content = "text,label\n" + "".join(f"no,{'long text ' * 99}{number}\n" for number in range(300))
    message = fails(download, content)
    assert "and 297 more, in 300 of 300 rows" in message
    assert "are these 300 values labels? name the labels' column by label" in message
    assert len(message) <= 400


def test_a_class_without_a_training_row_is_noted(download, caplog):
    download("text,label\na,entailment\nb,neutral\n", labels=NLI, role="train")
    assert "no row of the train set has the label 'contradiction'" in caplog.text


def test_fewer_rows_than_asked_for_are_noted(download, caplog):
    download("text,label\na,no\nb,yes\n", source={"rows": 3})
    assert "rows is 3, but there are only 2" in caplog.text


def test_a_part_of_what_is_generated_is_not_fewer_than_asked_for(tmp_path, caplog):
    source = {"builtin": "planted", "split": "train", "rows": 50, "part": [0, 0.5]}
    prepare.download(config(source, ("text_a", "text_b"), labels=NLI), tmp_path / "out.parquet")
    made = planted.generate("train", 50)["uid"].to_pylist()
    half = [uid for uid in made if hashlib.sha256(uid.encode()).digest()[0] < 128]
    assert artifacts.read_table(tmp_path / "out.parquet")["uid"].to_pylist() == half
    assert 0 < len(half) < 50
    assert "there are only" not in caplog.text


def test_texts_of_a_parquet_file_that_are_garbled(download, tmp_path):
    table = pa.table({"text": ["plain", "garbled"], "label": ["no", "yes"]})
    pq.write_table(table, tmp_path / "in.parquet", compression="none", use_dictionary=False, write_statistics=False)
    content = (tmp_path / "in.parquet").read_bytes()
    message = fails(download, content.replace(b"garbled", b"garb\xffed"), "in.parquet")
    assert "in.parquet: cannot be read as parquet: " in message
    assert "UTF8" in message


def test_text_column_of_the_wrong_type(download, tmp_path):
    pq.write_table(pa.table({"text": [["a"]], "label": ["no"]}), tmp_path / "in.parquet")
    message = fails(download, (tmp_path / "in.parquet").read_bytes(), "in.parquet")
    assert "the column 'text' holds list<element: string>; text or numbers are needed" in message


def test_failure_leaves_no_file_behind(download, tmp_path):
    fails(download, "text,label\na,maybe\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@contextmanager
def serving(handler):
    """The address of a local web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


class Files(Quiet):
    def do_GET(self):
        if self.path.startswith("/secret.csv"):
            given = (self.headers["Authorization"], self.path.partition("?")[2])
            wanted = ("Basic bWU6YTpiQGM=", "token=s3cret&raw=1")  # me:a:b@c
            return self.reply(200 if given == wanted else 403, b"text,label\na,no\nb,yes\n")
        if self.path == "/moved.csv":
            return self.reply(302, Location=f"http://localhost:{self.server.server_port}/seen.csv")
        if self.path == "/seen.csv":
            return self.reply(200, f"text,label\n{self.headers['Authorization']},no\n".encode())
        if self.path == "/some/in.csv?raw=1":
            self.reply(200, b"text,label\na,no\nb,yes\n")
        elif self.path == "/broken.csv":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"text,label\na,no\n")
            self.close_connection = True
        else:
            self.reply(404)


def test_url(tmp_path):
    with serving(Files) as address:
        prepare.download(config({"path": f"{address}/some/in.csv?raw=1"}), tmp_path / "out.parquet")
        assert artifacts.read_table(tmp_path / "out.parquet")["text_a"].to_pylist() == ["a", "b"]
        missing = fails(prepare.download, config({"path": f"{address}/no.csv"}), tmp_path / "out.parquet")
        assert "no.csv: cannot be fetched (HTTP Error 404: Not Found); check the address and the network" in missing
        broken = fails(prepare.download, config({"path": f"{address}/broken.csv"}), tmp_path / "out.parquet")
        assert "the connection broke after 16 of 100 bytes" in broken


def test_credentials_of_a_url_are_used_and_shown_nowhere(tmp_path, caplog):
    with serving(Files) as address:
        url = address.replace("//", "//me:a%3Ab%40c@") + "/secret.csv?token=s3cret&raw=1"
        for cfg, real in ((config({"path": url}), None), (config({"path": without_credentials(url)}), url)):
            prepare.download(cfg, tmp_path / "out.parquet", url=real)
            assert artifacts.read_table(tmp_path / "out.parquet")["text_a"].to_pylist() == ["a", "b"]
            source = json.loads(artifacts.read_metadata(tmp_path / "out.parquet")["source"])
            assert source == {"path": f"{address}/secret.csv?token=…&raw=1"}
            assert b"s3cret" not in (tmp_path / "out.parquet").read_bytes()
        wrong = url.replace("s3cret", "0ther")
        message = fails(prepare.download, config({"path": wrong}), tmp_path / "out.parquet")
        assert f"{address}/secret.csv?token=…&raw=1: cannot be fetched (HTTP Error 403" in message
        message = fails(prepare.download, config({"path": url}, label="gold"), tmp_path / "out.parquet")
        assert "no column 'gold'" in message
        assert not any(secret in message + caplog.text for secret in ("s3cret", "0ther", "a%3A", "a:b"))


def test_credentials_of_a_url_go_to_no_other_server(tmp_path):
    with serving(Files) as address:
        url = address.replace("//", "//me:secret@") + "/moved.csv"
        prepare.download(config({"path": url}), tmp_path / "out.parquet")
    assert artifacts.read_table(tmp_path / "out.parquet")["text_a"].to_pylist() == ["None"]


COMMIT = "1234567890abcdef1234567890abcdef12345678"
CARD = """---
configs:
- config_name: pairs
  data_files:
  - {split: train, path: pairs/train.parquet}
  - {split: dev, path: pairs/dev.parquet}
- config_name: single
  data_files:
  - {split: train, path: single/train.jsonl}
dataset_info:
- config_name: pairs
  features:
  - {name: premise, dtype: string}
  - {name: hypothesis, dtype: string}
  - name: label
    dtype: {class_label: {names: {"0": neutral, "1": entailment, "2": contradiction}}}
- config_name: single
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: string}
---
"""


def parquet(labels):
    sink = pa.BufferOutputStream()
    texts = [f"t{number}" for number in range(len(labels))]
    pq.write_table(pa.table({"premise": texts, "hypothesis": texts, "label": pa.array(labels, pa.int64())}), sink)
    return sink.getvalue().to_pybytes()


HUB_FILES = {
    "README.md": CARD.encode(),
    "pairs/train.parquet": parquet([0, 1, 2, -1]),
    "pairs/dev.parquet": parquet([1]),
    "single/train.jsonl": b'{"text": "a", "label": "yes"}\n',
}


class Hub(Quiet):
    """As much of the hub's protocol as downloading one small public dataset takes."""

    def do_GET(self):
        path = unquote(self.path.split("?")[0])
        api, files = "/api/datasets/some/tiny", f"/datasets/some/tiny/resolve/{COMMIT}/"
        if path in (api, f"{api}/revision/{COMMIT}", f"{api}/revision/v1"):
            self.reply_json({"id": "some/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in HUB_FILES]})
        elif path.startswith(f"{api}/tree/{COMMIT}/"):
            folder = path.removeprefix(f"{api}/tree/{COMMIT}/") + "/"
            self.reply_json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in HUB_FILES.items()
                    if name.startswith(folder)
                ]
            )
        elif path.removeprefix(files) in HUB_FILES:
            content = HUB_FILES[path.removeprefix(files)]
            self.reply(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)
        elif path.startswith(files):
            self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        elif path.startswith((api, "/datasets/some/tiny")):
            self.reply(404, X_Error_Code="RevisionNotFound")
        else:
            self.reply(404, X_Error_Code="RepoNotFound")

    def do_HEAD(self):
        self.do_GET()

    def reply_json(self, content):
        self.reply(200, json.dumps(content).encode(), Content_Type="application/json")


HUB_RUN = """
import json, sys
from ftft.data import prepare
from ftft.core.errors import UserError
for cfg, output in json.loads(sys.argv[1]):
    try:
        prepare.download(cfg, output)
        print("ok")
    except UserError as failure:
        print(failure)
"""


def hub_messages(home, endpoint, jobs):
    """Run downloads in a process of their own: the hub's libraries read the environment once, at import."""
    library = str(Path(prepare.__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "PYTHONPATH": library,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-c", HUB_RUN, json.dumps([(cfg, str(output)) for cfg, output in jobs])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=home, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def hub_config(**source):
    source = {"hub": "some/tiny", "name": "pairs", "split": "train", "relabel": {"-1": None}, **source}
    return config(source, ("premise", "hypothesis"), labels=NLI)


def test_hub(tmp_path):
    found, pinned, offline, offline_pinned = (tmp_path / f"{number}.parquet" for number in range(4))
    nowhere = tmp_path / "no.parquet"
    with serving(Hub) as address:
        messages = hub_messages(
            tmp_path,
            address,
            [
                (hub_config(), found),
                (hub_config(revision=COMMIT, split="dev"), pinned),
                (hub_config(relabel={}), nowhere),
                (hub_config(split="test"), nowhere),
                (hub_config(name="triples"), nowhere),
                (hub_config(name=None), nowhere),
                (hub_config(revision="b" * 40), nowhere),
                (hub_config(hub="some/thing"), nowhere),
            ],
        )
    assert messages[:2] == ["ok", "ok"]
    table = artifacts.read_table(found)
    assert table["text_b"].to_pylist() == ["t0", "t1", "t2"]
    assert table["label"].to_pylist() == [1, 0, 2]  # classes by name: the hub's order is another one
    assert artifacts.read_metadata(found)["revision"] == COMMIT
    assert artifacts.read_table(pinned)["label"].to_pylist() == [0]
    expected = [
        "split train: the label column 'label' holds '-1', in 1 of 4 rows",
        "split test: Unknown split \"test\". Should be one of ['train', 'dev']",
        "BuilderConfig 'triples' not found. Available: ['pairs', 'single']",
        "Config name is missing. Please pick one among the available configs: ['pairs', 'single']",
        f"hub dataset some/tiny: there is no revision '{'b' * 40}'",
        "hub dataset some/thing: not found; check the id, or set HF_TOKEN if the dataset is private",
    ]
    assert len(messages) == 2 + len(expected)
    for part, message in zip(expected, messages[2:], strict=True):
        assert part in message

    # The server is gone; the cache of the first run is there.
    messages = hub_messages(
        tmp_path,
        address,
        [
            (hub_config(), offline),
            (hub_config(revision=COMMIT), offline_pinned),
            (hub_config(revision="b" * 40), nowhere),
            (hub_config(hub="some/thing"), nowhere),
        ],
    )
    assert messages[:2] == ["ok", "ok"]
    assert offline.read_bytes() == found.read_bytes()
    assert artifacts.read_metadata(offline_pinned)["revision"] == COMMIT
    assert f"revision {'b' * 40} is wanted, but only {COMMIT} is at hand" in messages[2]
    assert messages[3].startswith("hub dataset some/thing: cannot be fetched ([Errno ")
    assert "run this rule on a machine with network, or set HF_HOME to a cache filled on one" in messages[3]
    assert not nowhere.exists()


@pytest.mark.data
@pytest.mark.parametrize(
    ("source", "settings", "rows"),
    [
        ({"path": "cad/train.parquet"}, {"uid": "uid", "labels": ["not_abusive", "abusive"], "role": "train"}, 13584),
        ({"path": "anli/r1_dev.parquet"}, {"uid": "uid", "labels": NLI, "text": ["text_a", "text_b"]}, 1000),
        (
            {"path": "dynahate/r2_original_dev.parquet", "relabel": {"nothate": "not_abusive", "hate": "abusive"}},
            {"uid": "uid", "labels": ["not_abusive", "abusive"]},
            485,
        ),
    ],
)
def test_real_corpora(tmp_path, source, settings, rows):
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the corpora of config/README.md")
    prepare.download(config(source, **settings), tmp_path / "out.parquet", folder)
    assert artifacts.read_table(tmp_path / "out.parquet").num_rows == rows


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.timestamp("s"), pa.timestamp("ms")),
        (pa.timestamp("s", "UTC"), pa.timestamp("ms", "UTC")),
        (pa.time32("s"), pa.time32("ms")),
        (pa.date64(), pa.date32()),
        (pa.list_(pa.timestamp("s")), pa.list_(pa.timestamp("ms"))),
        (pa.struct({"at": pa.timestamp("s")}), pa.struct({"at": pa.timestamp("ms")})),
        (pa.map_(pa.string(), pa.timestamp("s")), pa.map_(pa.string(), pa.timestamp("ms"))),
        (pa.list_(pa.timestamp("s"), 2), pa.list_(pa.timestamp("ms"), 2)),
        (pa.dictionary(pa.int8(), pa.timestamp("s")), pa.timestamp("ms")),
        (pa.string_view(), pa.string()),
        (pa.binary_view(), pa.binary()),
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.string())),
        (pa.month_day_nano_interval(), None),
        (pa.struct({}), None),
    ],
    ids=str,
)
def test_columns_that_nothing_reads_are_kept_in_a_type_that_lasts(tmp_path, monkeypatch, caplog, kind, expected):
    """Or left out, with a line: what is read back is what was written."""
    more = pa.nulls(2, kind) if expected is None or pa.types.is_dictionary(kind) else pa.array([None, None], kind)
    table = pa.table({"text": ["a", "b"], "label": ["no", "yes"], "more": more})
    monkeypatch.setattr(prepare, "read_source", lambda *_: ("hub dataset x", table, None))
    path = tmp_path / "data.parquet"
    prepare.download(config({"hub": "x", "split": "train"}), path)
    found = artifacts.read_table(path)
    assert found.num_rows == 2
    if expected is None:
        assert "more" not in found.column_names
        assert "the column 'more' is left out" in caplog.text
    else:
        assert found["more"].type == expected


@pytest.mark.parametrize(("header", "found"), [("text, label", "' label'"), ("text,label\t", "'label\\t'")])
def test_what_cannot_be_seen_of_a_name_is_said(download, header, found):
    message = fails(download, f"{header}\nx,no\ny,yes\n")
    assert f"({found} has a space or a byte order mark beside its name)" in message
