"""Labelled text in csv and tsv files: rows that are what they seem, or a line that says which is not."""

import csv
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc

from ftft.core.errors import UserError, reason, shown
from ftft.data.settings import Source

log = logging.getLogger(__name__)

_CHUNK = 20_000  # rows of a csv file that are lists of Python strings at the same time
DELIMITERS = {"csv": ",", "tsv": "\t"}
# A field that only a writer which encloses fields in quote marks writes: marks around it, and doubled ones within.
_ENCLOSED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


def read_csv(name: str, opened: Callable[[str], TextIO], kind: str, source: Source) -> pa.Table:
    """A table of strings. Types are not guessed: a guess would turn the label "01" into 1 and "NA" into nothing."""
    with opened("\n") as stream:
        first = stream.readline()
    # Lines of old files end in a carriage return alone.
    newline = "\r" if "\r" in first and not first.endswith("\n") else "\n"
    delimiter = source["delimiter"] or DELIMITERS[kind]
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


def check_rows(name: str, table: pa.Table, delimiter: str, label: str) -> None:
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


def check_enclosed(name: str, table: pa.Table, kind: str, wanted: Sequence[str], source: Source) -> None:
    """Refuse a tsv file that encloses all values of a column, where nothing says whether the quote marks are text."""
    if kind != "tsv" or source["quoting"] is not None or table.num_rows < 2:
        return
    for column in wanted:
        if column in table.column_names and pc.all(pc.match_substring_regex(table[column], '(?s)^".*"$')).as_py():
            raise UserError(
                f"{name}: quote marks enclose all values of the column {shown(column)}; set quoting: true, or quoting: "
                "false if they are part of the text"
            )


def note_escapes(name: str, table: pa.Table, wanted: Sequence[str], source: Source) -> None:
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
