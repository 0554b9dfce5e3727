"""How the files that pass between stages are written and read.

Every artifact is Parquet, zstd-compressed, deterministic to the byte, and written whole or not at all. Its metadata
have a checksum of every column, which whoever reads the column compares: what was damaged, or edited by hand, is
refused instead of used.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ftft.core.errors import UserError, named, reason, shown

_CHECKSUMS = "checksums"
REMAKE = "delete the file and run again: it is made anew"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder that takes the place of ``path`` only when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(
    table: pa.Table | Iterable[pa.Table],
    path: str | os.PathLike[str],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ``table`` atomically as Parquet; an iterable of tables becomes one row group each.

    Args:
        table: columns are cast to ``schema``; a missing or surplus one raises ``ValueError``.
        path: the file; missing folders are made.
        schema: the artifact's schema, from a module ``schemas``.
        metadata: strings kept in the Parquet schema; keys are sorted.
    """
    schema = schema.with_metadata({key: metadata[key] for key in sorted(metadata)} if metadata else None)
    groups = [table] if isinstance(table, pa.Table) else table
    checksums: dict[str, list[str]] = {name: [] for name in schema.names}
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6") as writer,
    ):
        for group in groups:
            if sorted(group.column_names) != sorted(schema.names):
                raise ValueError(f"columns must be {schema.names}; found {group.column_names}")
            # An empty group would still write a row group, and Parquet readers fail on those.
            if group.num_rows:
                group = group.select(schema.names).cast(schema)
                writer.write_table(group, row_group_size=group.num_rows)
                for name in schema.names:
                    checksums[name].append(_checksum(group[name]))
        writer.add_key_value_metadata({_CHECKSUMS: json.dumps(checksums, sort_keys=True)})


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """Read an artifact, or some of its columns.

    Raises:
        UserError: the file is missing, damaged, lacks a column, or holds other values than were written.
    """
    groups = list(read_groups(path, columns=columns))
    if groups:
        return pa.concat_tables(groups)
    with _open(path) as file:
        schema = file.schema_arrow
        return schema.empty_table() if columns is None else schema.empty_table().select(list(columns))


