"""The hash of the code behind a stage.

Light on purpose: the Snakefile imports it, and a cluster job parses the Snakefile again.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parents[1]
# What decides no result: which job runs where, and what the card of a saved model says.
_LEFT_OUT = ("jobs", "models/card.py")


@cache
def of(script: Path) -> str:
    """Hash over the syntax trees of a script and of the library modules it imports, directly or not.

    What cannot change a result does not count: comments, formatting, docstrings, what is logged and raised and how that
    is put, help for the command line, and the modules in ``_LEFT_OUT``.
    """
    digest = hashlib.sha256()
    for module in sorted(reach(script)):
        digest.update(_name(module).encode())
        digest.update(_code(module).encode())
    return digest.hexdigest()[:16]


def _name(module: Path) -> str:
    """Its place in the library; of a script, the file's name alone."""
    return module.relative_to(LIBRARY).as_posix() if module.is_relative_to(LIBRARY) else module.name


def reach(*modules: Path) -> set[Path]:
    """These modules or scripts and the library's modules that they import, directly or not, but those left out."""
    found: set[Path] = set()
    waiting = list(modules)
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
