"""Configuration files, read strictly: what YAML would take for something else is refused, with its line.

Snakemake reads the same files for their values. It takes the last of two equal keys, and the numbers of YAML 1.1, where
12:00:00 is base 60 and 010 base 8.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ftft.core.errors import UserError, reason, shown

_BASE_60 = re.compile(r"[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_BASE_8 = re.compile(r"[-+]?0[0-7_]+")
# Where numbers are taken as text, their spelling counts.
_SPELLED = re.compile(r"data\.((train|dev|test|ood\..+\.(dev|test))\.)?(labels|relabel|text|columns)(\..+)?")
_TAG = "tag:yaml.org,2002:"
_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32"}


def check_folder(checkout: str | Path) -> None:
    """Refuse a folder in whose path Snakemake would look for wildcards.

    Raises:
        UserError: there are braces in it.
    """
    if set("{}") & set(str(checkout)):
        raise UserError(
            f"the path {shown(str(checkout), 200)} has braces, which Snakemake takes for wildcards; move the checkout, "
            "or rename the folder"
        )


def places(files: Iterable[str | Path], replaced: Iterable[str] = ()) -> dict[str, str]:
    """Where every key of the files stands, as ``my.yaml, line 3``; the later file counts where two have a key.

    Items of lists count as keys: ``seeds.0``.

    Args:
        files: configuration files; the later ones are laid over the earlier.
        replaced: keys of the top level that get their values elsewhere.

    Raises:
        UserError: a file is no YAML, has a key twice, or a value that YAML reads as nobody means it.
    """
    found: dict[str, str] = {}
    for file in files:
        found |= _places(Path(file))
    elsewhere = set(replaced)
    return {key: place for key, place in found.items() if key.split(".")[0] not in elsewhere}


def _places(path: Path) -> dict[str, str]:
    file = _name(path)
    text = _read(path, file)
    try:
        try:
            json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, file))
            return {}  # JSON has none of the traps, and no lines worth naming
        except ValueError:
            return _read_yaml(text, file)
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        where = f"{file}, line {mark.line + 1}" if mark else file
        tab = "\\t" in str(failure.problem)
        advice = "indent with spaces" if tab else "a text with ': ', ' #' or brackets stands between quote marks"
        raise UserError(f"{where}: this is no YAML: {reason(failure.problem or failure)}; {advice}") from None
    except yaml.reader.ReaderError as failure:
        line = text.count("\n", 0, failure.position) + 1
        sign = shown(text[failure.position : failure.position + 1])
        raise UserError(f"{file}, line {line}: YAML has no such character: {sign}; remove it") from None
    except RecursionError:
        raise UserError(f"{file}: brackets or keys are nested too deeply") from None


def _read_yaml(text: str, file: str) -> dict[str, str]:
    loader = yaml.SafeLoader(text)
    root = loader.get_single_node()
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{file}: keys are expected, such as task: my-task; found none")
    if any(key.value == "__use_yte__" for key, _ in root.value):
        return {}  # a template: what it says is known only when it has been evaluated
    found = {key: f"{file}, line {line}" for key, line in _walk(root, "", file, set())}
    loader.construct_document(root)  # finds tags of Python objects, and lists as keys
    return found


def _name(path: Path) -> str:
    """A file as its messages call it: from the working folder on, or by its name alone."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name)


def _read(path: Path, file: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise UserError(f"{file}: this configuration cannot be read: {failure.strerror}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as failure:
        kind = next((kind for mark, kind in reversed(_ENCODINGS.items()) if content.startswith(mark)), None)
        line = content.count(b"\n", 0, failure.start) + 1
        found = f"found {kind}" if kind else f"found the byte {content[failure.start]:#x}"
        raise UserError(
            f"{file}, line {line}: a configuration is UTF-8 text; {found}: save it as UTF-8, in an editor or with "
            f"iconv -f {kind or 'latin1'} -t UTF-8 OLD > NEW"
        ) from None


def _once(pairs: list[tuple[str, Any]], file: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"{file}: the key {shown(key)} stands twice in one section; remove or rename one")
        found[key] = value
    return found


def _walk(node: yaml.Node, key: str, file: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Every key below a node with its line; what an alias stands for is not repeated."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        _check_number(node, key, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield _below(key, str(index)), item.start_mark.line + 1
            yield from _walk(item, _below(key, str(index)), file, seen)
    else:
        yield from _walk_section(node, key, file, seen)


def _walk_section(node: yaml.MappingNode, key: str, file: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    lines: dict[str, int] = {}
    for name, value in node.value:
        line = name.start_mark.line + 1
        if name.tag == f"{_TAG}merge":
            yield from _walk(value, key, file, seen)
            continue
        # By its text, since 1 and "1" are one label.
        text = name.value if isinstance(name, yaml.ScalarNode) else "a list or section as key"
        inner = _below(key, text)
        if text in lines:
            raise UserError(
                f"{file}, line {line}: the key {shown(inner, 80)} stands there already in line {lines[text]}, and only "
                "one of them would count; remove or rename one"
            )
        lines[text] = line
        _check_number(name, inner, file)
        if value.tag == f"{_TAG}null" and value.value == "" and key != "methods":
            raise UserError(
                f"{file}, line {line}: {inner} is empty; leave it out or fill it (behind a key come a colon and a "
                "space)"
            )
        yield inner, line
        yield from _walk(value, inner, file, seen)


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _check_number(node: yaml.Node, key: str, file: str) -> None:
    """A number that is written like a time, or with a leading zero, is another one to YAML; labels are text."""
    line = node.start_mark.line + 1
    try:
        number = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, KeyError, AttributeError):
        raise UserError(
            f"{file}, line {line}: {key}: YAML takes {shown(node.value)} for a number or date, and there is none such; "
            "put it between quote marks, without a tag such as !!int"
        ) from None
    if node.tag not in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}timestamp") or node.style is not None:
        return
    if _BASE_60.fullmatch(node.value):
        mend = "write a time as 90m, 12h or '12:30:00', and a text between quote marks"
    elif _BASE_8.fullmatch(node.value):
        mend = "put a text between quote marks; write a number without the leading zero"
    elif _SPELLED.fullmatch(key) and str(number) != node.value:
        mend = "put it between quote marks"
    else:
        return
    raise UserError(f"{file}, line {line}: {key}: YAML reads {shown(node.value)} as the number {shown(number)}; {mend}")
