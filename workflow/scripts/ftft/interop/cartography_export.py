"""Write training dynamics, coordinates and selected ids as lines of text that other programs read."""

from pathlib import Path

import numpy as np

from ftft.core.artifacts import read_metadata, read_number, read_table
from ftft.core.errors import UserError, shown
from ftft.dynamics.artifact import count_epochs, read_dynamics
from ftft.interop.cartography_files import NEVER_LEARNT, epoch_files
from ftft.interop.json_lines import JSON, write_lines
from ftft.interop.named_artifacts import check_columns, read_columns, read_examples


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
    uids, labels = read_examples(data)
    epochs = _read_dynamics(dynamics, data, len(uids))
    surplus = [name for epoch, name in epoch_files(folder).items() if epoch >= len(epochs)]
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
        write_lines(Path(folder) / f"dynamics_epoch_{epoch}.jsonl", map(JSON.encode, records))


def export_coordinates(datamap: str | Path, output: str | Path) -> None:
    """Write a data map as JSON lines of coordinates, in its order.

    Args:
        datamap: the data map, with its number of epochs in the metadata ``epochs``.
        output: the file, which dataset cartography calls ``td_metrics.jsonl``.

    Raises:
        UserError: the data map cannot be read, or has no such number.
    """
    measures = ["threshold_closeness", "confidence", "variability", "correctness", "forgetting"]
    columns = read_columns(datamap, ["uid", *measures], "a data map").to_pydict()
    epochs = read_number(datamap, "epochs") if "epochs" in read_metadata(datamap) else None
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
            "correctness": round(correctness * epochs),
            "forgetfulness": forgetting if correctness else NEVER_LEARNT,
        }
        for index, (uid, closeness, confidence, variability, correctness, forgetting) in enumerate(
            zip(*columns.values(), strict=True)
        )
    )
    write_lines(Path(output), map(JSON.encode, records))


def export_ids(subset: str | Path, output: str | Path) -> None:
    """Write the uids of a subset as text, one per line, best first.

    Raises:
        UserError: the subset cannot be read, or a uid contains a line break.
    """
    uids = read_columns(subset, ["uid", "rank"], "a subset").sort_by("rank")["uid"].to_pylist()
    broken = [uid for uid in uids if len(uid.splitlines()) > 1 or uid.endswith("\n")]
    if broken:
        raise UserError(f"{subset}: the uid {shown(broken[0])} contains a line break, so it cannot be a line of text")
    write_lines(Path(output), uids)


def _read_dynamics(path: str | Path, data: str | Path, n_rows: int) -> np.ndarray:
    """The (E, N, C) logits of a dynamics artifact, which belongs to data of N examples."""
    check_columns(path, ["epoch", "row", "logits"], "training dynamics")
    epochs, rows = count_epochs(path), read_table(path, ["row"]).num_rows
    if rows != epochs * n_rows:
        raise UserError(
            f"training dynamics {path} have {rows} rows in {epochs} epochs, but {data} has {n_rows} examples; name the "
            "data that they belong to"
        )
    return read_dynamics(path, n_rows)
