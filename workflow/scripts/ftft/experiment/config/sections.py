"""What all sections of a configuration share: strict keys, names fit for paths, texts and lists as YAML has them."""

import math
import re
import unicodedata
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from ftft.core.errors import listed, named, shown
from ftft.dynamics.criteria import CRITERIA

SELF = "self"
NAME = 100  # characters; several names may stand in one part of a path
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
LARGEST = 2**31 - 1  # number, seeds among them, that every library takes
CHECKSUM = r"[0-9a-fA-F]{64}"
Metric = Literal["accuracy", "macro_f1"]


def is_name(text: str) -> bool:
    """Whether a text is fit to be part of a path."""
    return len(text) <= NAME and re.fullmatch(NAME_PATTERN, text) is not None


def check_name(name: str) -> str:
    if len(name) > NAME:
        raise ValueError(f"the name {shown(name)} has {len(name)} characters; at most {NAME} are allowed")
    if not is_name(name):
        raise ValueError(
            f"the name {shown(name)} becomes part of a path: begin with a letter or digit, and use letters, digits, "
            "'_', '-', '+' and '.'"
        )
    return name


def check_criterion(name: str) -> str:
    if name not in CRITERIA:
        raise ValueError(f"{shown(name)} is no criterion; {allowed(name, CRITERIA)}")
    return name


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def as_text(value: Any) -> Any:
    """YAML reads an unquoted 0 as a number; whatever else it does not read as text is refused."""
    return str(value) if type(value) is int else value


def normal(text: str) -> str:
    """A text in the Unicode form NFC, in which what looks the same is the same."""
    return unicodedata.normalize("NFC", text)


def as_section(value: Any) -> Any:
    return {} if value is None else value


Name = Annotated[str, AfterValidator(check_name)]
Criterion = Annotated[str, AfterValidator(check_criterion)]
Text = Annotated[str, BeforeValidator(as_text)]
Strings = Annotated[list[Text], BeforeValidator(as_list)]
Label = Annotated[Text, AfterValidator(normal)]
Labels = Annotated[list[Label], BeforeValidator(as_list)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """What pydantic would take for a number: true for 1, and the text 0-3 for -3."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = set(flatten(annotation))
        for each in value if isinstance(value, list) else [value]:
            if {int, float} & kinds and bool not in kinds and isinstance(each, bool):
                raise ValueError(f"YAML reads this as the truth value {str(each).lower()}; a number is expected")
            if int not in kinds or str in kinds:
                continue
            endless = isinstance(each, float) and math.isinf(each)
            if endless or (isinstance(each, str) and not re.fullmatch(r"[-+]?[0-9]+", each.strip())):
                several = ", or several as in [0, 1, 2, 3]" if get_origin(annotation) is list else ""
                raise ValueError(f"a whole number is expected{several}; found {shown(each)}")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        """An empty text is what a template or a form leaves where nothing was given."""
        if value == "":
            raise ValueError(EMPTY)
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _check_size(cls, value: Any) -> Any:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int | float) and abs(each) > LARGEST:
                raise ValueError(f"a number is at most {LARGEST}; found {shown(each)}")
        return value


def check_differ(key: str, values: list[str] | None) -> None:
    if values is not None and len(set(values)) != len(values):
        raise ValueError(f"{key} must differ from each other; found {listed(values)}")


def exactly_one(section: BaseModel, *keys: str) -> str:
    """The one of the keys that is given; none or several are refused."""
    found = [key for key in keys if getattr(section, key) is not None]
    if len(found) != 1:
        raise ValueError(f"give exactly one of {', '.join(keys)}; found {', '.join(found) or 'none'}")
    return found[0]


def check_read(section: Section, kind: str, readers: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a key that would be ignored.

    Args:
        section: where something comes from, of one of several kinds.
        kind: which one, by the key that says so.
        readers: the keys that not every kind reads, and the kinds that do. A key with its default says nothing.
    """
    for key, kinds in readers.items():
        if kind not in kinds and getattr(section, key) != type(section).model_fields[key].default:
            raise ValueError(f"{key} is for {' or '.join(kinds)}, and this has {kind}: leave {key} out")


EMPTY = "is empty; leave it out or fill it"


def allowed(found: str, allowed: Any) -> str:
    """``allowed: a, b, c`` and how many more, the closest named first where ``found`` looks like a slip."""
    close = get_close_matches(str(found)[:NAME], [str(value) for value in allowed], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {named(str(value) for value in allowed)}"


def flatten(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [annotation] if not arguments else [kind for argument in arguments for kind in flatten(argument)]
