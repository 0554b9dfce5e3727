"""Exchange training dynamics, coordinates and selected ids with other programs, as lines of text.

Run ``ftft-cartography --help``, or ``python -m ftft.interop.cartography --help``. The JSON lines are those of dataset
cartography (Swayamdipta et al. 2020, https://github.com/allenai/cartography), whose ``guid`` is our ``uid``:

- training dynamics: a file ``dynamics_epoch_K.jsonl`` for each epoch K, with a line
  ``{"guid": …, "logits_epoch_K": [one number per class], "gold": class index}`` per example, in any order; K counts
  from 0, or in what is imported from any number;
- coordinates: one file, ``td_metrics.jsonl`` with them, with a line per example that has ``guid``, ``index`` and the
  measures. Its ``correctness`` is a number of epochs, and its ``forgetfulness`` is 1000 for an example that was never
  predicted correctly, where the data map has a share and the number of epochs.

Numbers are written with all their digits, so what is exported and imported again is the same to the last bit.
"""

import argparse
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ftft.core.artifacts import atomic_path, read_groups, read_metadata, read_table, write_table
from ftft.core.errors import UserError, named, printable, reason, shortened, shown
from ftft.dynamics.artifact import write_dynamics
from ftft.dynamics.datamap import region
from ftft.dynamics.measures import threshold_closeness
from ftft.dynamics.schemas import DATAMAP
from ftft.jobs.job import reporting

# What dataset cartography writes for the forgetfulness of an example that is never predicted correctly.
NEVER_LEARNT = 1000

_EPOCH_FILE = re.compile(r"dynamics_epoch_(\d+)\.jsonl", re.ASCII)
_LARGEST = float(np.finfo(np.float32).max)
_LOGITS = re.compile(r"logits_epoch_(\d+)", re.ASCII)

_JSON = json.JSONEncoder(separators=(",", ":"))

Record = tuple[str, dict[str, Any]]  # an object with its place, for messages


def export_dynamics(dynamics: str | Path, data: str | Path, folder: str | Path) -> None:
    """Write training dynamics as one file of JSON lines per epoch.

    Args:
        dynamics: the dynamics artifact.
        data: artifact of the data that it belongs to.
        folder: gets ``dynamics_epoch_0.jsonl``, …; cartography looks for them in ``MODEL_DIR/training_dynamics``.

    Raises:
        UserError: an artifact cannot be read, the two do not fit, logits are not finite, or the folder has files of
            further epochs.
    """
    uids, labels = _examples(data)
    epochs = _read_dynamics(dynamics, len(uids))
    surplus = [name for epoch, name in _epoch_files(folder).items() if epoch >= len(epochs)]
    if surplus:
        raise UserError(
            f"{folder} already has {surplus[0]}, but there are only {len(epochs)} epochs to write; whoever reads the "
            "folder would mix two runs: delete the file or name another folder"
        )
    for epoch, logits in enumerate(epochs):
        records = (
            {"guid": uid, f"logits_epoch_{epoch}": values, "gold": gold}
            for uid, values, gold in zip(uids, logits.tolist(), labels, strict=True)
        )
        _write_lines(Path(folder) / f"dynamics_epoch_{epoch}.jsonl", map(_JSON.encode, records))


