"""JSON lines: files with one object per line, read with the place of each for messages, and written whole."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ftft.core.artifacts import atomic_path
from ftft.core.errors import UserError, printable, reason, shortened

JSON = json.JSONEncoder(separators=(",", ":"))

Record = tuple[str, dict[str, Any]]  # an object with its place, for messages


def read_records(path: Path) -> Iterator[Record]:
    """The JSON objects of a file with their places; empty lines are skipped."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as failure:
                    raise UserError(f"{place}: not JSON ({reason(failure)}); needed: one object per line") from None
                if not isinstance(record, dict):
                    raise UserError(f"{place}: {type(record).__name__} found; needed: one object per line")
                yield place, record
    except OSError as failure:
        raise UserError(
            f"{path} cannot be read: {failure.strerror or reason(failure)}; name a file of JSON lines"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; name a file of JSON lines") from None


def shown_json(value: Any) -> str:
    """A value as JSON, short enough for a message."""
    return shortened(printable(JSON.encode(value)), 80)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of text, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
