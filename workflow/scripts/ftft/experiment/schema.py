"""Write the JSON schema of a configuration from the models in ``config``: by it, editors complete and underline keys.

Run ``PYTHONPATH=workflow/scripts python -m ftft.experiment.schema > config/schema.json``. Each configuration names the
schema in its first line. It accepts whatever ``config.load`` accepts, and parts of that, since an overlay is one: no
key is required. What depends on several keys is left to ``config.load``.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ftft.dynamics.criteria import CRITERIA
from ftft.experiment import config
from ftft.experiment.config import sections

DIALECT = "http://json-schema.org/draft-07/schema#"  # the one that all editors know

# What a YAML of another version has as text and pydantic takes for what it is meant to be: 1e-5, yes.
_INTEGER = r"^\s*[-+]?[0-9]+\s*$"
_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"
_TRUTH = "true", "false", "yes", "no", "on", "off", "t", "f", "y", "n", "1", "0"
_TEXT = {"type": ["string", "integer"]}


def schema() -> dict[str, Any]:
    """The schema of a configuration or of a part of one."""
    found = config.Config.model_json_schema(schema_generator=_Generator)
    return {"$schema": DIALECT, **_tidy(found)}


def page() -> str:
    """The whole of ``config/schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Adds what validators accept or refuse, which pydantic does not look into."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """None: a title would repeat the key."""
        return False

    def int_schema(self, schema: Any) -> JsonSchemaValue:
        """A whole number, or one as text."""
        return super().int_schema(schema) | {"type": ["integer", "string"], "pattern": _INTEGER}

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        """A number, or one as text: YAML 1.1 has a point in each."""
        return super().float_schema(schema) | {"type": ["number", "string"], "pattern": _NUMBER}

    def bool_schema(self, schema: Any) -> JsonSchemaValue:
        """A truth value, or a word or number for one."""
        words = ("".join(f"[{sign.upper()}{sign}]" if sign.isalpha() else sign for sign in word) for word in _TRUTH)
        pattern = f"^({'|'.join(words)})$"
        return {"type": ["boolean", "string", "integer"], "pattern": pattern, "minimum": 0, "maximum": 1}

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        """What stands for a list of one, for a text, or for an empty section."""
        inner = super().function_before_schema(schema)
        accepted: dict[Callable[[Any], Any], Callable[[], JsonSchemaValue]] = {
            sections.as_list: lambda: {"anyOf": [inner, inner["items"]]},
            sections.as_text: lambda: inner | _TEXT,
            sections.as_section: lambda: {"anyOf": [inner, {"type": "null"}]},
        }
        return accepted.get(schema["function"]["function"], lambda: inner)()

    def function_after_schema(self, schema: Any) -> JsonSchemaValue:
        """The names that are allowed."""
        inner = super().function_after_schema(schema)
        refused: dict[Callable[[Any], Any], JsonSchemaValue] = {
            sections.check_name: {"pattern": f"^{sections.NAME_PATTERN}$", "maxLength": sections.NAME},
            sections.check_criterion: {"enum": list(CRITERIA)},
        }
        return inner | refused.get(schema["function"]["function"], {})

    def tuple_schema(self, schema: Any) -> JsonSchemaValue:
        """A list of so many items, all of one kind, as older dialects say it."""
        found = super().tuple_schema(schema)
        kinds = found.pop("prefixItems")
        assert all(kind == kinds[0] for kind in kinds)
        return found | {"items": kinds[0]}

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """Sections by names, all of which have to be as the pattern says."""
        found = super().dict_schema(schema)
        return found | ({"additionalProperties": False} if "patternProperties" in found else {})


def _tidy(found: Any) -> Any:
    """Without what is required, defaults that say nothing, and line breaks in descriptions."""
    if isinstance(found, list):
        return [_tidy(item) for item in found]
    if not isinstance(found, Mapping):
        return found
    kept = {key: _tidy(value) for key, value in found.items() if not _says_nothing(key, value)}
    if isinstance(text := kept.get("description"), str):
        kept["description"] = " ".join(text.split()).replace("``", "`")
    return kept


def _says_nothing(key: str, value: Any) -> bool:
    return (key == "required" and isinstance(value, list)) or (key == "default" and value is None)


if __name__ == "__main__":
    print(page(), end="")