def import_dynamics(folder: str | Path, data: str | Path, output: str | Path) -> None:
    """Turn one file of JSON lines per epoch into the dynamics artifact, in the order of the data.

    Args:
        folder: has ``dynamics_epoch_0.jsonl``, …, one per epoch, counted from any number; in files that were renamed
            the fields may be counted otherwise, if in the same order.
        data: artifact of the data, whose uids are the guids as text, or what ``guid_of`` makes the guids of.
        output: the dynamics artifact.

    Raises:
        UserError: an epoch is missing; in some epoch, not exactly one line per example of the data; a gold label that
            is not the data's; a line that is not as described.
    """
    uids, labels = _examples(data)
    files = _epoch_files(folder)
    if not files:
        raise UserError(
            f"{folder} has no file dynamics_epoch_0.jsonl; name the folder with the files of all epochs "
            "(training_dynamics in the output of dataset cartography)"
        )
    _check_consecutive(folder, dict(sorted(files.items())))
    names = read_metadata(data).get("labels")
    n_labels = len(json.loads(names)) if names else None
    epochs: list[np.ndarray] = []
    numbers: dict[int, str] = {}
    for _, name in sorted(files.items()):
        path = Path(folder) / name
        found = list(_records(path))
        number = _epoch_of(path, found)
        if number in numbers:
            raise UserError(
                f"{folder}: {numbers[number]} and {name} both have logits_epoch_{number}; needed: one file per epoch: "
                "delete the one that is too many"
            )
        numbers[number] = name
        field = f"logits_epoch_{number}"
        records = _by_uid(path, found, ("guid", field, "gold"), uids, data)
        for (place, record), label in zip(records, labels, strict=True):
            if record["gold"] != label:
                raise UserError(
                    f"{place}: gold is {_shown_json(record['gold'])}, but the label in {data} is {label}; class "
                    "indices must be the same: list data.labels in the order of cartography's classes"
                )
            n_labels = _check_logits(record[field], n_labels, f"{place}: {field}")
        epochs.append(np.array([record[field] for _, record in records], dtype=np.float32))
    _check_consecutive(folder, numbers, "logits_epoch_{} in ")
    write_dynamics(epochs, output, n_labels or 0, {"labels": names} if names else {})


def export_coordinates(datamap: str | Path, output: str | Path) -> None:
    """Write a data map as JSON lines of coordinates, in its order.

    Args:
        datamap: the data map, with its number of epochs in the metadata ``epochs``.
        output: the file, which dataset cartography calls ``td_metrics.jsonl``.

    Raises:
        UserError: the data map cannot be read, or has no such number.
    """
    measures = ["threshold_closeness", "confidence", "variability", "correctness", "forgetting"]
    columns = _read(datamap, ["uid", *measures], "a data map").to_pydict()
    epochs = read_metadata(datamap).get("epochs")
    empty = [name for name in measures if None in columns[name]]
    if epochs is None or empty:
        lack = f"{empty[0]} of every example" if empty else "its number of epochs"
        raise UserError(f"data map {datamap} lacks {lack}; compute it again from the training dynamics")
    records = (
        {
            "guid": uid,
            "index": index,
            "threshold_closeness": closeness,
            "confidence": confidence,
            "variability": variability,
            "correctness": round(correctness * int(epochs)),
            "forgetfulness": forgetting if correctness else NEVER_LEARNT,
        }
        for index, (uid, closeness, confidence, variability, correctness, forgetting) in enumerate(
            zip(*columns.values(), strict=True)
        )
    )
    _write_lines(Path(output), map(_JSON.encode, records))


def import_coordinates(coordinates: str | Path, data: str | Path, output: str | Path, *, epochs: int) -> None:
    """Turn JSON lines of coordinates into a data map, in the order of the data.

    Measures that coordinates do not have, such as AUM, are null; regions follow from confidence and variability.

    Args:
        coordinates: the file; a line has ``guid``, ``confidence`` and ``variability``, and may have ``correctness``
            and ``forgetfulness``.
        data: artifact of the data, whose uids are the guids as text, or what ``guid_of`` makes the guids of.
        output: the data map.
        epochs: number of epochs that the coordinates were computed over.

    Raises:
        UserError: not exactly one line per example of the data, a line that is not as described, or a correctness of
            more than ``epochs``.
    """
    uids, labels = _examples(data)
    path = Path(coordinates)
    records = _by_uid(path, list(_records(path)), ("guid", "confidence", "variability"), uids, data)
    confidence, variability = (_numbers(records, name, maximum=1.0) for name in ("confidence", "variability"))
    columns: dict[str, Any] = {
        "uid": uids,
        "label": labels,
        "confidence": confidence,
        "variability": variability,
        "threshold_closeness": threshold_closeness(confidence),
        "region": region(confidence, variability, uids),
    }
    if all("correctness" in record for _, record in records):
        columns["correctness"] = _numbers(records, "correctness", maximum=epochs) / epochs
    if all("forgetfulness" in record for _, record in records):
        events = _numbers(records, "forgetfulness", maximum=NEVER_LEARNT)
        columns["forgetting"] = np.where(events == NEVER_LEARNT, epochs, events).astype(np.int32)
    table = pa.table({field.name: columns.get(field.name, pa.nulls(len(uids), field.type)) for field in DATAMAP})
    write_table(table, output, DATAMAP, {"epochs": str(epochs), "rows": str(len(uids))})


