"""What a training run was made from, in a file beside its outputs.

Snakemake keeps such a record too, but apart from the results: they may be copied without it.
"""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ftft.errors import UserError
from ftft.files import sha256

NAME = "manifest.json"
PACKAGES = ("accelerate", "torch", "transformers")


def describe(settings: dict[str, Any], seed: int, code: str, inputs: list[Path]) -> dict[str, Any]:
    """Settings, seed, hash of the code, SHA-256 of each input, and versions of what computes."""
    return {
        "settings": settings,
        "seed": seed,
        "code": code,
        "inputs": {path.as_posix(): sha256(path) for path in inputs},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def fingerprint(manifest: dict[str, Any]) -> str:
    """A hash of everything that decides the result."""
    decisive = {key: value for key, value in manifest.items() if key != "versions"}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def write(manifest: dict[str, Any], path: Path) -> None:
    """Write it, readable for people."""
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def check(run: Path, settings: dict[str, Any], seed: int, code: str) -> None:
    """Refuse a finished run that was made from something else than it would be now.

    Args:
        run: its folder; one without outputs is fine.
        settings, seed, code: as for ``describe``.

    Raises:
        UserError: the manifest is missing or says something else; names the first difference.
    """
    if not (run / "metrics.parquet").exists():
        return
    advice = (
        f"call snakemake with -R {run}/metrics.parquet to train it again (-R train_reference train_main for all runs), "
        "or bring back what it was made from, or Snakemake's folder .snakemake"
    )
    try:
        found = json.loads((run / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"nothing says what {run} was made from, its {NAME} is missing or damaged: {advice}") from None
    difference = _difference(found, {"settings": settings, "seed": seed, "code": code})
    if difference is None:
        changed = [path for path, known in found["inputs"].items() if Path(path).exists() and sha256(path) != known]
        difference = f"{changed[0]} has changed since" if changed else None
    if difference:
        raise UserError(
            f"{run} was made from something else, and Snakemake has no record of it: {difference}; {advice}"
        )


def _difference(found: dict[str, Any], expected: dict[str, Any], prefix: str = "") -> str | None:
    """The first difference between two nested dicts, in words."""
    for key, value in expected.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            inner = _difference(found[key], value, f"{name}.")
            if inner:
                return inner
        elif key not in found or found[key] != value:
            return "the code is another" if name == "code" else f"{name} was {found.get(key)!r} and is {value!r}"
    return None
