"""What an artifact was made from: checksums of files and of the code that a stage runs.

Light on purpose: the Snakefile imports it, and a cluster job parses the Snakefile again.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from ftft.config import Source
from ftft.files import is_url, resolve, sha256

LIBRARY = Path(__file__).parent


def content(source: Source, data_dir: str | Path = ".") -> list[str]:
    """Checksums of the local files that a source names; empty for a source that lies elsewhere.

    Raises:
        UserError: a ``path`` names no file.
    """
    if source.path is None or is_url(source.path):
        return []
    return [sha256(path) for path in resolve(source.path, data_dir)]


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
