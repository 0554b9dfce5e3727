"""Ways to end early that are no defect of the program, and how their messages show what was found.

A message is for one line of a terminal or a log. What stands in it may come from a file of unknown content: values are
cut, lists too, and control characters are shown instead of sent.
"""

import re
from collections.abc import Iterable
from typing import Any

MESSAGE = 400  # characters of a line
LINES = 10  # of one message, which has more than one where several keys of a configuration are wrong
VALUE = 40
LISTED = 5
_LOOKED_AT = 1_000

_SECRET_NAME = (
    r"token|secret|bearer|passw|passphrase|pwd|credential|signature|authoriz|jwt|api_?key|access_?key|"
    r"\b(?:key|sig|auth|pass|pw|sas)="
)
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET = re.compile(
    rf"(?<=[?&;#])(?=[^=&;#\s]*?(?:{_SECRET_NAME}))([^=&;#\s]*=)(?:[^&;#\s:'\")]|:(?!\s|$))*", re.IGNORECASE
)


class UserError(Exception):
    """Something a user can cause and mend: reported as one line, never as a traceback.

    The message names the thing, what was found, what is allowed, and what to do. Values are put into it by ``shown``
    and ``listed``; a line that is too long in spite of that loses its middle.
    """

    def __init__(self, message: str) -> None:
        lines = message.split("\n")
        if len(lines) > LINES:
            lines[LINES - 1 :] = [f"and {len(lines) - LINES + 1} more"]
        super().__init__("\n".join(one_line(without_credentials(line), MESSAGE) for line in lines))


class InterruptedRunError(Exception):
    """A run was asked to stop and has saved its state; started again, it goes on from there."""


def shown(value: Any, limit: int = VALUE) -> str:
    """A value as Python writes it, cut to ``limit`` characters; control characters are shown as codes."""
    text = repr(value[:_LOOKED_AT] if isinstance(value, str) else value)  # or the rest would be escaped for nothing
    return shortened(printable(without_credentials(text)), limit + 2)


def without_credentials(text: str) -> str:
    """Text whose URLs have no user and password, and no values of parameters that are named like a secret."""
    return _SECRET.sub(r"\1…", _PASSWORD.sub("", text))


def listed(values: Iterable[Any], limit: int = LISTED) -> str:
    """The first few values, and how many more there are: ``'a', 'b' and 3 more``."""
    every = list(values)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(shown(value) for value in every[:limit]) + more


def named(names: Iterable[str], limit: int = LISTED) -> str:
    """As ``listed``, for names, which stand without quote marks."""
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(shortened(printable(name), VALUE) for name in every[:limit]) + more


def reason(failure: BaseException, limit: int = 160) -> str:
    """The message of somebody else's failure as part of a line."""
    return one_line(str(failure), limit) or type(failure).__name__


def one_line(text: str, limit: int) -> str:
    """Text on one line, without control characters; what is too long loses its middle, since advice stands last."""
    return without_middle(printable(" ".join(text.split())), limit)


def without_middle(text: str, limit: int) -> str:
    """Beginning and end of a text of more than ``limit`` characters, with a mark between them."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]} … {text[half + 3 - limit :]}"


def shortened(text: str, limit: int) -> str:
    """The beginning of a text of more than ``limit`` characters, with a mark that it goes on."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def printable(text: str) -> str:
    """Text in which characters that are no sign, such as those that steer a terminal, are shown by their code."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
