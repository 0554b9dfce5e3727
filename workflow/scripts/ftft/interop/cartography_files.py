"""The files of dataset cartography: what is in them, and which of them a folder has.

Its program (Swayamdipta et al. 2020, https://github.com/allenai/cartography) writes JSON lines, whose ``guid`` is our
``uid``:

- training dynamics: a file ``dynamics_epoch_K.jsonl`` for each epoch K, with a line
  ``{"guid": …, "logits_epoch_K": [one number per class], "gold": class index}`` per example, in any order; K counts
  from 0, or in what is imported from any number;
- coordinates: one file, ``td_metrics.jsonl`` with them, with a line per example that has ``guid``, ``index`` and the
  measures. Its ``correctness`` is a number of epochs, and its ``forgetfulness`` is 1000 for an example that was never
  predicted correctly, where the data map has a share and the number of epochs.
"""

import re
from itertools import pairwise
from pathlib import Path

from ftft.core.errors import UserError, named
from ftft.interop.json_lines import Record

# Dataset cartography writes this as the forgetfulness of an example that is never predicted correctly.
NEVER_LEARNT = 1000

_EPOCH_FILE = re.compile(r"dynamics_epoch_(\d+)\.jsonl", re.ASCII)
_LOGITS = re.compile(r"logits_epoch_(\d+)", re.ASCII)


def epoch_files(folder: str | Path) -> dict[int, str]:
    """Names of the files of training dynamics in a folder, by epoch; none where there is no such folder."""
    files: dict[int, str] = {}
    for name in sorted(path.name for path in Path(folder).glob("dynamics_epoch_*.jsonl")):
        if match := _EPOCH_FILE.fullmatch(name):
            if other := files.get(int(match[1])):
                raise UserError(f"{folder} has both {other} and {name}; delete the one that is too many")
            files[int(match[1])] = name
    return files


def check_consecutive(folder: str | Path, files: dict[int, str], what: str = "") -> None:
    """Raise unless the numbers of epochs, in the order of their files, rise by one."""
    numbers = list(files)
    for before, number in pairwise(numbers):
        if number != before + 1:
            one, other = (f"{what.format(each)}{files[each]}" for each in (before, number))
            raise UserError(
                f"{folder}: {other} comes after {one}; needed: every epoch from the first to the last, in order; add "
                "the missing file, or take out what belongs to another run"
            )


def epoch_of(path: Path, records: list[Record]) -> int:
    """The number of the epoch by the fields of a file, which may have been renamed."""
    fields = list(records[0][1]) if records else []
    numbers = [int(match[1]) for name in fields if (match := _LOGITS.fullmatch(name))]
    if len(numbers) != 1:
        raise UserError(
            f"{path}: the first line has {named(fields) or 'no field'}; needed: guid, gold and one field logits_epoch_K"
        )
    return numbers[0]
