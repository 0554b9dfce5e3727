"""The data map: the measures of each training example, and the region in which it lies.

After Swayamdipta et al. 2020 (dataset cartography). E is the number of epochs, N of examples, C of classes.
"""

from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from ftft.core.artifacts import damaged, read_metadata, read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import check_labels, check_source
from ftft.dynamics import measures
from ftft.dynamics.artifact import count_epochs, read_dynamics
from ftft.dynamics.ranking import order
from ftft.dynamics.schemas import DATAMAP

Floats = NDArray[np.float64]

AMBIGUOUS, EASY, HARD = REGIONS = ("ambiguous", "easy-to-learn", "hard-to-learn")


def compute(
    logits: NDArray[np.float32],
    labels: ArrayLike,
    uids: ArrayLike,
    *,
    correction: str | None = None,
    el2n_epoch: int | None = None,
) -> dict[str, np.ndarray]:
    """Every column of the data map: ``measures.compute``, and ``region`` as strings (N,).

    Args:
        uids: (N,) unique strings; they decide between equals.
        logits, labels, correction, el2n_epoch: as there.
    """
    columns = measures.compute(logits, labels, correction=correction, el2n_epoch=el2n_epoch)
    return columns | {"region": region(columns["confidence"], columns["variability"], uids)}


def region(confidence: Floats, variability: Floats, uids: ArrayLike) -> NDArray[np.object_]:
    """(N,) where an example lies on the data map.

    ``ambiguous``: the floor(N / 3) examples of highest variability, equals in the order of their uids; of the others,
    ``easy-to-learn`` where the confidence is at least 0.5 and ``hard-to-learn`` where it is less.
    """
    regions = np.where(confidence >= 0.5, EASY, HARD).astype(object)
    regions[order(uids, variability, descending=True)[: len(regions) // 3]] = AMBIGUOUS
    return regions


class DataMapSettings(TypedDict):
    """What rule ``compute_datamap`` is told: the fields of ``config.DataMap``."""

    burn_in: int
    max_epochs: int | None
    correction: str | None
    el2n_epoch: int | None


def write(
    dynamics: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    burn_in: int = 0,
    max_epochs: int | None = None,
    correction: str | None = None,
    el2n_epoch: int | None = None,
) -> None:
    """Turn the training dynamics of one reference run into the data map, in the order of the data.

    Args:
        dynamics: artifact with one row group per epoch, each with rows 0 … N-1 of the data in order.
        data: the train set's artifact.
        output: the data map's artifact.
        burn_in: the first so many epochs of the training are left out.
        max_epochs: epochs after the first so many of the training are left out; None: none.
        correction: as in ``variability``.
        el2n_epoch: the epoch of EL2N, counted from 0 at the start of the training; None: the mean over those used.

    Raises:
        UserError: fewer than two epochs are left, ``el2n_epoch`` is none of them, not exactly one row per example and
            epoch, logits that are not finite, or dynamics of other data.
    """
    check_source(dynamics, data)
    examples = read_table(data, columns=["uid", "label"])
    logits = read_dynamics(dynamics, examples.num_rows, slice(burn_in, max_epochs))
    if len(logits) < 2:
        raise UserError(
            f"training dynamics {dynamics} cover {count_epochs(dynamics)} complete epoch(s), of which datamap.burn_in "
            f"and datamap.max_epochs leave {len(logits)}, but a data map needs at least 2 (variability is a spread); "
            "train the reference longer (raise training.steps or epochs), or leave out fewer"
        )
    last = burn_in + len(logits) - 1
    if el2n_epoch is not None and not burn_in <= el2n_epoch <= last:
        raise UserError(
            f"datamap.el2n_epoch is {el2n_epoch}, but of training dynamics {dynamics} the epochs {burn_in} to {last} "
            "are used; name one of them"
        )
    labels = examples["label"].to_numpy()
    if labels.max() >= logits.shape[2]:
        raise damaged(dynamics, f"it has {logits.shape[2]} classes, but the data has label {labels.max()}")
    check_labels(data, labels, logits.shape[2])
    columns = compute(
        logits,
        labels,
        examples["uid"],
        correction=correction,
        el2n_epoch=None if el2n_epoch is None else el2n_epoch - burn_in,
    )
    for name, values in columns.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(
                f"{name} of row {np.isfinite(values).argmin()} of the data map of {dynamics} is not finite: training "
                "has diverged; lower the reference's learning_rate and run again"
            )
    table = pa.table({"uid": examples["uid"], "label": examples["label"], **columns})
    facts = {"epochs": len(logits), "burn_in": burn_in, "rows": examples.num_rows}
    facts |= {"correction": correction or "none", "el2n_epoch": "mean" if el2n_epoch is None else el2n_epoch}
    facts |= {name: value for name, value in read_metadata(data).items() if name == "content_hash"}
    write_table(table, output, DATAMAP, {name: str(value) for name, value in facts.items()})
