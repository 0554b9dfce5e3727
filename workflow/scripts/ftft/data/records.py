"""Labelled text in JSON: one object after the other, or a list of them."""

import json
import logging
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ftft.core.errors import listed, named, shown

log = logging.getLogger(__name__)

_SPACE = re.compile(r"[ \t\n\r]*")  # between values of JSON


def as_json(value: Any) -> str | None:
    """A JSON value as text; strings stay as they are."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def read_json(name: str, text: str, wanted: Sequence[str]) -> pa.Table:
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
