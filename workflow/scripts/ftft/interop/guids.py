"""Guids: which example of the data each of them means, and that every example has one."""

import re
from collections.abc import Sequence
from pathlib import Path

from ftft.core.errors import UserError, named, shown
from ftft.interop.json_lines import Record


def guid_of(uid: str) -> int:
    """The number that dataset cartography logs for an example whose id is ``uid``, such as SNLI's pairID.

    All digits of the id; before them 555 or 444 where it begins with ``vg_len`` or ``vg_verb``; after them 0, 1 or 2
    where it ends in e, c or n, else 3 (``data_utils_glue.py`` there). Different ids may get the same number.
    """
    before = next((code for start, code in (("vg_len", "555"), ("vg_verb", "444")) if uid.startswith(start)), "")
    return int(before + re.sub(r"\D", "", uid) + {"e": "0", "c": "1", "n": "2"}.get(uid[-1:], "3"))


def _rows_by_guid(guids: set[str], uids: list[str]) -> dict[str, int]:
    """The row of each guid: that of the uid of this name, or where guids are none, of that whose number it is."""
    rows = {uid: row for row, uid in enumerate(uids)}
    if guids <= rows.keys():
        return rows
    numbered = {str(guid_of(uid)): row for row, uid in enumerate(uids)}
    if len(numbered) == len(uids) and guids <= numbered.keys():
        return numbered
    return rows


def by_uid(path: Path, records: list[Record], fields: Sequence[str], uids: list[str], data: str | Path) -> list[Record]:
    """The records of a file, one per uid and in their order."""
    for place, record in records:
        absent = [field for field in fields if field not in record]
        if absent:
            raise UserError(f"{place}: no {absent[0]!r}; found: {named(record)}; needed: {', '.join(fields)}")
    rows = _rows_by_guid({str(record["guid"]) for _, record in records}, uids)
    found: dict[int, Record] = {}
    for place, record in records:
        guid = str(record["guid"])
        if guid not in rows:
            raise UserError(
                f"{place}: the guid {shown(guid)} is none of the {len(uids)} uids of {data}, such as "
                f"{shown(uids[0]) if uids else 'none'}; set data.uid to the column that has the guids, or the ids that "
                "they were made of, or take such lines out"
            )
        if rows[guid] in found:
            first = found[rows[guid]][0].rpartition(" ")[2]
            raise UserError(f"{place}: the guid {shown(guid)} is in line {first} already; needed: one line per example")
        found[rows[guid]] = place, record
    if len(found) < len(uids):
        first_missing = next(uid for row, uid in enumerate(uids) if row not in found)
        raise UserError(
            f"{path}: no line for {len(uids) - len(found)} of the {len(uids)} examples of {data}, the first of them "
            f"{shown(first_missing)}; needed: one line per example"
        )
    return [found[row] for row in range(len(uids))]
