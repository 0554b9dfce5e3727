"""Read one file of labelled text as a table, and refuse a file that is not what its name and settings say.

Whatever a format leaves open is settled by what the file itself shows, or refused: rows that quote marks swallowed, a
delimiter that is none, JSON that is no list of records, text in another encoding.
"""

import codecs
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from ftft.core.errors import UserError, reason, shown
from ftft.core.files import COMPRESSIONS, FORMATS, split_suffixes
from ftft.data.delimited import DELIMITERS, check_enclosed, check_rows, note_escapes, read_csv
from ftft.data.records import as_json, read_json
from ftft.data.settings import Source

log = logging.getLogger(__name__)
_OF_TABLES = ("columns", "delimiter", "quoting", "escape")  # settings that csv and tsv alone have
# How files begin that are something else than text.
_BEGINNINGS = {
    b"version https://git-lfs.github.com/spec/": "is a git-lfs pointer, which only stands for the file; fetch the file "
    "itself: git lfs pull",
    b"PAR1": "is a Parquet file; set format: parquet",
    b"\x1f\x8b": "is compressed by gzip; give it a name that ends in .gz",
    b"BZh": "is compressed by bzip2; give it a name that ends in .bz2",
    b"\x28\xb5\x2f\xfd": "is compressed by Zstandard; give it a name that ends in .zst",
    b"PK\x03\x04": "is a zip archive or a spreadsheet; unpack it, or export it as csv",
    codecs.BOM_UTF16_LE: "is not UTF-8: it begins with the mark of UTF-16; set encoding: utf-16",
    codecs.BOM_UTF16_BE: "is not UTF-8: it begins with the mark of UTF-16; set encoding: utf-16",
}
_PAGES = (b"<!doctype", b"<html", b"<?xml")


def read_file(source: Source, file: Path, name: str, wanted: Sequence[str], label: str) -> pa.Table:
    """One file as a table of whatever columns it has; all columns of a csv or tsv file are strings.

    Args:
        source: the fields of ``ftft.experiment.config.Source``.
        file: where it lies.
        name: what to call it in messages.
        wanted: the columns that will be used.
        label: the one of them that has the labels.

    Raises:
        UserError: it cannot be read, or is not what it seems.
    """
    form, compression = split_suffixes(file)
    kind = source["format"] or FORMATS.get(form)
    if kind is None:
        raise UserError(
            f"{name}: the file name does not tell the format; set format to one of csv, tsv, jsonl, json, parquet"
        )
    if kind not in DELIMITERS:
        for key in _OF_TABLES:
            if source[key] is not None:  # type: ignore[literal-required]
                raise UserError(f"{name}: {key} is for csv or tsv files; this is {kind}: leave it out")
    try:
        start = _beginning(file, compression)
        _check_beginning(name, start, kind, source["encoding"])
        if kind == "parquet":
            table = _read_parquet(file)
        elif kind == "json" or kind == "jsonl":
            with _text(file, compression, source["encoding"]) as stream:
                table = read_json(name, stream.read(), wanted)
        else:
            table = read_csv(name, lambda newline: _text(file, compression, source["encoding"], newline), kind, source)
        if not source["encoding"].startswith("utf"):
            _check_encoding(name, file, compression, source["encoding"])
    except UnicodeError as failure:
        raise UserError(f"{name}: {_undecodable(failure, file, compression, source['encoding'])}") from None
    except RecursionError:
        raise UserError(f"{name}: brackets stand within each other too deep; is it {kind}?") from None
    except (pa.ArrowException, ValueError, OverflowError, OSError, EOFError) as failure:  # malformed content
        raise UserError(f"{name}: cannot be read as {kind}: {reason(failure, 300)}") from None
    twice = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if twice:
        raise UserError(f"{name}: the column {shown(twice[0])} occurs more than once; rename one of them")
    if kind in DELIMITERS:
        check_rows(name, table, source["delimiter"] or DELIMITERS[kind], label)
        check_enclosed(name, table, kind, wanted, source)
        note_escapes(name, table, wanted, source)
    return table.replace_schema_metadata(None)


