"""A configuration from what YAML has, with one line for each mistake; and as plain values again."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from ftft.core.errors import UserError, shown
from ftft.experiment.config.experiment import Config
from ftft.experiment.config.sections import EMPTY, allowed, flatten


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the section at ``location``, a path of keys into the configuration."""
    section: type[BaseModel] = Config
    for part in location:
        if part in section.model_fields:  # otherwise a name in a mapping, whose values are of the same section
            kinds = flatten(section.model_fields[str(part)].annotation)
            section = next((kind for kind in kinds if _is_section(kind)), section)
    return list(section.model_fields)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _message(error: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: the key, what was found and what is allowed."""
    location, found = _location(error), error["input"]
    key = ".".join(location) or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; {allowed(location[-1], _fields_at(location[:-1]))}"
    if error["type"] == "missing":
        return f"the key {key} is missing"
    if error["type"] == "value_error":
        reason = str(error["ctx"]["error"])
        return f"{key}{'' if reason == EMPTY else ':'} {reason}" if location else reason
    if error["type"] in ("model_type", "dict_type"):
        return f"{key}: a section with keys of its own is expected; found {shown(found)}"
    if error["type"] == "string_type" and not isinstance(found, Mapping | list):
        return f"{key}: YAML reads this as {_read_as(found)}; put the text between quote marks"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}; found {shown(found)}"


def _read_as(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
    return f"the {type(value).__name__} {value}"


def _location(error: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(part) for part in error["loc"] if part != "[key]")


def _line(error: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """A message, headed by where its key stands; what is about several keys begins with the one to look at."""
    message = _message(error)
    key = ".".join(_location(error)) or message.split()[0].rstrip(":")
    while key and key not in places:
        key = key.rpartition(".")[0]
    return f"{places.get(key, 'config')}: {message}"


def load(raw: Mapping[str, Any], places: Mapping[str, str] | None = None) -> Config:
    """Validate a configuration as parsed from YAML.

    Args:
        raw: its keys and values.
        places: where keys stand, as ``config_files.places`` says.

    Raises:
        UserError: one line for every wrong key.
    """
    if "task" not in raw and set(raw) <= set(Config.model_fields):
        raise UserError(
            "config: the key task is missing. What is given with --configfile is a whole experiment: nothing of "
            "config/config.yaml is mixed into it, and an overlay comes behind the file that it is laid over"
        )
    try:
        return Config.model_validate(raw)
    except ValidationError as failure:
        raise UserError("\n".join(_line(error, places or {}) for error in failure.errors(include_url=False))) from None


def plain(section: Any) -> Any:
    """A section as plain built-in types with sorted keys, fit to be compared as a Snakemake parameter."""
    if isinstance(section, BaseModel):
        section = section.model_dump()
    if isinstance(section, Mapping):
        return {str(key): plain(section[key]) for key in sorted(section, key=str)}
    if isinstance(section, list | tuple):
        return [plain(value) for value in section]
    return section
