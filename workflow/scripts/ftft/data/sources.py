"""Where a source of labelled text lies: it is found or fetched, checked and read."""

import shutil
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from ftft.core.errors import UserError, named, reason, shown, without_credentials
from ftft.core.files import is_url, resolve, sha256
from ftft.data import planted
from ftft.data.hub import read_hub
from ftft.data.readers import read_file
from ftft.data.settings import Source

_TIMEOUT = 60.0  # seconds without a byte from a server


def read_source(
    source: Source, wanted: list[str], label: str, data_dir: str | Path, path: str | None
) -> tuple[str, pa.Table, str | None]:
    """What to call the source in messages, its content, and the revision of a hub dataset."""
    if path:
        where = without_credentials(path)
        return where, _read_path(source, where, path, wanted, label, data_dir), None
    if source["hub"] is not None:
        where = f"hub dataset {source['hub']}, split {source['split']}"
        table, revision = read_hub(source)
    else:
        where, revision = f"builtin {source['builtin']}", None
        table = planted.generate(source["split"] or "train", source["rows"], source["seed"])
    _check_columns(where, table, wanted)
    return where, table, revision


def _read_path(source: Source, where: str, path: str, wanted: list[str], label: str, data_dir: str | Path) -> pa.Table:
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
            close = [name for name in table.column_names if name.strip("\ufeff \t") == column]
            hint = f" ({shown(close[0])} has a space or a byte order mark beside its name)" if close else ""
            raise UserError(
                f"{where}: no column {shown(column)}; found: {named(table.column_names) or 'none'}{hint}; name the "
                "columns by text, label and uid, in data or in the source"
            )
