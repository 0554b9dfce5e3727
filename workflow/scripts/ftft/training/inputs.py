"""What a run learns from: examples, which of them and how often, and a reference that guides it."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ftft.compute.batching import Examples, FeatureDataset, TokenizedDataset, epoch_batches
from ftft.core import artifacts
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.dynamics import guidance
from ftft.dynamics.schemas import read_subset
from ftft.evaluation import metrics
from ftft.models import classifier, heads, pretrained
from ftft.training import steps
from ftft.training.settings import Files, Optimization, Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What was read.

    Attributes:
        data: the train set.
        rows: of ``data``, to train on in an epoch; ascending, some more than once where the reference says so.
        dev: the dev sets.
        expert: (N, C) log probabilities of the reference, to which the model's are added; None without.
        features: name of the features that are trained on; None where whole texts are.
        pad_id: token that fills up.
        limit: positions that the model has; None if any number will do.
    """

    data: Examples
    rows: NDArray[np.int64]
    dev: dict[str, Examples]
    expert: torch.Tensor | None
    features: str | None
    pad_id: int
    limit: int | None

    @classmethod
    def read(cls, settings: Settings, files: Files, device: torch.device, title: str) -> "Inputs":
        """Read what a run needs.

        Raises:
            UserError: an input is damaged, or does not belong to the others.
        """
        source = pretrained.read_source(files.source)
        features = _features(settings, files.source)
        data = _read(files.train, features)
        rows, expert = _guided(settings, files, data, _rows_of(data, files.subset), title)
        return cls(
            data=data,
            rows=rows,
            dev={name: _read(path, features) for name, path in files.dev.items()},
            expert=None if expert is None else expert.to(device),
            features=features,
            pad_id=source["pad_id"],
            limit=source["max_positions"],
        )

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest text of the train set."""
        return int(self.data.lengths.max())

    def chance(self, settings: Settings, monitor: str) -> float:
        """The score that ``monitor`` names, of a model that predicts one class: the most common of each dev set."""
        watched = {name: data.labels for name, data in self.dev.items() if watches(monitor, name)}
        found = {
            name: metrics.chance(labels, len(settings.labels))[settings.metric] for name, labels in watched.items()
        }
        return monitored(found, monitor)


class Order:
    """Which rows are in which batch: a function of settings, seed and step.

    Args:
        inputs: the examples.
        training: batch size and length window.
        seed: of the run.
    """

    def __init__(self, inputs: Inputs, training: Optimization, seed: int) -> None:
        self.rows, self.lengths = inputs.rows, inputs.data.lengths[inputs.rows]
        self.training, self.seed = training, seed
        self.steps_per_epoch = steps.per_epoch(len(self.rows), training.batch_size)
        self._epoch: tuple[int, list[np.ndarray]] | None = None

    def batch(self, step: int) -> np.ndarray:
        """The rows of the batch of ``step``, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            size, window = self.training.batch_size, self.training.length_window
            batches = epoch_batches(
                self.rows, self.lengths, batch_size=size, window=window, seed=self.seed, epoch=epoch
            )
            self._epoch = (epoch, batches)
        return self._epoch[1][position]


def watches(monitor: str, dataset: str) -> bool:
    """Whether a stop rule that watches ``monitor`` needs the score of a dev set."""
    if monitor == "dev":
        return dataset == IN_DISTRIBUTION
    return dataset != IN_DISTRIBUTION and monitor in ("ood_dev", f"ood_dev/{dataset}")


def monitored(scores: dict[str, float], monitor: str) -> float:
    """The score that ``monitor`` (``dev``, ``ood_dev`` or ``ood_dev/NAME``) names, from the scores by dataset."""
    if monitor == "dev":
        return scores[IN_DISTRIBUTION]
    if monitor == "ood_dev":
        return float(np.mean([value for dataset, value in scores.items() if dataset != IN_DISTRIBUTION]))
    return scores[monitor.removeprefix("ood_dev/")]


def _features(settings: Settings, source: Path) -> str | None:
    if settings.tune == "probe":
        return heads.features_of(classifier.read_config(source))
    return settings.features if settings.tune == "head" else None


def _read(path: Path, features: str | None) -> Examples:
    return TokenizedDataset.read(path) if features is None else FeatureDataset.read(path, features)


def _rows_of(data: Examples, subset: Path | None) -> NDArray[np.int64]:
    """Row numbers to train on, ascending."""
    if subset is None:
        return np.arange(len(data))
    rows = np.sort(read_subset(subset, data.uids))
    if not len(rows):
        raise artifacts.damaged(subset, "it names no example")
    return rows


def _guided(
    settings: Settings, files: Files, data: Examples, rows: NDArray[np.int64], title: str
) -> tuple[NDArray[np.int64], torch.Tensor | None]:
    """The rows to train on as the reference weighs them, and its (N, C) log probabilities as an expert, if any."""
    if settings.upweight is None and settings.product_of_experts is None:
        return rows, None
    assert files.guide is not None
    if settings.upweight is not None:
        logits = guidance.read_epoch(files.guide, len(data), settings.upweight["epoch"], "upweight.epoch")
        wrong = guidance.wrong_predictions(logits, data.labels)
        log.info("%s: the reference gets %d of %d examples wrong", title, wrong.sum(), len(wrong))
        return guidance.upweighted(rows, wrong, settings.upweight["factor"]), None
    assert settings.product_of_experts is not None
    epoch = settings.product_of_experts["epoch"]
    logits = guidance.read_epoch(files.guide, len(data), epoch, "product_of_experts.epoch")
    return rows, torch.from_numpy(guidance.expert(logits))