def export_ids(subset: str | Path, output: str | Path) -> None:
    """Write the uids of a subset as text, one per line, best first.

    Raises:
        UserError: the subset cannot be read, or a uid contains a line break.
    """
    uids = _read(subset, ["uid", "rank"], "a subset").sort_by("rank")["uid"].to_pylist()
    broken = [uid for uid in uids if len(uid.splitlines()) > 1 or uid.endswith("\n")]
    if broken:
        raise UserError(f"{subset}: the uid {shown(broken[0])} contains a line break, so it cannot be a line of text")
    _write_lines(Path(output), uids)


def _read(path: str | Path, columns: list[str], kind: str) -> pa.Table:
    """Columns of an artifact, checked to be there."""
    _check_columns(path, columns, kind)
    return read_table(path, columns)


def _check_columns(path: str | Path, columns: list[str], kind: str) -> None:
    try:
        found = pq.read_schema(path).names
    except OSError as failure:
        why = os.strerror(failure.errno) if failure.errno else reason(failure)  # Arrow's own text repeats the path
        raise UserError(f"{path} cannot be read: {why}; name {kind}") from None
    except pa.ArrowInvalid:
        raise UserError(f"{path} is not a Parquet file; name {kind}") from None
    missing = [name for name in columns if name not in found]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; found: {named(found)}; name {kind}")


def _examples(data: str | Path) -> tuple[list[str], list[int]]:
    """Uids and labels of the data, in row order."""
    examples = _read(data, ["uid", "label"], "the data that the reference was trained on, with uid and label")
    return examples["uid"].to_pylist(), examples["label"].to_pylist()


def _read_dynamics(path: str | Path, n_rows: int) -> list[np.ndarray]:
    """The (N, C) logits of each epoch of a dynamics artifact."""
    _check_columns(path, ["epoch", "row", "logits"], "training dynamics")
    epochs = []
    for epoch, group in enumerate(read_groups(path)):
        if not np.array_equal(group["row"].to_numpy(), np.arange(n_rows)) or set(group["epoch"].to_numpy()) != {epoch}:
            raise UserError(
                f"row group {epoch} of training dynamics {path} is not epoch {epoch} with rows 0 to {n_rows - 1} "
                "in order; name the data that they belong to"
            )
        logits = pc.list_flatten(group["logits"]).to_numpy().reshape(n_rows, -1)
        if not np.isfinite(logits).all():
            raise UserError(
                f"training dynamics {path} have logits that are not finite in epoch {epoch}, and JSON has no such "
                "numbers: training has diverged; lower the reference's learning_rate and rerun"
            )
        epochs.append(logits)
    return epochs


def _epoch_files(folder: str | Path) -> dict[int, str]:
    """Names of the files of training dynamics in a folder, by epoch; none where there is no such folder."""
    files: dict[int, str] = {}
    for name in sorted(path.name for path in Path(folder).glob("dynamics_epoch_*.jsonl")):
        if match := _EPOCH_FILE.fullmatch(name):
            if other := files.get(int(match[1])):
                raise UserError(f"{folder} has both {other} and {name}; delete the one that is too many")
            files[int(match[1])] = name
    return files


def _check_consecutive(folder: str | Path, files: dict[int, str], what: str = "") -> None:
    """Raise unless the numbers of epochs, in the order of their files, rise by one."""
    numbers = list(files)
    for before, number in pairwise(numbers):
        if number != before + 1:
            one, other = (f"{what.format(each)}{files[each]}" for each in (before, number))
            raise UserError(
                f"{folder}: {other} comes after {one}; needed: every epoch from the first to the last, in order; add "
                "the missing file, or take out what belongs to another run"
            )


def _epoch_of(path: Path, records: list[Record]) -> int:
    """The number of the epoch by the fields of a file, which may have been renamed."""
    fields = list(records[0][1]) if records else []
    numbers = [int(match[1]) for name in fields if (match := _LOGITS.fullmatch(name))]
    if len(numbers) != 1:
        raise UserError(
            f"{path}: the first line has {named(fields) or 'no field'}; needed: guid, gold and one field logits_epoch_K"
        )
    return numbers[0]


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


