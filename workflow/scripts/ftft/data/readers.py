"""Read one file of labelled text as a table, and refuse a file that is not what its name and settings say.

Whatever a format leaves open is settled by what the file itself shows, or refused: rows that quote marks swallowed, a
delimiter that is none, JSON that is no list of records, text in another encoding.
"""

import codecs
import csv
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ftft.core.errors import UserError, listed, named, reason, shown
from ftft.core.files import COMPRESSIONS, FORMATS, split_suffixes

log = logging.getLogger(__name__)

_CHUNK = 20_000  # rows of a csv file that are lists of Python strings at the same time
_DELIMITERS = {"csv": ",", "tsv": "\t"}
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
_SPACE = re.compile(r"[ \t\n\r]*")  # between values of JSON
_PAGES = (b"<!doctype", b"<html", b"<?xml")
# A field that only a writer which encloses fields in quote marks writes: marks around it, and doubled ones within.
_ENCLOSED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


def read_file(source: dict[str, Any], file: Path, name: str, wanted: Sequence[str], label: str) -> pa.Table:
    """One file as a table of whatever columns it has; all columns of a csv or tsv file are strings.

    Args:
        source: the fields of ``ftft.config.Source``.
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
    if kind not in _DELIMITERS:
        for key in _OF_TABLES:
            if source[key] is not None:
                raise UserError(f"{name}: {key} is for csv or tsv files; this is {kind}: leave it out")
    try:
        start = _beginning(file, compression)
        _check_beginning(name, start, kind, source["encoding"])
        if kind == "parquet":
            table = _read_parquet(file)
        elif kind == "json" or kind == "jsonl":
            with _text(file, compression, source["encoding"]) as stream:
                table = _read_json(name, stream.read(), wanted)
        else:
            table = _read_csv(name, lambda newline: _text(file, compression, source["encoding"], newline), kind, source)
        if not source["encoding"].startswith("utf"):
            _check_encoding(name, file, compression, source["encoding"])
    except UnicodeDecodeError:
        raise UserError(f"{name}: {_undecodable(file, compression, source['encoding'])}") from None
    except RecursionError:
        raise UserError(f"{name}: brackets stand within each other too deep; is it {kind}?") from None
    except (pa.ArrowException, ValueError, OverflowError, OSError, EOFError) as failure:  # malformed content
        raise UserError(f"{name}: cannot be read as {kind}: {reason(failure, 300)}") from None
    twice = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if twice:
        raise UserError(f"{name}: the column {shown(twice[0])} occurs more than once; rename one of them")
    if kind in _DELIMITERS:
        _check_rows(name, table, source["delimiter"] or _DELIMITERS[kind], label)
        _note_escapes(name, table, wanted, source)
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


def as_json(value: Any) -> str | None:
    """A JSON value as text; strings stay as they are."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _bytes(file: Path, compression: str) -> pa.NativeFile:
    return pa.input_stream(file, compression=COMPRESSIONS.get(compression))


def _text(file: Path, compression: str, encoding: str, newline: str = "\n") -> TextIO:
    """A file as text; lines end where ``newline`` says and nowhere else, since texts may hold other signs for it."""
    with_mark = "utf-8-sig" if encoding == "utf-8" else encoding
    return io.TextIOWrapper(_bytes(file, compression), encoding=with_mark, newline=newline)  # type: ignore[arg-type]


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


def _undecodable(file: Path, compression: str, encoding: str) -> str:
    """Which byte of a file is not in its encoding, and what to do."""
    with _bytes(file, compression) as stream:
        content = stream.read()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as failure:
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


def _read_csv(name: str, opened: Callable[[str], TextIO], kind: str, source: dict[str, Any]) -> pa.Table:
    """A table of strings. Types are not guessed: a guess would turn the label "01" into 1 and "NA" into nothing."""
    with opened("\n") as stream:
        first = stream.readline()
    # Lines of old files end in a carriage return alone.
    newline = "\r" if "\r" in first and not first.endswith("\n") else "\n"
    delimiter = source["delimiter"] or _DELIMITERS[kind]
    quoting = source["quoting"]
    if quoting is None:
        cells = first.removesuffix("\n").removesuffix("\r").split(delimiter)
        quoting = kind == "csv" or all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
    unsettled = source["quoting"] is None and not quoting

    names: list[str] = list(source["columns"] or [])
    chunks: list[list[pa.Array]] = []
    with opened(newline) as stream:
        rows = _rows(stream, delimiter, quoting, source["escape"], unsettled)
        if not names:
            names = next(rows, (0, []))[1]
        if len(names) == 1 and (other := next((sign for sign in ";\t|," if sign in names[0]), None)):
            raise UserError(
                f"{name}: the only column is {shown(names[0])}: {shown(delimiter)} is not what separates fields; set "
                f"delimiter: {json.dumps(other)}"
            )
        chunk: list[list[str]] = []
        for number, fields in rows:
            if len(fields) != len(names):
                raise ValueError(_ragged(number, len(fields), len(names), quoting, source["columns"]))
            chunk.append(fields)
            if len(chunk) == _CHUNK:
                chunks.append(_columns(chunk))
                chunk = []
    if chunk or not chunks:
        chunks.append(_columns(chunk) if chunk else [pa.array([], pa.string()) for _ in names])
    return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, names) for arrays in chunks])


