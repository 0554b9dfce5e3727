"""Turn one source of labelled text into a dataset that every later stage reads the same way."""

import hashlib
import json
import logging
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ftft import planted
from ftft.artifacts import write_table
from ftft.errors import UserError
from ftft.files import resolve, sha256
from ftft.schemas import DATA_COLUMNS, LABEL, data_schema

log = logging.getLogger(__name__)

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_BLOCK_BYTES = 1 << 24  # no line of a csv file may be longer
_TIMEOUT = 60.0  # seconds without a byte from a server


def download(cfg: dict[str, Any], output: Path, data_dir: str | Path = ".") -> None:
    """Read one source and write it as a ``data`` artifact, in the source's row order.

    Args:
        cfg: ``source`` (the fields of ``ftft.config.Source``), ``text`` (one or two columns), ``label`` and ``uid`` (a
            column, or None: uids are then made from row numbers), ``labels`` (names in the order of their class index)
            and ``role`` (``train``, ``dev`` or ``test``).
        output: the Parquet file, of ``schemas.data_schema``. Null texts become empty. Columns that are not named in
            ``cfg`` are kept; one that is named like a column of the schema gets the prefix ``source_``. Metadata:
            ``labels``, ``source``, ``rows``, ``content_hash`` and, for the hub, ``revision``.
        data_dir: where relative paths start.

    Raises:
        UserError: the source cannot be reached or read, or what it holds does not fit ``cfg``.
    """
    source = cfg["source"]
    text = source["text"] or cfg["text"]
    label = source["label"] or cfg["label"]
    uid = source["uid"] or cfg["uid"] or ("uid" if source["builtin"] else None)
    wanted = [*text, label, *([uid] if uid else [])]
    where, table, revision = _read(source, wanted, data_dir)
    columns = {
        "uid": _uids(where, table, uid),
        **{name: _texts(where, table, column) for name, column in zip(("text_a", "text_b"), text, strict=False)},
        "label": _labels(where, _strings(where, table, label), label, cfg["labels"], source["relabel"]),
    }
    for name in table.column_names:
        if name not in {*text, label, uid}:
            columns[_free_name(name, {*columns, *table.column_names})] = table[name]

    data = pa.table(columns)
    data = data.filter(pc.is_valid(data["label"]))
    if source["part"]:
        data = data.filter(_in_part(data["uid"], *source["part"]))
    if source["rows"]:
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


def _read(source: dict[str, Any], wanted: list[str], data_dir: str | Path) -> tuple[str, pa.Table, str | None]:
    """What to call the source in messages, its content, and the revision of a hub dataset."""
    if source["path"]:
        return source["path"], _read_path(source, wanted, data_dir), None
    if source["hub"]:
        where = f"hub dataset {source['hub']}, split {source['split']}"
        table, revision = _read_hub(source)
    else:
        where, revision = f"builtin {source['builtin']}", None
        table = planted.generate(source["split"] or "train", source["rows"], source["seed"])
    _check_columns(where, table, wanted)
    return where, table, revision


def _read_path(source: dict[str, Any], wanted: list[str], data_dir: str | Path) -> pa.Table:
    with _local_files(source["path"], data_dir) as files:
        if source["sha256"]:
            _check_sha256(source["path"], files, source["sha256"])
        tables = [_read_file(source, file) for file in files]
    for file, table in zip(files, tables, strict=True):
        _check_columns(source["path"] if len(files) == 1 else str(file), table, wanted)
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as failure:
        raise UserError(f"{source['path']}: files differ in the types of their columns: {_line(failure)}") from None


@contextmanager
def _local_files(path: str, data_dir: str | Path) -> Iterator[list[Path]]:
    """The files that a path, glob or URL names; what comes from a URL is there only within the block."""
    if not path.startswith(("http://", "https://")):
        yield resolve(path, data_dir)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / (Path(urlsplit(path).path).name or "data")
        try:
            with urllib.request.urlopen(path, timeout=_TIMEOUT) as response, file.open("wb") as copy:
                shutil.copyfileobj(response, copy)
                expected = response.headers["Content-Length"]
        except (OSError, HTTPException) as failure:
            if isinstance(failure, HTTPError):
                failure.close()
            raise UserError(
                f"{path}: cannot be fetched ({_line(failure)}); check the address and the network, or fetch the file "
                "elsewhere and give its path"
            ) from None
        if expected is not None and file.stat().st_size != int(expected):
            raise UserError(f"{path}: the connection broke after {file.stat().st_size} of {expected} bytes; try again")
        yield [file]


def _check_sha256(path: str, files: list[Path], expected: str) -> None:
    if len(files) > 1:
        raise UserError(f"{path}: sha256 is the checksum of one file; found {len(files)} files: leave it out")
    found = sha256(files[0])
    if found != expected.lower():
        raise UserError(
            f"{path}: the checksum does not match: found sha256 {found}, expected {expected.lower()}; fetch the file "
            "again, or correct sha256 if the new content is wanted"
        )


