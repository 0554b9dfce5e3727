"""Turn one source of labelled text into a dataset that every later stage reads the same way."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftft.core.artifacts import write_table
from ftft.core.errors import UserError, listed, shown, without_credentials
from ftft.data.columns import kept_of, labels_of, strings_of, texts_of, uids_of
from ftft.data.schemas import DATA_COLUMNS, TEXTS, data_schema
from ftft.data.settings import Download, Source
from ftft.data.sources import read_source

log = logging.getLogger(__name__)


def download(cfg: Download, output: Path, data_dir: str | Path = ".", url: str | None = None) -> None:
    """Read one source and write it as a ``data`` artifact, in the source's row order.

    Args:
        cfg: the source and how it is read.
        output: the Parquet file, of ``data_schema``. Null texts become empty. Columns that are not named in
            ``cfg`` are kept if Parquet has their type; one that is named like a column of the schema gets the prefix
            ``source_``. Metadata: ``labels``, ``source``, ``rows``, ``content_hash`` and, for the hub, ``revision``.
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
    where, table, revision = read_source(source, wanted, label, data_dir, url or source["path"])
    columns = {
        "uid": uids_of(where, table, uid),
        **{name: texts_of(where, table, column) for name, column in zip(TEXTS, text, strict=False)},
        "label": labels_of(where, strings_of(where, table, label), label, cfg, source["relabel"]),
    }
    for name in table.column_names:
        if name not in {*text, label, uid}:
            kept = kept_of(where, table, name)
            if kept is not None:
                columns[_free_name(name, {*columns, *table.column_names})] = kept

    data = pa.table(columns)
    data = data.filter(pc.is_valid(data["label"]))
    if source["part"]:
        data = data.filter(_in_part(data["uid"], *source["part"]))
    if source["rows"] and not source["builtin"]:  # a builtin makes so many itself
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


def _check_rows(where: str, data: pa.Table, cfg: Download, read: int) -> None:
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


def _settings(source: Source) -> dict[str, Any]:
    """The settings of a source that say what is in it: those that differ from the defaults."""
    unused = {"encoding": "utf-8", "relabel": {}, **({} if source["builtin"] else {"seed": 0})}
    found = {key: value for key, value in source.items() if value is not None and value != unused.get(key)}
    return found | ({"path": without_credentials(source["path"])} if source["path"] else {})


def _free_name(name: str, taken: set[str]) -> str:
    if name in DATA_COLUMNS:
        while name in taken or name in DATA_COLUMNS:
            name = f"source_{name}"
    return name
