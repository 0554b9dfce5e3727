"""Turn one source of labelled text into a dataset that every later stage reads the same way."""

import hashlib
import json
import logging
import re
import shutil
import tempfile
import unicodedata
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftft.core.artifacts import write_table
from ftft.core.errors import VALUE, UserError, listed, named, reason, shortened, shown, without_credentials
from ftft.core.files import is_url, resolve, sha256
from ftft.data import planted
from ftft.data.hub import read_hub
from ftft.data.readers import read_file
from ftft.data.schemas import DATA_COLUMNS, LABEL, data_schema

log = logging.getLogger(__name__)

_TIMEOUT = 60.0  # seconds without a byte from a server


def download(cfg: dict[str, Any], output: Path, data_dir: str | Path = ".", url: str | None = None) -> None:
    """Read one source and write it as a ``data`` artifact, in the source's row order.

    Args:
        cfg: ``source`` (the fields of ``ftft.config.Source``), ``text`` (one or two columns), ``label`` and ``uid`` (a
            column, or None: uids are then made from row numbers), ``labels`` (names in the order of their class index)
            and ``role`` (``train``, ``dev`` or ``test``).
        output: the Parquet file, of ``data_schema``. Null texts become empty. Columns that are not named in
            ``cfg`` are kept; one that is named like a column of the schema gets the prefix ``source_``. Metadata:
            ``labels``, ``source``, ``rows``, ``content_hash`` and, for the hub, ``revision``.
        data_dir: where relative paths start.
        url: where a file is fetched from, where that has a password or the like in it, which ``cfg`` does not show.

    Raises:
        UserError: the source cannot be reached or read, or what it holds does not fit ``cfg``.
    """
    source = cfg["source"]
    text = source["text"] or cfg["text"]
    label = source["label"] or cfg["label"]
    uid = source["uid"] or cfg["uid"] or ("uid" if source["builtin"] else None)
    wanted = [*text, label, *([uid] if uid else [])]
    where, table, revision = _read(source, wanted, label, data_dir, url or source["path"])
    columns = {
        "uid": _uids(where, table, uid),
        **{name: _texts(where, table, column) for name, column in zip(("text_a", "text_b"), text, strict=False)},
        "label": _labels(where, _strings(where, table, label), label, cfg, source["relabel"]),
    }
    for name in table.column_names:
        if name not in {*text, label, uid}:
            columns[_free_name(name, {*columns, *table.column_names})] = table[name]

    data = pa.table(columns)
    data = data.filter(pc.is_valid(data["label"]))
    if source["part"]:
        data = data.filter(_in_part(data["uid"], *source["part"]))
    if source["rows"]:
        if data.num_rows < source["rows"]:
            log.warning("%s: rows is %d, but there are only %d", where, source["rows"], data.num_rows)
        data = data.slice(0, source["rows"])
    _check_rows(where, data, cfg, read=table.num_rows)

    extra = [field for field in data.schema if field.name not in DATA_COLUMNS]
    metadata = {
        "labels": json.dumps(cfg["labels"], ensure_ascii=False),
        "source": json.dumps(_settings(source), ensure_ascii=False, sort_keys=True),
        "rows": str(data.num_rows),
        "content_hash": _content_hash(data),
    }
    if revision:
        metadata["revision"] = revision
    write_table(data, output, data_schema(pairs=len(text) == 2, extra=extra), metadata)


def _read(
    source: dict[str, Any], wanted: list[str], label: str, data_dir: str | Path, path: str | None
) -> tuple[str, pa.Table, str | None]:
    """What to call the source in messages, its content, and the revision of a hub dataset."""
    if path:
        where = without_credentials(path)
        return where, _read_path(source, where, path, wanted, label, data_dir), None
    if source["hub"]:
        where = f"hub dataset {source['hub']}, split {source['split']}"
        table, revision = read_hub(source)
    else:
        where, revision = f"builtin {source['builtin']}", None
        table = planted.generate(source["split"] or "train", source["rows"], source["seed"])
    _check_columns(where, table, wanted)
    return where, table, revision


def _read_path(
    source: dict[str, Any], where: str, path: str, wanted: list[str], label: str, data_dir: str | Path
) -> pa.Table:
    with _local_files(path, where, data_dir) as files:
        if source["sha256"]:
            _check_sha256(where, files, source["sha256"])
        names = [where if is_url(path) else str(file) for file in files]
        tables = [read_file(source, file, name, wanted, label) for file, name in zip(files, names, strict=True)]
    for name, table in zip(names, tables, strict=True):
        _check_columns(where if len(files) == 1 else name, table, wanted)
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as failure:
        raise UserError(f"{where}: files differ in the types of their columns: {reason(failure)}") from None


@contextmanager
def _local_files(path: str, where: str, data_dir: str | Path) -> Iterator[list[Path]]:
    """The files that a path, glob or URL names; what comes from a URL is there only within the block."""
    if not is_url(path):
        yield resolve(path, data_dir)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = Path(folder) / (Path(urlsplit(path).path).name or "data")
            with urllib.request.urlopen(_request(path), timeout=_TIMEOUT) as response, file.open("wb") as copy:
                shutil.copyfileobj(response, copy)
                expected = response.headers["Content-Length"]
        except (OSError, HTTPException, ValueError) as failure:
            if isinstance(failure, HTTPError):
                failure.close()
            raise UserError(
                f"{where}: cannot be fetched ({reason(failure)}); check the address and the network, or fetch the file "
                "elsewhere and give its path"
            ) from None
        if expected is not None and file.stat().st_size != int(expected):
            raise UserError(f"{where}: the connection broke after {file.stat().st_size} of {expected} bytes; try again")
        yield [file]


