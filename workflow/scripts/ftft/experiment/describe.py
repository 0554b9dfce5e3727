"""Write the reference of all configuration keys from the models in ``config``.

Run ``PYTHONPATH=workflow/scripts python -m ftft.experiment.describe > docs/configuration.md``. What the page says
before the reference is in ``configuration.md``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ftft.experiment import config

TEMPLATE = Path(__file__).parent / "configuration.md"

# Headings in reading order, each named like the key that holds the section.
SECTIONS: dict[str, type[BaseModel]] = {
    "top level": config.Config,
    "data": config.Data,
    "source": config.Source,
    "ood": config.OodSet,
    "models": config.Model,
    "scratch": config.Scratch,
    "lora": config.Lora,
    "stop of a reference": config.ReferenceStop,
    "methods": config.Method,
    "select": config.Select,
    "upweight": config.Upweight,
    "product_of_experts": config.ProductOfExperts,
    "stop": config.Stop,
    "datamap": config.DataMap,
    "training": config.Training,
    "resources": config.Resources,
    "report": config.Report,
    "runtime": config.Runtime,
}

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_BOUNDS: dict[type[BaseMetadata], str] = {
    Ge: "at least {0.ge:g}",
    Gt: "greater than {0.gt:g}",
    Le: "at most {0.le:g}",
    Lt: "less than {0.lt:g}",
    MinLen: "{0.min_length} or more",
    MaxLen: "{0.max_length} or fewer",
}


def page() -> str:
    """The whole of ``docs/configuration.md``."""
    return "\n".join([TEMPLATE.read_text(encoding="utf-8").rstrip() + "\n", *(_section(name) for name in SECTIONS)])


def _section(name: str) -> str:
    section = SECTIONS[name]
    fields = dict(section.model_fields)
    lines = [f"### {name}", "", _one_line(section.__doc__ or ""), ""]
    if section is config.Model:
        fields = {key: field for key, field in fields.items() if key not in config.Training.model_fields}
        lines[2] += " Besides the keys below, it may set any key of [training](#training)."
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(_row(key, field))} |" for key, field in fields.items()]
    return "\n".join([*lines, ""])


def _row(key: str, field: FieldInfo) -> Iterator[str]:
    yield f"`{key}`"
    yield ", ".join([_kind(field.annotation), *_bounds(field.metadata)])
    yield _default(field)
    yield _one_line(field.description or "").replace("|", "\\|")


def _kind(annotation: Any) -> str:
    """A type in plain words; a section becomes a link to its table."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return _choice([f"`{value}`" for value in arguments])
    if origin in (Union, UnionType):
        return _choice(list(dict.fromkeys(_kind(kind) for kind in arguments if kind is not NoneType)))
    if origin is list:
        return f"list of {_kind(arguments[0])}s"
    if origin is tuple:
        return f"list of {len(arguments)} {_kind(arguments[0])}s"
    if origin is dict:
        key, value = arguments
        null = " or null" if NoneType in get_args(value) else ""
        return f"{'names' if key is config.Name else _kind(key)} mapped to {_kind(value)}{null}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        heading = next(name for name, section in SECTIONS.items() if section is annotation)
        return f"[{heading}](#{heading.replace(' ', '-')})"
    return _WORDS[annotation]


def _choice(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for constraint in metadata:
        if type(constraint) in _BOUNDS:
            yield _BOUNDS[type(constraint)].format(constraint)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return ""
    return "its defaults" if isinstance(value, BaseModel) else f"`{json.dumps(value)}`"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    print(page(), end="")
