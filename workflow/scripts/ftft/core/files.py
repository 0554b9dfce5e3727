"""Find the files that a configuration names, and say exactly what they are."""

import glob
import hashlib
import os
from collections import Counter
from pathlib import Path

from ftft.core.errors import UserError, shown

# What the name of a file of labelled text tells: its format, and before that how it is compressed.
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_url(path: str) -> bool:
    """Whether a path is the address of a file on the web."""
    return path.lower().startswith(("http://", "https://"))


def resolve(pattern: str, data_dir: str | Path = ".") -> list[Path]:
    """The files that ``pattern`` (a path or glob, relative to ``data_dir``) names, sorted.

    ``~`` stands for the home folder. A file that has the very name is that file, whatever signs of globs are in it.

    Raises:
        UserError: there is none, or one may not be read.
    """
    folder = os.path.expanduser(data_dir)
    full = os.path.join(folder, os.path.expanduser(pattern))
    if os.path.isfile(full):
        found = [full]
    else:
        # The folder is no pattern, even if its name looks like one.
        names = glob.glob(os.path.expanduser(pattern), root_dir=folder, recursive=True)
        found = sorted(path for name in names if os.path.isfile(path := os.path.join(folder, name)))
    if not found:
        raise UserError(_missing(pattern, full, data_dir))
    for path in found:
        if not os.access(path, os.R_OK):
            raise UserError(f"{path} may not be read; give yourself the right to (chmod u+r)")
    return [Path(path) for path in found]


def split_suffixes(path: str | Path) -> tuple[str, str]:
    """The suffix that tells the format of a file, and the one that tells how it is compressed; empty without one."""
    stem, suffix = os.path.splitext(str(path).lower())
    return (os.path.splitext(stem)[1], suffix) if suffix in COMPRESSIONS else (suffix, "")


def _missing(pattern: str, full: str, data_dir: str | Path) -> str:
    """Why a pattern names no file, and what to do."""
    if "://" in pattern:
        return f"{pattern}: only http and https are fetched; fetch the file by other means and give its path"
    if not os.path.isdir(full):
        return (
            f"no such file: {full}; give a path or glob relative to data_dir ({data_dir}), "
            "or set data_dir: snakemake --config data_dir=FOLDER"
        )
    found = (path for depth in ("*", "*/*") for path in Path(full).glob(depth) if path.is_file())
    inside = (Path(pattern) / path.relative_to(full) for path in found)
    globs = Counter(
        str(path.parent / f"*{''.join(suffixes)}")
        for path in inside
        if (suffixes := split_suffixes(path))[0] in FORMATS
    )
    if not globs:
        return f"{full} is a folder, and no csv, tsv, jsonl, json or Parquet file lies in it; give the path of a file"
    best = min(globs, key=lambda each: (-globs[each], each))
    return f"{full} is a folder; give the path of a file, or a glob: path: {shown(best)}"