def with_class_names(table: pa.Table, names: dict[str, list[str]]) -> pa.Table:
    """A table in which the class indices of some columns are names.

    An index without a name, such as the hub's -1 for unlabelled, stays a number.
    """
    for column, known in names.items():
        values = [
            known[value] if value is not None and 0 <= value < len(known) else as_json(value)
            for value in table[column].to_pylist()
        ]
        table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))
    return table


def _bytes(file: Path, compression: str) -> pa.NativeFile:
    return pa.input_stream(file, compression=COMPRESSIONS.get(compression))


def _text(file: Path, compression: str, encoding: str, newline: str = "\n") -> TextIO:
    """A file as text; lines end where ``newline`` says and nowhere else, since texts may hold other signs for it."""
    with_mark = "utf-8-sig" if encoding == "utf-8" else encoding
    return io.TextIOWrapper(_bytes(file, compression), encoding=with_mark, newline=newline)


def _beginning(file: Path, compression: str) -> bytes:
    with _bytes(file, compression) as stream:
        return stream.read(4096)


def _check_beginning(name: str, start: bytes, kind: str, encoding: str) -> None:
    """Refuse what the first bytes show to be something else than the file's name or format says."""
    if not start:
        raise UserError(f"{name}: the file is empty; rows with a label are needed")
    for mark, what in _BEGINNINGS.items():
        unwanted = not (kind == "parquet" and mark == b"PAR1") and not (encoding != "utf-8" and mark[0] in b"\xff\xfe")
        if start.startswith(mark) and unwanted:
            raise UserError(f"{name} {what}")
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:10].lower().startswith(_PAGES):
        raise UserError(
            f"{name} is a page of the web (HTML or XML), such as one to sign in, and no {kind} file; fetch the file "
            "itself, signed in if need be, and give its path"
        )
    if kind != "parquet" and encoding == "utf-8" and b"\0" in start:
        raise UserError(
            f"{name} holds zero bytes, as no text in UTF-8 does; if it is UTF-16 without its mark, set encoding: "
            f"utf-16-{'le' if start[1:2] == bytes(1) else 'be'}"
        )


def _undecodable(failure: UnicodeError, file: Path, compression: str, encoding: str) -> str:
    """Which byte of a file is not in its encoding, and what to do."""
    if isinstance(failure, UnicodeEncodeError):  # JSON may write half a pair by its code
        return f"the name {shown(failure.object)} has half a surrogate pair, which is no character; take it out"
    if not isinstance(failure, UnicodeDecodeError):  # UTF-16 without its mark
        return (
            f"not {encoding.upper()}: {reason(failure)}; leave encoding out if it is UTF-8, or correct it, such as "
            "encoding: utf-16-le"
        )
    with _bytes(file, compression) as stream:
        content = stream.read()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as of_the_whole:
        failure = of_the_whole
    start = failure.start
    line = content.count(b"\n", 0, start) + 1
    found = f"not {encoding.upper()}: byte 0x{content[start]:02X}, number {start + 1:,}, in line {line}"
    if encoding != "utf-8":
        return f"{found}; correct encoding"
    return (
        f"{found}; say what it is, such as encoding: cp1252 (Windows, Western European), or convert it: iconv -f "
        "CP1252 -t UTF-8 OLD > NEW"
    )


def _check_encoding(name: str, file: Path, compression: str, encoding: str) -> None:
    """Refuse an encoding that is read without an error, but is not that of the file."""
    with _bytes(file, compression) as stream:
        content = stream.read()
    if content.isascii() or b"\0" in content:
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return
    raise UserError(f"{name}: encoding is {encoding}, but the file is UTF-8, which would be misread; leave it out")


def _read_parquet(file: Path) -> pa.Table:
    """A Parquet file; class indices are names where its metadata have them, as the datasets library writes them."""
    table = pq.read_table(file, partitioning=None)
    table.validate(full=True)  # texts that are none would be found only when they are used
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return table
    whole = {field.name for field in table.schema if pa.types.is_integer(field.type)}
    return with_class_names(table, {column: names for column, names in found.items() if column in whole})
