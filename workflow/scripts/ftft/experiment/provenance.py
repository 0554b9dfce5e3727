"""What an artifact was made from: checksums of files and of the code that a stage runs.

Light on purpose: the Snakefile imports it, and a cluster job parses the Snakefile again.
"""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from ftft.core.files import is_url, resolve, sha256
from ftft.experiment.config import Model, Source
from ftft.models import folders

LIBRARY = Path(__file__).parents[1]
# Checksums of weights that are known already, for the jobs that a Snakemake starts: they inherit its environment.
_KNOWN = "FTFT_CHECKSUMS"
_LARGE = 10_000_000  # bytes of a file that is worth it


def content(source: Source, data_dir: str | Path = ".") -> list[str]:
    """Checksums of the local files that a source names; empty for a source that lies elsewhere.

    Raises:
        UserError: a ``path`` names no file.
    """
    if source.path is None or is_url(source.path):
        return []
    return [sha256(path) for path in resolve(source.path, data_dir)]


def model_content(model: Model) -> dict[str, str]:
    """Checksums of the files that a model from a path or package consists of, by name.

    Empty for a model that lies elsewhere, and for a package that is not installed here: it may be in the environment
    that Snakemake makes for the jobs, and says what is missing there.

    Raises:
        UserError: a ``path`` is no folder with a model.
    """
    if model.path is None or (model.package is not None and folders.installed(model.package) is None):
        return {}
    identity = {"hub": None, "package": model.package, "path": model.path}
    with folders.reading(folders.title(identity)):
        return {path.name: _checksum(path) for path in folders.files_of(folders.folder_of(identity))}


def _checksum(path: Path) -> str:
    """SHA-256 of a file, which jobs need not compute again while it is the same file.

    The whole content, since nothing less tells two models of one architecture apart. Gigabytes are read once for an
    experiment, not once for each job: their checksum is remembered with the size of the file, its number in the file
    system and the times of its last changes, one of which nobody can set.
    """
    found = path.stat()
    if found.st_size < _LARGE:
        return sha256(path)
    known = json.loads(os.environ.get(_KNOWN, "{}"))
    key, state = str(path.resolve()), [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    if key not in known or known[key][0] != state:
        known[key] = [state, sha256(path)]
        os.environ[_KNOWN] = json.dumps(known)
    return str(known[key][1])


# What decides no result: which job runs where, and what the card of a saved model says.
_LEFT_OUT = ("jobs", "models/card.py")


@cache
def code_hash(script: Path) -> str:
    """Hash over the syntax trees of a script and of the library modules it imports, directly or not.

    What cannot change a result does not count: comments, formatting, docstrings, what is logged and raised and how that
    is put, help for the command line, and the modules in ``_LEFT_OUT``.
    """
    digest = hashlib.sha256()
    for module in sorted(_reachable(script)):
        digest.update(_name(module).encode())
        digest.update(_code(module).encode())
    return digest.hexdigest()[:16]


def _name(module: Path) -> str:
    """Its place in the library; of a script, the file's name alone."""
    return module.relative_to(LIBRARY).as_posix() if module.is_relative_to(LIBRARY) else module.name


def _reachable(module: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in found and not any(Path(_name(current)).is_relative_to(left) for left in _LEFT_OUT):
            found.add(current)
            waiting.extend(_imports(current))
    return found


@cache
def _imports(module: Path) -> tuple[Path, ...]:
    """The library's modules that a module imports."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("ftft."):
            # What is imported may be a module, or something in one.
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    places = [LIBRARY.joinpath(*name.split(".")[1:]) for name in sorted(names) if name.startswith("ftft.")]
    paths = [path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")]
    return tuple(path for path in paths if path.is_file())


@cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


@cache
def _code(module: Path) -> str:
    return ast.dump(_WithoutTexts().visit(_tree(module)))


class _WithoutTexts(ast.NodeTransformer):
    """Takes out docstrings, and the texts of what is logged, raised, or said about the command line."""

    def visit(self, node: ast.AST) -> Any:
        """Handle a node and all below it."""
        node = self.generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Raise):
            _blank(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id in ("log", "logging"):
                for argument in node.args:
                    _blank(argument)
            for keyword in node.keywords:
                if keyword.arg in ("help", "description", "epilog"):
                    _blank(keyword)
        return node


def _blank(node: ast.AST) -> None:
    """Empty all texts in an expression."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            each.value = ""
