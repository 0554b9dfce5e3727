"""Which examples go into which batch, and how a batch is put together.

Everything is a pure function of the settings, the seed and the epoch, so a run can be continued from any step, and any
number of processes sees the same batches.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftft.core import artifacts
from ftft.data.schemas import LABEL_LIMIT, check_labels

# At this length attention holds as much memory as everything else in a layer: six times the width of MiniLM's heads.
ATTENTION_LENGTH = 192

# What a head can read, by the columns of the features artifact that it is made of.
FEATURES = {"first": ("first",), "mean": ("mean",), "both": ("first", "mean")}


class Examples(Protocol):
    """What the training loop asks of a dataset: the uids, labels and lengths of its examples, and batches of them."""

    @property
    def uids(self) -> pa.ChunkedArray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def lengths(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def collate(self, rows: np.ndarray, *, pad_id: int = 0, positions: int | None = None) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class TokenizedDataset:
    """A tokenised dataset as flat arrays, decoded once.

    Attributes:
        uids: strings, one per example.
        labels: (N,) int64 class indices.
        lengths: (N,) int64 numbers of tokens.
        starts: (N,) int64 positions of each example's first token in the flat arrays.
        ids: all token ids one after the other, int32.
        types: all token types, or None where the model uses none.
    """

    uids: pa.ChunkedArray
    labels: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    ids: np.ndarray
    types: np.ndarray | None

    @classmethod
    def read(cls, path: str | Path) -> "TokenizedDataset":
        """Read a tokens artifact.

        Raises:
            UserError: it is damaged.
        """
        found = artifacts.column_names(path)
        wanted = ["uid", "label", "input_ids", "length"]
        table = artifacts.read_table(path, wanted + ["token_type_ids"] * ("token_type_ids" in found))
        lists = {name: table[name].combine_chunks() for name in ("input_ids", "token_type_ids") if name in found}
        lengths = table["length"].to_numpy().astype(np.int64)
        for name, tokens in lists.items():
            if not np.array_equal(pc.list_value_length(tokens).to_numpy(zero_copy_only=False), lengths):
                raise artifacts.damaged(path, f"the lists of {name} are not as long as length says")
        flat = {name: tokens.flatten().to_numpy() for name, tokens in lists.items()}
        return cls(
            uids=table["uid"],
            labels=_labels(path, table),
            lengths=lengths,
            starts=np.cumsum(lengths) - lengths,
            ids=flat["input_ids"],
            types=flat.get("token_type_ids"),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def collate(self, rows: np.ndarray, *, pad_id: int = 0, positions: int | None = None) -> dict[str, np.ndarray]:
        """The examples ``rows`` as a rectangle of int64, padded on the right.

        Returns:
            ``input_ids``, ``attention_mask`` and, where the model uses them, ``token_type_ids``, each (len(rows), L)
            with L ``positions``, or the length of the longest of them.
        """
        columns = np.arange(positions or padded(int(self.lengths[rows].max(initial=0))))
        mask = columns < self.lengths[rows, None]
        # Where the mask is off the place is never used; 0 keeps it inside the array.
        places = np.where(mask, self.starts[rows, None] + columns, 0)
        batch = {
            "input_ids": np.where(mask, self.ids[places], pad_id).astype(np.int64),
            "attention_mask": mask.astype(np.int64),
        }
        if self.types is not None:
            batch["token_type_ids"] = np.where(mask, self.types[places], 0).astype(np.int64)
        return batch


def padded(length: int, multiple_of: int = 1) -> int:
    """Positions that a text of so many tokens takes: the next multiple."""
    return -(-max(length, 1) // multiple_of) * multiple_of


def bucket(length: int) -> int:
    """The next of a few lengths: 16, 24, 32, 48, 64, 96 and so on."""
    power = 1 << (max(length, 16) - 1).bit_length()
    below = power * 3 // 4
    return below if length <= below and power > 16 else power


def fixed_rows(rows: np.ndarray, size: int) -> np.ndarray:
    """``rows`` and the last of them again, so often that there are ``size``; the repeated ones are to count nothing."""
    return np.concatenate([rows, np.full(size - len(rows), rows[-1])])


@dataclass(frozen=True)
class FeatureDataset:
    """Examples as their features: to the training loop a ``TokenizedDataset`` of one position each.

    Attributes:
        uids: strings, one per example.
        labels: (N,) int64 class indices.
        lengths: (N,) int64, all 1.
        values: (N, D) float32.
    """

    uids: pa.ChunkedArray
    labels: np.ndarray
    lengths: np.ndarray
    values: np.ndarray

    @classmethod
    def read(cls, path: str | Path, features: str) -> "FeatureDataset":
        """Read a features artifact; ``features`` is a key of ``FEATURES``, whose columns stand side by side.

        Raises:
            UserError: it is damaged, or has numbers that are not finite.
        """
        table = artifacts.read_table(path, ["uid", "label", *FEATURES[features]])
        columns = [pc.list_flatten(table[name]).to_numpy().reshape(table.num_rows, -1) for name in FEATURES[features]]
        values = np.concatenate(columns, axis=1)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise artifacts.damaged(path, f"the features in row {finite.argmin()} are not finite")
        return cls(
            uids=table["uid"],
            labels=_labels(path, table),
            lengths=np.ones(table.num_rows, np.int64),
            values=values,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def collate(self, rows: np.ndarray, *, pad_id: int = 0, positions: int | None = None) -> dict[str, np.ndarray]:
        """The features of the examples ``rows`` as ``inputs_embeds`` (len(rows), 1, D); nothing is padded."""
        return {"inputs_embeds": self.values[rows, None]}


def _labels(path: str | Path, table: pa.Table) -> np.ndarray:
    """(N,) class indices of an artifact, which has as many as its metadata have names for."""
    labels = table["label"].to_numpy().astype(np.int64)
    names = artifacts.read_names(path)
    check_labels(path, labels, len(names) if names else LABEL_LIMIT)
    if not len(labels):
        raise artifacts.damaged(path, "it has no examples")
    return labels


def epoch_batches(
    rows: np.ndarray, lengths: np.ndarray, *, batch_size: int, window: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """The batches of one epoch: every row exactly once, batches of similar length, in random order.

    The rows are shuffled, cut into windows of ``window`` batches, sorted by length inside each window, cut into
    batches, and the batches are shuffled. With ``window`` 0 the batches are plainly random.

    Args:
        rows: the row numbers to train on.
        lengths: (len(rows),) number of tokens of each.
        batch_size: rows per batch; one batch is smaller where it does not divide ``len(rows)``.
        window: batches per window.
        seed: of the run.
        epoch: from 0; each has an order of its own.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(rows))
    if window:
        span = window * batch_size
        pieces = [order[start : start + span] for start in range(0, len(order), span)]
        order = np.concatenate([piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces])
    batches = [rows[order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
    if window:
        batches = [batches[index] for index in generator.permutation(len(batches))]
    return batches


def micro_batches(
    batch: np.ndarray, lengths: np.ndarray, *, size: int | None = None, tokens: int | None = None
) -> list[np.ndarray]:
    """A batch split into pieces of similar length, longest first.

    Args:
        batch: row numbers.
        lengths: number of tokens of every row of the dataset.
        size: rows per piece at most.
        tokens: padded tokens per piece at most, and fewer of long rows: so many that what a pass over them holds in
            memory, of which attention's part grows with the square of the length, is no more than one over short rows
            does. A row that is longer is a piece of its own.
    """
    order = batch[np.argsort(-lengths[batch], kind="stable")]
    pieces, start = [], 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        taken = longest + longest**2 // ATTENTION_LENGTH
        count = min(size or len(order), max(1, tokens // taken) if tokens else len(order))
        pieces.append(order[start : start + count])
        start += count
    return pieces
