"""What a source says, as the columns of a dataset: texts, uids and labels, checked and relabelled."""

import json
import logging
import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftft.core.errors import VALUE, UserError, listed, named, shortened, shown
from ftft.data.schemas import LABEL
from ftft.data.settings import Download

log = logging.getLogger(__name__)

# Types that Parquet has none for; a struct, where it is without fields.
_STRANGE = (pa.types.is_interval, pa.types.is_run_end_encoded, pa.types.is_union, pa.types.is_struct)


def strings_of(where: str, table: pa.Table, column: str) -> pa.ChunkedArray:
    """A column as strings; null, and NaN, which pandas writes for it, as the empty one."""
    values = table[column]
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    try:
        return pc.fill_null(values.cast(pa.string()), "")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        kind = shortened(str(values.type), VALUE)
        raise UserError(f"{where}: the column {shown(column)} holds {kind}; text or numbers are needed") from None


def kept_of(where: str, table: pa.Table, column: str) -> pa.ChunkedArray | None:
    """A column that nothing here reads, in a type that Parquet gives back as it was; None where there is none."""
    values = table[column]
    try:
        return values.cast(_lasting(values.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        log.warning(
            "%s: the column %s is left out: it holds %s", where, shown(column), shortened(str(values.type), VALUE)
        )
        return None


def _lasting(kind: pa.DataType) -> pa.DataType:
    """The type as which Parquet gives back a column of ``kind``.

    Raises:
        ArrowNotImplementedError: it has none.
    """
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if pa.types.is_time32(kind):
        return pa.time32("ms")
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_list(kind):
        return pa.list_(_lasting(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_lasting(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_lasting(kind.value_type), kind.list_size)
    if pa.types.is_map(kind):
        return pa.map_(_lasting(kind.key_type), _lasting(kind.item_type))
    if pa.types.is_dictionary(kind):
        inner = _lasting(kind.value_type)
        return kind if inner == kind.value_type and not pa.types.is_nested(inner) else inner
    if pa.types.is_struct(kind) and kind.num_fields:
        return pa.struct([(field.name, _lasting(field.type)) for field in kind])
    if any(strange(kind) for strange in _STRANGE):
        raise pa.ArrowNotImplementedError(str(kind))
    return kind


def texts_of(where: str, table: pa.Table, column: str) -> pa.ChunkedArray:
    """A column of texts; empty ones are kept and counted."""
    texts = strings_of(where, table, column)
    empty = _rows(pc.equal(texts, ""))
    if empty.size:
        log.warning(
            "%s: %d empty texts in column %s, kept; the first in row %d", where, empty.size, shown(column), empty[0]
        )
    return texts


def row_uids(rows: int) -> pa.Array:
    """Uids made from row numbers, zero-padded so that their order is that of the rows."""
    return pa.array([f"row{number:08d}" for number in range(1, rows + 1)], pa.string())


def uids_of(where: str, table: pa.Table, column: str | None) -> pa.Array | pa.ChunkedArray:
    """A column of uids, each there once; without a column they are made from row numbers."""
    if column is None:
        return row_uids(table.num_rows)
    uids = strings_of(where, table, column)
    empty = _rows(pc.equal(uids, ""))
    if empty.size:
        raise UserError(
            f"{where}: {empty.size} empty uids in column {shown(column)}, the first in row {empty[0]}; fill them in, "
            "or leave uid out: uids are then made from row numbers"
        )
    counts = uids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        value = repeated[0]["values"].as_py()
        first, second, *_ = _rows(pc.equal(uids, value))
        raise UserError(
            f"{where}: {len(repeated)} uids in column {shown(column)} occur more than once, such as {shown(value)} in "
            f"rows {first} and {second}; make them unique, or leave uid out: uids are then made from row numbers"
        )
    return uids


def labels_of(where: str, raw: pa.ChunkedArray, column: str, cfg: Download, relabel: dict[str, str | None]) -> pa.Array:
    """Class indices (int16) for labels as the source spells them; null for rows that ``relabel`` drops.

    A label is looked up in ``relabel``, then among the names, in the same Unicode form (NFC); a whole number that is
    written as 1.0 is 1. If ``relabel`` names no class and the source has no label by name, ``"0"`` to ``"n-1"`` are the
    classes in their order.
    """
    names = cfg["labels"]
    raw = pc.utf8_normalize(raw, form="NFC")
    values = raw.unique().to_pylist()
    index = _spelled({name: i for i, name in enumerate(names)})
    relabel = _spelled(relabel)
    dropped = {old for old, new in relabel.items() if new is None}
    if not any(relabel.values()) and not set(values) & set(index):
        _check_first(where, set(values) - dropped, column, cfg)
        index = _spelled({str(i): i for i in range(len(names))})
    index |= {old: names.index(new) for old, new in relabel.items() if new is not None}

    unknown = [value for value in values if value not in index and value not in dropped]
    if unknown:
        rows = _rows(pc.is_in(raw, pa.array(unknown, pa.string())))
        raise UserError(
            f"{where}: the label column {shown(column)} holds {listed(unknown, 3)}, in {len(rows)} of {len(raw)} rows, "
            f"the first in row {rows[0]}; allowed: {named(names)}; {_advice(unknown, names)}"
        )
    gone = pc.sum(pc.is_in(raw, pa.array(sorted(dropped), pa.string()))).as_py()
    if gone:
        log.info("%s: %d rows dropped by relabel", where, gone)
    codes = [None if value in dropped else index[value] for value in values]
    return pa.array(codes, LABEL).take(pc.index_in(raw, pa.array(values, pa.string())).combine_chunks())


def _spelled(labels: dict[str, Any]) -> dict[str, Any]:
    """By labels as a source may spell them: in NFC, and 1 as 1.0, as pandas does in a column where one is missing."""
    found = {unicodedata.normalize("NFC", label): what for label, what in labels.items()}
    return {f"{label}.0": what for label, what in found.items() if re.fullmatch("-?[0-9]+", label)} | found


def _check_first(where: str, values: set[str], column: str, cfg: Download) -> None:
    """Refuse numbers as labels that count from 1, where they stand for classes that count from 0."""
    names = cfg["labels"]
    numbers = {int(value.removesuffix(".0")) for value in values if re.fullmatch(r"(0|[1-9][0-9]{0,8})(\.0)?", value)}
    if len(numbers) < len(values) or not numbers or 0 in numbers or max(numbers) > len(names):
        return
    found = f"{where}: the label column {shown(column)} holds the numbers {min(numbers)} to {max(numbers)} and no 0"
    if max(numbers) < len(names) and cfg["role"] != "train":
        log.warning("%s; they are read as counted from 0: if they count from 1, set relabel", found)
        return
    example = ", ".join(f'"{number + 1}": {shown(name)}' for number, name in enumerate(names[:2]))
    raise UserError(
        f"{found}, and the {len(names)} labels are counted from 0; say which number is which label, if they count from "
        f"1 by relabel: {{{example}{', …' * (len(names) > 2)}}}"
    )


def _advice(unknown: list[str], names: Sequence[str]) -> str:
    """What to do about labels that are not among the names."""
    if any(re.fullmatch("0[0-9]+", value) for value in unknown) and any(name.isdecimal() for name in names):
        example = ", ".join(f'"{shortened(value, VALUE)}"' for value in sorted(unknown)[:2])
        more = ", …" * (len(names) > 2)
        return f"a label that begins with 0 needs quote marks in the configuration: labels: [{example}{more}]"
    if len(unknown) > max(20, 5 * len(names)):
        return f"are these {len(unknown)} values labels? name the labels' column by label"
    lower = {name.lower(): name for name in names}
    close = get_close_matches(unknown[0][:100].strip().lower(), lower, n=1)
    example = json.dumps(shortened(unknown[0], VALUE), ensure_ascii=False)
    meant = shortened(lower[close[0]], VALUE) if close else "LABEL"
    return f"rename with relabel: {{{example}: {meant}}} or drop such rows with relabel: {{{example}: null}}"


def _rows(mask: pa.ChunkedArray) -> np.ndarray:
    """Numbers of the rows for which ``mask`` holds, from 1 as people count them."""
    return np.flatnonzero(mask.to_numpy()) + 1
