"""Examples that take their row number along: from the dataset through the collator into the batch."""

from collections.abc import Callable, MutableMapping
from typing import Any

import torch

# Keys of the batch between collator and model.
ROWS, LABELS = "ftft_rows", "ftft_labels"


def number_examples(loader: Any) -> None:
    """Make a data loader give batches with the row numbers of their examples and a second copy of the labels."""
    # A data loader refuses to be given another dataset, but reads it only when it is iterated over.
    object.__setattr__(loader, "dataset", NumberedDataset(loader.dataset))
    loader.collate_fn = _NumberedCollator(loader.collate_fn)


class NumberedDataset:
    """A dataset that gives each example with its row number."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[int, Any]:
        return row, self.dataset[row]

    def __getitems__(self, rows: list[int]) -> list[tuple[int, Any]]:
        together = getattr(self.dataset, "__getitems__", None)
        examples = together(rows) if together else [self.dataset[row] for row in rows]
        return list(zip(rows, examples, strict=True))


class _NumberedCollator:
    """A collator for numbered examples: the batch of another one, with the row numbers and a second copy of the labels.

    The copy is there because a ``Trainer`` may take the labels out before the forward pass (label smoothing does).
    """

    def __init__(self, collate: Callable[[list[Any]], MutableMapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, numbered: list[tuple[int, Any]]) -> MutableMapping[str, Any]:
        batch = self.collate([example for _, example in numbered])
        batch[ROWS] = torch.tensor([int(row) for row, _ in numbered])
        if "labels" in batch:
            batch[LABELS] = batch["labels"]
        return batch