def _read_file(source: dict[str, Any], file: Path) -> pa.Table:
    """One file as a table of whatever columns it has; all columns of a csv or tsv file are strings."""
    name = source["path"] if "://" in source["path"] else str(file)
    kind = source["format"] or _FORMATS.get(file.suffix.lower())
    if kind is None:
        raise UserError(
            f"{name}: the file name does not tell the format; set format to one of csv, tsv, jsonl, json, parquet"
        )
    if source["columns"] and kind not in ("csv", "tsv"):
        raise UserError(f"{name}: columns names the columns of a csv or tsv file without a header; this is {kind}")
    if file.stat().st_size == 0:
        raise UserError(f"{name}: the file is empty; rows with a label are needed")
    try:
        if kind == "parquet":
            table = pq.read_table(file, partitioning=None)
        elif kind in ("csv", "tsv"):
            table = _read_csv(file, "," if kind == "csv" else "\t", source["columns"], source["quoting"])
        else:
            table = _read_json(file)
    except (pa.ArrowException, ValueError) as failure:  # malformed content; ArrowInvalid and UnicodeDecodeError too
        hint = "; if quote marks are part of the text, set quoting: false" if kind in ("csv", "tsv") else ""
        raise UserError(f"{name}: cannot be read as {kind}: {_line(failure)}{hint}") from None
    twice = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if twice:
        raise UserError(f"{name}: the column {twice[0]!r} occurs more than once; rename one of them")
    return table.replace_schema_metadata(None)


def _read_csv(file: Path, delimiter: str, columns: list[str] | None, quoting: bool) -> pa.Table:
    # One thread: only then are the rows counted that error messages name.
    read = pa_csv.ReadOptions(column_names=columns, use_threads=False, block_size=_BLOCK_BYTES)
    parse = pa_csv.ParseOptions(
        delimiter=delimiter, quote_char='"' if quoting else False, newlines_in_values=quoting, ignore_empty_lines=True
    )
    with pa_csv.open_csv(file, read_options=read, parse_options=parse) as reader:
        names = reader.schema.names
    # Types are not guessed: a guess would turn the label "01" into 1 and the text "NA" into nothing.
    convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pa_csv.read_csv(file, read_options=read, parse_options=parse, convert_options=convert)


def _read_json(file: Path) -> pa.Table:
    """Objects, one per line or in one array; values of mixed or nested types become their JSON text."""
    text = file.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        records = json.loads(text)
        places = [f"item {number}" for number in range(1, len(records) + 1)]
    else:
        # Not splitlines, which also breaks at characters that JSON strings may hold.
        lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        places = [place for place, _ in lines]
        records = [_parse(place, line) for place, line in lines]
    for place, record in zip(places, records, strict=True):
        if not isinstance(record, dict):
            raise ValueError(f'{place}: an object such as {{"text": …, "label": …}} is expected')
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: _json_column([record.get(name) for record in records]) for name in names})