def read_groups(
    path: str | os.PathLike[str], groups: slice = slice(None), columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The row groups of an artifact, one after the other, or some of them; raises what ``read_table`` does."""
    with _open(path) as file:
        checksums = _checksums(file, path)
        wanted = file.schema_arrow.names if columns is None else list(columns)
        if missing := [name for name in wanted if name not in file.schema_arrow.names]:
            raise damaged(path, f"it has no column {named(missing)}")
        for index in range(file.num_row_groups)[groups]:
            with _readable(path):
                group = file.read_row_group(index, columns=wanted).select(wanted)
            edited = [name for name in wanted if checksums.get(name, [])[index : index + 1] != [_checksum(group[name])]]
            if edited:
                raise damaged(path, f"values in {named(edited)} are not those that were written")
            yield group


def count_groups(path: str | os.PathLike[str]) -> int:
    """Number of row groups of an artifact."""
    with _open(path) as file:
        return file.num_row_groups


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the columns of an artifact."""
    with _open(path) as file:
        return file.schema_arrow.names


def read_metadata(path: str | os.PathLike[str], *required: str) -> dict[str, str]:
    """The metadata that ``write_table`` was given, without reading the table.

    Raises:
        UserError: the file is missing or damaged, or lacks a required key.
    """
    with _open(path) as file:
        metadata = file.metadata.metadata or {}
    try:
        found = {key.decode(): value.decode() for key, value in metadata.items()}
    except UnicodeDecodeError:
        raise damaged(path, "its metadata are no text") from None
    if missing := [key for key in required if key not in found]:
        raise damaged(path, f"its metadata lack {named(missing)}")
    return {key: found[key] for key in sorted(found) if key not in ("ARROW:schema", _CHECKSUMS)}


def read_names(path: str | os.PathLike[str], key: str = "labels") -> list[str] | None:
    """The names that the metadata of an artifact list under ``key``; None where they have no such key.

    Raises:
        UserError: as ``read_metadata``; there is something else.
    """
    text = read_metadata(path).get(key)
    if text is None:
        return None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(path, f"{key} in its metadata are no list of names")
    return names


def read_json(path: str | os.PathLike[str], *required: str) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        UserError: the file is missing, damaged, or lacks a required key.
    """
    with _readable(path):
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as failure:
            raise damaged(path, reason(failure)) from None
    if not isinstance(found, dict):
        raise damaged(path, "it holds no object")
    if missing := [key for key in required if key not in found]:
        raise damaged(path, f"it lacks {named(missing)}")
    return found


def damaged(path: str | os.PathLike[str], why: str, advice: str = REMAKE) -> UserError:
    """What to raise about an artifact that is not what it should be."""
    return UserError(f"{os.fspath(path)} is damaged: {why}; {advice}")


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[pq.ParquetFile]:
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise damaged(path, "it is empty")
    with _readable(path):
        file = pq.ParquetFile(path, memory_map=True)
    with file:
        yield file


@contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what reading a file may raise into one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"there is no file {os.fspath(path)}; run again: it is made anew") from None
    except IsADirectoryError:
        raise UserError(f"{os.fspath(path)} is a folder, and a file is expected; delete it and run again") from None
    except PermissionError:
        raise UserError(f"{os.fspath(path)} may not be read; give yourself the right to (chmod u+r)") from None
    except (pa.ArrowException, OSError, OverflowError) as failure:
        raise damaged(path, reason(failure)) from None


def _checksums(file: pq.ParquetFile, path: str | os.PathLike[str]) -> dict[str, list[str]]:
    found = (file.metadata.metadata or {}).get(_CHECKSUMS.encode())
    try:
        checksums = json.loads(found or b"")
    except (ValueError, RecursionError):
        checksums = None
    if not isinstance(checksums, dict):
        raise damaged(path, "it has no checksums, so something else has written it")
    return checksums


def _checksum(column: pa.ChunkedArray) -> str:
    """The first half of SHA-256 of the values of a column, whatever their chunks and buffers look like."""
    digest = hashlib.sha256()
    _update(digest, column.combine_chunks())
    return digest.hexdigest()[:32]


def _update(digest: Any, array: pa.Array) -> None:
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks makes of no chunks, or of too large ones
        for chunk in array.chunks:
            _update(digest, chunk)
        return
    kind = array.type
    if isinstance(array, pa.DictionaryArray):
        return _update(digest, array.dictionary_decode())
    if isinstance(array, pa.ExtensionArray):
        return _update(digest, array.storage)
    # Not the names of what is nested, which Parquet changes.
    digest.update(f"{'nested' if pa.types.is_nested(kind) else kind} {len(array)}".encode())
    if array.null_count:
        digest.update(np.asarray(pc.is_null(array)).tobytes())
        array = array.drop_null()
    if pa.types.is_null(kind) or not len(array):
        return None
    if _is_bytes(kind):
        digest.update(pc.binary_length(array).to_numpy().tobytes())
        width = np.int64 if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else np.int32
        offsets = np.frombuffer(array.buffers()[1], width)[array.offset : array.offset + len(array) + 1]
        if array.buffers()[2] is not None:
            digest.update(memoryview(array.buffers()[2])[offsets[0] : offsets[-1]])
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        digest.update(pc.list_value_length(array).to_numpy().tobytes())
        _update(digest, pc.list_flatten(array))
    elif pa.types.is_boolean(kind):
        digest.update(array.to_numpy(zero_copy_only=False).tobytes())
    elif pa.types.is_primitive(kind):
        width = kind.bit_width // 8
        digest.update(memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width])
    else:  # structs, maps and the like, which data may carry along
        digest.update(repr(array.to_pylist()).encode("utf-8", "backslashreplace"))
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    )


def read(path: str | os.PathLike[str], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an artifact of a fixed schema, or some of its columns.

    Raises:
        UserError: as ``read_table``; a column of another type; numbers that are not finite.
    """
    wanted = schema.names if columns is None else list(columns)
    table = read_table(path, wanted)
    for name in wanted:
        if table[name].type != schema.field(name).type:
            raise damaged(path, f"its column {name} holds {table[name].type} instead of {schema.field(name).type}")
        if pa.types.is_floating(table[name].type) and not pc.all(pc.is_finite(table[name]), min_count=0).as_py():
            raise damaged(path, f"its column {name} has numbers that are not finite")
    return table


def read_number(path: str | os.PathLike[str], key: str) -> int:
    """A whole number, at least 0, of an artifact's metadata.

    Raises:
        UserError: as ``read_metadata``; there is something else.
    """
    text = read_metadata(path, key)[key]
    if not (text.isascii() and text.isdigit()):
        raise damaged(path, f"{key} in its metadata is {shown(text)}, which is no number")
    return int(text)