def _columns(rows: list[list[str]]) -> list[pa.Array]:
    return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]


def _rows(
    stream: TextIO, delimiter: str, quoting: bool, escape: str | None, unsettled: bool
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv file that are not empty, each with the number of its first line."""
    csv.field_size_limit(sys.maxsize)
    current: list[str] = []  # lines of the row that is being read

    def remembered() -> Iterator[str]:
        for line in stream:
            current.append(line)
            yield line

    reader = csv.reader(
        remembered(),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        quotechar='"',
        escapechar=escape,
        strict=True,
    )
    while True:
        current.clear()
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as failure:
            raise ValueError(_malformed(failure, number, reader.line_num, current, escape)) from None
        if fields is None:
            return
        if unsettled and '""' in current[0] and any(map(_ENCLOSED.fullmatch, fields)):
            raise ValueError(
                f"line {number}: quote marks enclose a field and are doubled within it; set quoting: true, or quoting: "
                "false if they are part of the text"
            )
        if fields:
            yield number, fields


def _malformed(failure: csv.Error, first: int, last: int, lines: list[str], escape: str | None) -> str:
    """What is wrong with a row, and what to do."""
    where = f"line {first}" if first == last else f"the row of lines {first} to {last}"
    if "new-line character" in str(failure):
        return (
            f"line {last}: a carriage return (\\r) stands in it outside of quote marks; take it out, or enclose the "
            "field in quote marks with quoting: true"
        )
    if escape is None and any('\\"' in line for line in lines):
        return f"{where}: quote marks are escaped by a backslash; set escape: {json.dumps(chr(92))}"
    if "unexpected end" in str(failure):
        return f"{where}: a quote mark opens a field and is never closed; if it is part of the text, set quoting: false"
    if "expected after" in str(failure):
        return (
            f"{where}: text follows the quote mark that closes a field; if it is part of the text, set quoting: false"
        )
    return f"{where}: {reason(failure)}"


def _ragged(line: int, found: int, expected: int, quoting: bool, columns: list[str] | None) -> str:
    advice = (
        "a field that holds the delimiter is to be enclosed in quote marks; if quote marks are part of the text, set "
        "quoting: false"
        if quoting
        else "if quote marks enclose fields, set quoting: true"
    )
    return (
        f"line {line} has {found} field{'s' * (found != 1)}, and {'columns' if columns else 'the header'} {expected}; "
        f"{advice}"
    )


def _check_rows(name: str, table: pa.Table, delimiter: str, label: str) -> None:
    """Refuse a field that has swallowed rows: one of its lines would be a row of its own, label and all.

    A quote mark that is never closed does this where another one, many rows on, seems to close it.
    """
    names = table.column_names
    if label not in names:
        return
    place = names.index(label)
    labels = set(pc.unique(table[label]).to_pylist()) - {""}
    for index, column in enumerate(names):
        values = table[column]
        several = pc.and_(pc.match_substring(values, "\n"), pc.match_substring(values, delimiter))
        for row in pc.indices_nonzero(several).to_pylist():
            text = values[row].as_py()
            first, *between, last = text.split("\n")
            # The first line lacks the fields before the quote mark, the last those after it.
            head = place > index and _is_row(first, delimiter, len(names) - index, place - index, labels)
            tail = place < index and _is_row(last, delimiter, index + 1, place, labels)
            whole = any(_is_row(line, delimiter, len(names), place, labels) for line in between)
            if head or tail or whole:
                raise UserError(
                    f"{name}: row {row + 1} holds other rows in its column {shown(column)}: "
                    f"{shown(text)}; a quote mark is not closed: set quoting: false if quote marks are "
                    "part of the text; if not, close it, or save the data as Parquet"
                )
    breaks = sum(pc.sum(pc.count_substring(table[column], "\n")).as_py() or 0 for column in names)
    if breaks:
        log.info("%s: %d rows read; %d line breaks stand within fields", name, table.num_rows, breaks)


def _is_row(line: str, delimiter: str, width: int, place: int, labels: set[str]) -> bool:
    """Whether a line has so many fields, and a label at its place."""
    fields = line.rstrip("\r").split(delimiter)
    return len(fields) == width and fields[place] in labels


def _note_escapes(name: str, table: pa.Table, wanted: Sequence[str], source: dict[str, Any]) -> None:
    """Say where texts look as if a backslash were to escape their quote marks."""
    if source["escape"] is not None:
        return
    for column in set(wanted) & set(table.column_names):
        found = pc.sum(pc.match_substring(table[column], '\\"')).as_py()
        if found:
            log.warning(
                '%s: %d values in column %s hold \\"; if the backslash is to escape the quote mark, set escape: %s',
                name,
                found,
                shown(column),
                json.dumps(chr(92)),
            )


def _read_json(name: str, text: str, wanted: Sequence[str]) -> pa.Table:
    """Objects, one after the other, in one array, or in one that an object holds.

    Values of mixed or nested types become their JSON text, but for those that are used: a nested one is refused.
    """
    decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)
    values, starts = [], []
    position = _SPACE.match(text).end()  # type: ignore[union-attr]
    while position < len(text):
        starts.append(position)
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError as failure:
            raise ValueError(f"{_line(text, starts[-1])}: {failure}") from None
        values.append(value)
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
    records, within = _records(values, wanted), None
    if records is not values:
        within = records

    def place(row: int) -> str:
        return _line(text, starts[row]) if within is None else f"item {row + 1}"

    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f'{place(row)}: an object such as {{"text": …, "label": …}} is expected')
    for column in wanted:
        for row, record in enumerate(records):
            if isinstance(value := record.get(column), list | dict):
                raise ValueError(_nested(place(row), column, value))
    names = dict.fromkeys(key for record in records for key in record)
    columns = {}
    for column in names:
        columns[column], mended = _json_column([record.get(column) for record in records])
        if mended:
            log.warning(
                "%s: %d values in column %s hold half a surrogate pair, which is no character, and is replaced by "
                "U+FFFD; the first: %s",
                name,
                len(mended),
                shown(column),
                place(mended[0]),
            )
    return pa.table(columns)


def _constant(name: str) -> float | None:
    """NaN is what pandas writes where nothing is."""
    return None if name == "NaN" else float(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object has the key {shown(next(key for key in keys if keys.count(key) > 1))} twice")
    return found


def _line(text: str, position: int) -> str:
    return f"line {text.count(chr(10), 0, position) + 1}"


def _records(values: list[Any], wanted: Sequence[str]) -> list[Any]:
    """The records among what a file holds one after the other; ``values`` itself where it is the records."""
    if len(values) != 1 or not isinstance(values[0], list | dict):
        return values
    whole = values[0]
    if isinstance(whole, list):
        return whole
    if set(wanted) <= set(whole):
        if all(isinstance(whole[column], list | dict) for column in wanted):
            raise ValueError(
                "one object holds whole columns; write records instead, in pandas: "
                'to_json(FILE, orient="records", lines=True)'
            )
        return values
    lists = [
        value
        for value in whole.values()
        if isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
    ]
    return lists[0] if len(lists) == 1 else values


def _nested(place: str, column: str, value: Any) -> str:
    if isinstance(value, dict):
        return (
            f"{place}: {shown(column)} holds an object with {named(value)}, and a text, number or label is needed; "
            "give each of them a column of its own, and name the one that is meant"
        )
    return (
        f"{place}: {shown(column)} holds a list, {listed(value, 2)}, and a text, number or label is needed; join its "
        "items to one text, or name another column"
    )


def _json_column(values: list[Any]) -> tuple[pa.Array, list[int]]:
    """A column of one type, text where it is mixed or nested, and the rows whose text had to be mended."""
    if not any(isinstance(value, list | dict) for value in values):
        try:
            return pa.array(values), []
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            pass
    texts = [as_json(value) for value in values]
    mended = []
    for row, text in enumerate(texts):
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            texts[row] = str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            mended.append(row)
    return pa.array(texts, pa.string()), mended