def _parse(place: str, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as failure:
        raise ValueError(f"{place}: {failure}") from None


def _json_column(values: list[Any]) -> pa.Array:
    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass
    else:
        if not pa.types.is_nested(column.type):
            return column
    return pa.array([_json(value) for value in values], pa.string())


def _read_hub(source: dict[str, Any]) -> tuple[pa.Table, str]:
    """One split of a dataset on the Hugging Face hub, class indices as names, and the commit it is from."""
    import datasets  # takes a second, and no other source needs it
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    hub, commit = source["hub"], source["revision"]
    where = f"hub dataset {hub}"
    try:
        commit = HfApi().dataset_info(hub, revision=commit).sha
    except RevisionNotFoundError:
        raise UserError(f"{where}: there is no revision {commit!r}; give a commit of this dataset") from None
    except GatedRepoError:
        raise UserError(f"{where}: access must be asked for on its page; then set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise UserError(f"{where}: not found; check the id, or set HF_TOKEN if the dataset is private") from None
    except Exception as failure:  # whatever the HTTP client raises; the local cache may have the dataset
        unreachable = _line(failure)
        datasets.config.HF_HUB_OFFLINE = True  # otherwise datasets tries again for half a minute
    else:
        unreachable = ""
    try:
        builder = datasets.load_dataset_builder(hub, source["name"], revision=commit)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=source["split"])
    except ValueError as failure:  # unknown configuration or split: the message lists those there are
        raise UserError(f"{where}, name {source['name']}, split {source['split']}: {_line(failure)}") from None
    except Exception as failure:
        raise UserError(
            f"{where}: cannot be fetched ({unreachable or _line(failure)}) and is not in the local cache; run this "
            "rule on a machine with network, or set HF_HOME to a cache filled on one, or HF_ENDPOINT to a mirror"
        ) from failure
    if commit and not builder.hash.startswith(commit):
        raise UserError(
            f"{where}: revision {commit} is wanted, but only {builder.hash} is at hand ({unreachable}); run this "
            "rule on a machine with network, or correct revision"
        )
    table = dataset.with_format("arrow")[:].replace_schema_metadata(None)
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            table = table.set_column(
                table.column_names.index(column), column, _class_names(table[column], feature.names)
            )
    return table, builder.hash


def _class_names(indices: pa.ChunkedArray, names: list[str]) -> pa.Array:
    """Names for class indices; an index without a name, such as the hub's -1 for unlabelled, stays a number."""
    return pa.array([names[i] if i is not None and 0 <= i < len(names) else _json(i) for i in indices.to_pylist()])


def _check_columns(where: str, table: pa.Table, wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in table.column_names:
            raise UserError(
                f"{where}: no column {column!r}; found: {', '.join(table.column_names) or 'none'}; name the columns by "
                "text, label and uid, in data or in the source"
            )


def _strings(where: str, table: pa.Table, column: str) -> pa.ChunkedArray:
    """A column as strings, null as the empty one."""
    try:
        return pc.fill_null(table[column].cast(pa.string()), "")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(
            f"{where}: the column {column!r} holds {table[column].type}; text or numbers are needed"
        ) from None


def _texts(where: str, table: pa.Table, column: str) -> pa.ChunkedArray:
    texts = _strings(where, table, column)
    empty = _rows(pc.equal(texts, ""))
    if empty.size:
        log.warning("%s: %d empty texts in column %r, kept; the first in row %d", where, empty.size, column, empty[0])
    return texts


def _uids(where: str, table: pa.Table, column: str | None) -> pa.Array | pa.ChunkedArray:
    if column is None:
        # Zero-padded, so that the order by uid is the order of the rows.
        return pa.array([f"row{number:08d}" for number in range(1, table.num_rows + 1)], pa.string())
    uids = _strings(where, table, column)
    empty = _rows(pc.equal(uids, ""))
    if empty.size:
        raise UserError(
            f"{where}: {empty.size} empty uids in column {column!r}, the first in row {empty[0]}; fill them in, or "
            "leave uid out: uids are then made from row numbers"
        )
    counts = uids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        value = repeated[0]["values"].as_py()
        first, second, *_ = _rows(pc.equal(uids, value))
        raise UserError(
            f"{where}: {len(repeated)} uids in column {column!r} occur more than once, such as {value!r} in rows "
            f"{first} and {second}; make them unique, or leave uid out: uids are then made from row numbers"
        )
    return uids


def _labels(
    where: str, raw: pa.ChunkedArray, column: str, names: Sequence[str], relabel: dict[str, str | None]
) -> pa.Array:
    """Class indices (int16) for labels as the source spells them; null for rows that ``relabel`` drops.

    A label is looked up in ``relabel``, then among ``names``. If ``relabel`` names no class and the source has no
    label by name, ``"0"`` to ``"n-1"`` are the classes in their order.
    """
    values = raw.unique().to_pylist()
    index = {name: i for i, name in enumerate(names)}
    if not any(relabel.values()) and not set(values) & set(names):
        index = {str(i): i for i in range(len(names))}
    index |= {old: names.index(new) for old, new in relabel.items() if new is not None}
    dropped = {old for old, new in relabel.items() if new is None}

    unknown = [value for value in values if value not in index and value not in dropped]
    if unknown:
        rows = _rows(pc.is_in(raw, pa.array(unknown, pa.string())))
        example = json.dumps(unknown[0], ensure_ascii=False)
        shown = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise UserError(
            f"{where}: the label column {column!r} holds {shown}, in {len(rows)} of {len(raw)} rows, the first in row "
            f"{rows[0]}; allowed: {', '.join(names)}; rename with relabel: {{{example}: {names[0]}}} or drop such rows "
            f"with relabel: {{{example}: null}}"
        )
    gone = pc.sum(pc.is_in(raw, pa.array(sorted(dropped), pa.string()))).as_py()
    if gone:
        log.info("%s: %d rows dropped by relabel", where, gone)
    codes = [None if value in dropped else index[value] for value in values]
    return pa.array(codes, LABEL).take(pc.index_in(raw, pa.array(values, pa.string())).combine_chunks())


def _check_rows(where: str, data: pa.Table, cfg: dict[str, Any], read: int) -> None:
    if data.num_rows == 0:
        raise UserError(
            f"{where}: no rows are left of the {read} in the source; at least one is needed: check relabel and part"
        )
    present = data["label"].unique().to_pylist()
    if cfg["role"] == "train" and len(present) == 1:
        raise UserError(
            f"{where}: the train set has one class only: {cfg['labels'][present[0]]!r} in all {data.num_rows} rows; at "
            "least two are needed: check label, relabel and rows"
        )


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
    unused = {"quoting": True, "relabel": {}, **({} if source["builtin"] else {"seed": 0})}
    return {key: value for key, value in source.items() if value is not None and value != unused.get(key)}


def _free_name(name: str, taken: set[str]) -> str:
    if name in DATA_COLUMNS:
        while name in taken or name in DATA_COLUMNS:
            name = f"source_{name}"
    return name


def _rows(mask: pa.ChunkedArray) -> np.ndarray:
    """Numbers of the rows for which ``mask`` holds, from 1 as people count them."""
    return np.flatnonzero(mask.to_numpy()) + 1


def _json(value: Any) -> str | None:
    """A JSON value as text; strings stay as they are."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _line(failure: BaseException) -> str:
    """The message of a failure as one line."""
    text = " ".join(str(failure).split()) or type(failure).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
