"""Turn JSON lines of dataset cartography into training dynamics and data maps, in the order of the data."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ftft.core.artifacts import read_metadata, read_names, write_table
from ftft.core.errors import UserError
from ftft.dynamics.artifact import write_dynamics
from ftft.dynamics.datamap import region
from ftft.dynamics.measures import threshold_closeness
from ftft.dynamics.schemas import DATAMAP
from ftft.interop.cartography_files import NEVER_LEARNT, check_consecutive, epoch_files, epoch_of
from ftft.interop.guids import by_uid
from ftft.interop.json_lines import Record, read_records, shown_json
from ftft.interop.named_artifacts import read_examples

_LARGEST = float(np.finfo(np.float32).max)


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
    uids, labels = read_examples(data)
    files = epoch_files(folder)
    if not files:
        raise UserError(
            f"{folder} has no file dynamics_epoch_0.jsonl; name the folder with the files of all epochs "
            "(training_dynamics in the output of dataset cartography)"
        )
    check_consecutive(folder, dict(sorted(files.items())))
    names = read_names(data)
    n_labels = len(names) if names else None
    epochs: list[np.ndarray] = []
    numbers: dict[int, str] = {}
    for _, name in sorted(files.items()):
        path = Path(folder) / name
        found = list(read_records(path))
        number = epoch_of(path, found)
        if number in numbers:
            raise UserError(
                f"{folder}: {numbers[number]} and {name} both have logits_epoch_{number}; needed: one file per epoch: "
                "delete the one that is too many"
            )
        numbers[number] = name
        field = f"logits_epoch_{number}"
        records = by_uid(path, found, ("guid", field, "gold"), uids, data)
        for (place, record), label in zip(records, labels, strict=True):
            if record["gold"] != label:
                raise UserError(
                    f"{place}: gold is {shown_json(record['gold'])}, but the label in {data} is {label}; class "
                    "indices must be the same: list data.labels in the order of cartography's classes"
                )
            n_labels = _check_logits(record[field], n_labels, f"{place}: {field}")
        epochs.append(np.array([record[field] for _, record in records], dtype=np.float32))
    check_consecutive(folder, numbers, "logits_epoch_{} in ")
    write_dynamics(epochs, output, n_labels or 0, {"labels": read_metadata(data)["labels"]} if names else {})


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
    uids, labels = read_examples(data)
    path = Path(coordinates)
    records = by_uid(path, list(read_records(path)), ("guid", "confidence", "variability"), uids, data)
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


def _check_logits(values: Any, n_labels: int | None, place: str) -> int:
    """The number of logits, which is that of the classes where it is known."""
    if not isinstance(values, list) or not values or not all(map(_is_number, values)):
        raise UserError(f"{place} is {shown_json(values)}; needed: a list with one number per class (finite)")
    if n_labels not in (None, len(values)):
        raise UserError(f"{place} has {len(values)} numbers; needed: one for each of the {n_labels} classes")
    return len(values)


def _numbers(records: list[Record], name: str, *, maximum: float) -> np.ndarray:
    """(N,) float64 values of one field, checked to lie in [0, maximum]."""
    for place, record in records:
        value = record[name]
        if not _is_number(value) or not 0 <= value <= maximum:
            raise UserError(f"{place}: {name} is {shown_json(value)}; allowed: a number from 0 to {maximum:g}")
    return np.array([record[name] for _, record in records], dtype=np.float64)


def _is_number(value: Any) -> bool:
    """Whether it is a number that is finite with the 32 bits of a logit."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
