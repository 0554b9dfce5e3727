"""Find the files that a configuration names, and say exactly what they are."""

import glob
import hashlib
from pathlib import Path

from ftft.errors import UserError


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(pattern: str, data_dir: str | Path = ".") -> list[Path]:
    """The files that ``pattern`` (a path or glob, relative to ``data_dir``) names, sorted.

    Raises:
        UserError: there is none.
    """
    full = str(Path(data_dir) / pattern)
    files = [Path(name) for name in sorted(glob.glob(full, recursive=True)) if Path(name).is_file()]
    if not files and Path(full).is_file():  # a name with glob characters in it
        files = [Path(full)]
    if not files:
        raise UserError(
            f"no such file: {full}; give a path or glob relative to data_dir ({data_dir}), "
            "or set data_dir: snakemake --config data_dir=FOLDER"
        )
    return files