def _by_uid(
    path: Path, records: list[Record], fields: Sequence[str], uids: list[str], data: str | Path
) -> list[Record]:
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


def _records(path: Path) -> Iterator[Record]:
    """The JSON objects of a file with their places; empty lines are skipped."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as failure:
                    raise UserError(f"{place}: not JSON ({reason(failure)}); needed: one object per line") from None
                if not isinstance(record, dict):
                    raise UserError(f"{place}: {type(record).__name__} found; needed: one object per line")
                yield place, record
    except OSError as failure:
        raise UserError(
            f"{path} cannot be read: {failure.strerror or reason(failure)}; name a file of JSON lines"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; name a file of JSON lines") from None


def _check_logits(values: Any, n_labels: int | None, place: str) -> int:
    """The number of logits, which is that of the classes where it is known."""
    if not isinstance(values, list) or not values or not all(map(_is_number, values)):
        raise UserError(f"{place} is {_shown_json(values)}; needed: a list with one number per class (finite)")
    if n_labels not in (None, len(values)):
        raise UserError(f"{place} has {len(values)} numbers; needed: one for each of the {n_labels} classes")
    return len(values)


def _numbers(records: list[Record], name: str, *, maximum: float) -> np.ndarray:
    """(N,) float64 values of one field, checked to lie in [0, maximum]."""
    for place, record in records:
        value = record[name]
        if not _is_number(value) or not 0 <= value <= maximum:
            raise UserError(f"{place}: {name} is {_shown_json(value)}; allowed: a number from 0 to {maximum:g}")
    return np.array([record[name] for _, record in records], dtype=np.float64)


def _is_number(value: Any) -> bool:
    """Whether it is a number that is finite with the 32 bits of a logit."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _shown_json(value: Any) -> str:
    return shortened(printable(_JSON.encode(value)), 80)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ftft-cartography",
        description="Exchange training dynamics, coordinates and selected ids with other programs, as lines of text. "
        "The JSON lines are those of dataset cartography (Swayamdipta et al. 2020); a guid is a uid.",
        epilog="COMMAND --help says more about one of them.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, summary: str, function: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(function=function)
        return command

    data: dict[str, Any] = {
        "required": True,
        "metavar": "FILE",
        "help": "the data artifact: results/TASK/data/train.parquet",
    }

    command = add("export-dynamics", "write training dynamics as JSON lines, one file per epoch", export_dynamics)
    command.add_argument("dynamics", metavar="DYNAMICS", help="results/TASK/reference/MODEL/seedN/dynamics.parquet")
    command.add_argument("--data", **data)
    command.add_argument("--output", dest="folder", required=True, metavar="FOLDER", help="gets the files")

    command = add("import-dynamics", "turn JSON lines of training dynamics into the dynamics artifact", import_dynamics)
    command.add_argument("folder", metavar="FOLDER", help="has dynamics_epoch_0.jsonl and so on, from any number")
    command.add_argument("--data", **data)
    command.add_argument("--output", required=True, metavar="FILE", help="dynamics.parquet")

    command = add("export-coordinates", "write a data map as JSON lines of coordinates", export_coordinates)
    command.add_argument("datamap", metavar="DATAMAP", help="results/TASK/datamap/MODEL/seedN.parquet")
    command.add_argument("--output", required=True, metavar="FILE", help="td_metrics.jsonl")

    command = add("import-coordinates", "turn JSON lines of coordinates into a data map", import_coordinates)
    command.add_argument("coordinates", metavar="COORDINATES", help="td_metrics.jsonl")
    command.add_argument("--data", **data)
    command.add_argument(
        "--epochs",
        type=_positive,
        required=True,
        metavar="N",
        help="how many epochs the coordinates were computed over",
    )
    command.add_argument("--output", required=True, metavar="FILE", help="datamap.parquet")

    command = add("export-ids", "write the uids of a subset, one per line, best first", export_ids)
    command.add_argument("subset", metavar="SUBSET", help="results/TASK/subset/…/seedN.parquet")
    command.add_argument("--output", required=True, metavar="FILE", help="ids.txt")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} found; needed: a whole number of at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = vars(_parser().parse_args(arguments))
    function = given.pop("function")
    with reporting(None):
        function(**given)


if __name__ == "__main__":
    main()
