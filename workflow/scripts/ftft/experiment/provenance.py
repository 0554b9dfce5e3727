"""What an artifact was made from: checksums of files and of the code that a stage runs.

Light on purpose: the Snakefile imports it, and a cluster job parses the Snakefile again.
"""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path

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


@cache
def code_hash(script: Path) -> str:
    """Hash over the syntax trees of a script and of the library modules it imports, directly or not.

    Comments, formatting and docstrings do not count: they cannot change a result.
    """
    digest = hashlib.sha256()
    for module in sorted(_reachable(script)):
        digest.update(module.name.encode())
        digest.update(_code(module).encode())
    return digest.hexdigest()[:16]


def _reachable(module: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(_imports(current))
    return found


@cache
def _imports(module: Path) -> tuple[Path, ...]:
    names = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "ftft":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ftft."):
            names.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ftft.")}
    return tuple(LIBRARY / f"{name}.py" for name in sorted(names))


@cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


@cache
def _code(module: Path) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
