"""What an artifact was made from: checksums of files and of the code that a stage runs.

Light on purpose: the Snakefile imports it, and a cluster job parses the Snakefile again.
"""

import ast
import glob
import hashlib
from functools import cache
from pathlib import Path

from ftft.errors import UserError

LIBRARY = Path(__file__).parent


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
            names.add(node.module.split(".")[1])
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