def _request(url: str) -> urllib.request.Request:
    """A request whose address has no user and password: they go into a header, which no other server is shown."""
    parts = urlsplit(url)
    request = urllib.request.Request(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {b64encode(pair.encode()).decode()}")
    return request


def _check_sha256(path: str, files: list[Path], expected: str) -> None:
    if len(files) > 1:
        raise UserError(f"{path}: sha256 is the checksum of one file; found {len(files)} files: leave it out")
    found = sha256(files[0])
    if found != expected.lower():
        raise UserError(
            f"{path}: the checksum does not match: found sha256 {found}, expected {expected.lower()}; fetch the file "
            "again, or correct sha256 if the new content is wanted"
        )


def _check_columns(where: str, table: pa.Table, wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in table.column_names:
            raise UserError(
                f"{where}: no column {shown(column)}; found: {named(table.column_names) or 'none'}; name the columns "
                "by text, label and uid, in data or in the source"
            )


def _strings(where: str, table: pa.Table, column: str) -> pa.ChunkedArray:
    """A column as strings; null, and NaN, which pandas writes for it, as the empty one."""
    values = table[column]
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    try:
        return pc.fill_null(values.cast(pa.string()), "")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        kind = shortened(str(values.type), VALUE)
        raise UserError(f"{where}: the column {shown(column)} holds {kind}; text or numbers are needed") from None


def _texts(where: str, table: pa.Table, column: str) -> pa.ChunkedArray:
    texts = _strings(where, table, column)
    empty = _rows(pc.equal(texts, ""))
    if empty.size:
        log.warning(
            "%s: %d empty texts in column %s, kept; the first in row %d", where, empty.size, shown(column), empty[0]
        )
    return texts


def _uids(where: str, table: pa.Table, column: str | None) -> pa.Array | pa.ChunkedArray:
    if column is None:
        # Zero-padded, so that the order by uid is the order of the rows.
        return pa.array([f"row{number:08d}" for number in range(1, table.num_rows + 1)], pa.string())
    uids = _strings(where, table, column)
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


def _labels(
    where: str, raw: pa.ChunkedArray, column: str, cfg: dict[str, Any], relabel: dict[str, str | None]
) -> pa.Array:
    """Class indices (int16) for labels as the source spells them; null for rows that ``relabel`` drops.

    A label is looked up in ``relabel``, then among the names, in the same Unicode form (NFC). If ``relabel`` names no
    class and the source has no label by name, ``"0"`` to ``"n-1"`` are the classes in their order.
    """
    names = cfg["labels"]
    raw = pc.utf8_normalize(raw, form="NFC")
    values = raw.unique().to_pylist()
    index = {unicodedata.normalize("NFC", name): i for i, name in enumerate(names)}
    relabel = {unicodedata.normalize("NFC", old): new for old, new in relabel.items()}
    dropped = {old for old, new in relabel.items() if new is None}
    if not any(relabel.values()) and not set(values) & set(index):
        _check_first(where, set(values) - dropped, column, cfg)
        # pandas writes whole numbers as 1.0 in a column where one is missing.
        index = {f"{i}{end}": i for i in range(len(names)) for end in ("", ".0")}
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


def _check_first(where: str, values: set[str], column: str, cfg: dict[str, Any]) -> None:
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


def _check_rows(where: str, data: pa.Table, cfg: dict[str, Any], read: int) -> None:
    if data.num_rows == 0:
        raise UserError(
            f"{where}: no rows are left of the {read} in the source; at least one is needed: check relabel and part"
        )
    present = data["label"].unique().to_pylist()
    if cfg["role"] == "train" and len(present) == 1:
        raise UserError(
            f"{where}: the train set has one class only: {shown(cfg['labels'][present[0]])} in all {data.num_rows} "
            "rows; at least two are needed: check label, relabel and rows"
        )
    missing = [name for number, name in enumerate(cfg["labels"]) if number not in present]
    if cfg["role"] == "train" and missing:
        log.warning("%s: no row of the train set has the label %s", where, listed(missing))


def _in_part(uids: pa.ChunkedArray, start: float, end: float) -> pa.Array:
    """Whether each uid's SHA-256, read as a number in [0, 1), lies in [start, end)."""
    digests = (hashlib.sha256(uid.encode()).digest() for uid in uids.to_pylist())
    places = np.array([int.from_bytes(digest[:6], "big") for digest in digests], dtype=np.float64) / 2**48
    return pa.array((places >= start) & (places < end))


def _content_hash(data: pa.Table) -> str:
    """SHA-256 of the uids, texts and labels, whatever the Parquet library makes of them."""
    digest = hashlib.sha256()
    for name in DATA_COLUMNS:
        if name in data.column_names:
            digest.update(json.dumps({name: data[name].to_pylist()}).encode())
    return digest.hexdigest()


def _settings(source: dict[str, Any]) -> dict[str, Any]:
    """The settings of a source that say what is in it: those that differ from the defaults."""
    unused = {"encoding": "utf-8", "relabel": {}, **({} if source["builtin"] else {"seed": 0})}
    found = {key: value for key, value in source.items() if value is not None and value != unused.get(key)}
    return found | ({"path": without_credentials(source["path"])} if source["path"] else {})


def _free_name(name: str, taken: set[str]) -> str:
    if name in DATA_COLUMNS:
        while name in taken or name in DATA_COLUMNS:
            name = f"source_{name}"
    return name


def _rows(mask: pa.ChunkedArray) -> np.ndarray:
    """Numbers of the rows for which ``mask`` holds, from 1 as people count them."""
    return np.flatnonzero(mask.to_numpy()) + 1
