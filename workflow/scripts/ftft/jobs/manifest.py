"""What results were made from, in files beside them.

Snakemake keeps such a record too, but apart from the results: they may be copied without it. Light on purpose: the
Snakefile imports it.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ftft.core.errors import UserError, named, reason, shown
from ftft.core.files import sha256

PACKAGES = ("accelerate", "torch", "transformers")


def describe(
    settings: dict[str, Any], seed: int, code: str, inputs: list[Path], packages: Iterable[str] = ()
) -> dict[str, Any]:
    """What a training run is made from: settings, seed, hash of the code, SHA-256 of its inputs, library versions.

    ``packages`` are those that not every run needs.
    """
    return {
        "settings": settings,
        "seed": seed,
        "code": code,
        "inputs": {path.as_posix(): sha256(path) for path in inputs},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in (*PACKAGES, *packages)},
    }


def fingerprint(manifest: dict[str, Any]) -> str:
    """A hash of everything that decides the result."""
    decisive = {key: value for key, value in manifest.items() if key != "versions"}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def write(manifest: dict[str, Any], path: Path) -> None:
    """Write it, readable for people."""
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def path_of(log: str | Path) -> Path:
    """Where the manifest of a job lies: under ``manifests`` as its log lies under ``logs``."""
    parts = Path(log).parts
    place = parts.index("logs", 2)  # after results/TASK
    return Path(*parts[:place], "manifests", *parts[place + 1 :]).with_suffix(".json")


def record(log: str | Path, settings: Any, code: str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Write what a job that has succeeded was made from, and what it made.

    Args:
        log: its log file.
        settings: its parameters, fit for JSON.
        code: hash of its code.
        inputs, outputs: its files and folders.
    """
    path = path_of(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {
        name: {str(each): _checksum(str(each)) for each in paths}
        for name, paths in (("inputs", inputs), ("outputs", outputs))
    }
    write({"settings": settings, "code": code, **files}, path)


def check(log: str | Path, stage: str, settings: Any, code: str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Refuse results that were made from something else than they would be now, or that are not what was made.

    An input or output that is not there is not compared: Snakemake makes it anew, and what follows from it.

    Args:
        stage: name of the job's rule.
        log, settings, code, inputs, outputs: as ``record`` would be given now.

    Raises:
        UserError: the manifest is missing, damaged or says something else; names the first difference.
    """
    inputs, outputs = ([str(path) for path in paths] for paths in (inputs, outputs))
    result = next(filter(os.path.exists, outputs), outputs[0])
    advice = (
        f"call snakemake with -R {result} to make it again (-R {stage}: all of its kind), "
        "or bring back what was there, or Snakemake's folder .snakemake"
    )
    try:
        found = json.loads(path_of(log).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not (
        isinstance(found, dict)
        and found.keys() == {"settings", "code", "inputs", "outputs"}
        and isinstance(found["inputs"], dict)
        and isinstance(found["outputs"], dict)
    ):
        raise UserError(
            f"nothing says what {result} was made from, {path_of(log)} is missing or damaged, and Snakemake has no "
            f"record: {advice}"
        )
    difference = _difference(found["settings"], json.loads(json.dumps(settings)), "settings")
    if difference is None and found["code"] != code:
        difference = "the code is another"
    difference = difference or _changed(found["inputs"], inputs, "has changed since")
    difference = difference or _changed(found["outputs"], outputs, "is not what was made")
    if difference:
        raise UserError(
            f"{result} was made from something else, and Snakemake has no record of it: {difference}; {advice}"
        )


def _checksum(path: str) -> str:
    """SHA-256 of a file, or of the names and checksums of all files in a folder but hidden ones and links.

    An adapter has links to the weights of its base, which lie elsewhere and are named by their checksum beside it.
    """
    if not os.path.isdir(path):
        about = os.stat(path)
        return _remembered(path, about.st_mtime_ns, about.st_size)
    files = sorted(file for file in Path(path).rglob("*") if file.is_file() and not file.is_symlink())
    names = [file.relative_to(path).as_posix() for file in files]
    found = {name: _checksum(f"{path}/{name}") for name in names if not f"/{name}".count("/.")}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@cache
def _remembered(path: str, *_: int) -> str:
    return sha256(path)  # many jobs share an input


def _changed(found: dict[str, Any], paths: list[str], words: str) -> str | None:
    """What is wrong with the files that a manifest names, in words."""
    if others := sorted(found.keys() ^ set(paths)):
        return f"{named(others[:1])} {'is new' if others[0] in paths else 'was there too'}"
    for path in paths:
        try:
            if os.path.exists(path) and found[path] != _checksum(path):
                return f"{path} {words}"
        except OSError as failure:
            return f"{path} cannot be read ({reason(failure)})"
    return None


def _difference(found: Any, expected: Any, name: str) -> str | None:
    """The first difference between two values as JSON has them, in words."""
    if isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            return f"{name} had {len(found)} entries and has {len(expected)}"
        found, expected = dict(enumerate(found)), dict(enumerate(expected))
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        # As text: to Python, 1 is True.
        same = json.dumps(found) == json.dumps(expected)
        return None if same else f"{name} was {shown(found)} and is {shown(expected)}"
    for key in sorted(found.keys() | expected.keys()):
        if key not in found or key not in expected:
            return f"{name}.{key} {'is new' if key in expected else 'is gone'}"
        if inner := _difference(found[key], expected[key], f"{name}.{key}"):
            return inner
    return None
