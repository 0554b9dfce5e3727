"""What a training will take, counted before it runs: its batches one by one, without a model's weights.

Batches are pure functions of settings, seed and epoch, and operations follow from their shapes. So the count is that of
the run itself, on a device of the kind that is named and as long as its memory suffices.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ftft.compute import devices
from ftft.compute.batching import FEATURES, epoch_batches, micro_batches, padded
from ftft.compute.flops import FlopCount
from ftft.core.artifacts import damaged, read_table
from ftft.core.errors import UserError
from ftft.dynamics import selection
from ftft.dynamics.criteria import RANDOM
from ftft.models import adapters, classifier, heads, pretrained
from ftft.models.lora import Lora
from ftft.results.forecast import Method, Replay
from ftft.results.machine import Machine
from ftft.training import passes, steps

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Selection(TypedDict):
    """What of ``config.Select`` decides the size of a subset."""

    fraction: float
    balance: str | None


class Training(TypedDict):
    """What of a training its batches and its model follow from; see ``loop.train``."""

    seed: int
    settings: dict[str, Any]  # what of config.Training decides steps, batches and memory
    budget: float
    tune: str
    lora: dict[str, Any] | None  # of tune: lora, see config.Lora
    features: str | None
    hidden_size: int | None
    labels: int
    select: Selection | None  # None for all data
    kept: int  # models whose weights it keeps beside those that it trains


class Work(TypedDict):
    """A training, or the computation of frozen features of the train set."""

    model: str  # its name in the configuration
    source: str | Path  # folder of the prepared model
    layers: int | None
    tokens: str | Path  # of the train set
    training: Training | None  # None for features


class ForecastSettings(TypedDict):
    """What rule ``forecast`` is told: every method, and the work by the names of the jobs."""

    methods: list[Method]
    work: dict[str, Work]


@dataclass(frozen=True)
class _Texts:
    """The train set: uids, class indices and (N,) numbers of tokens."""

    uids: pa.ChunkedArray
    labels: pa.ChunkedArray
    lengths: Ints

    @classmethod
    def read(cls, tokens: str | Path) -> "_Texts":
        table = read_table(tokens, ["uid", "label", "length"])
        if not table.num_rows:
            raise damaged(tokens, "it has no examples")
        return cls(table["uid"], table["label"], table["length"].to_numpy().astype(np.int64))


def replay(work: Mapping[str, Work], machine: Machine) -> dict[str, Replay]:
    """Count jobs by name, on the devices that ``machine`` has for their models.

    What several share, such as the batches of models with one tokenizer, is counted once.

    Of a subset no more is known than its size. A random one with the run's seed stands for it; the texts that will be
    selected may be longer or shorter. Nor is it known what a reference will get wrong: nothing is upweighted.

    Raises:
        UserError: a subset without an example, or more layers than a model has.
    """
    read, count = cache(_Texts.read), cache(_count)

    @cache
    def batches(tokens: str | Path, how: _Batches) -> tuple[Ints, Ints]:
        return _training_passes(read(tokens), how)

    def replayed(job: Work) -> Replay:
        training, device = job["training"], machine.device_of(job["model"])
        if training is None:
            flops = count(job["source"], job["layers"], None)
            shapes = _evaluation_passes(read(job["tokens"]).lengths, device)
            return Replay(_by_shape(flops.forward_pass, shapes).sum(keepdims=True), evaluate_every=1)
        settings = training["settings"]
        planned = steps.planned(settings, len(read(job["tokens"]).lengths))
        select = training["select"]
        lora = Lora.of(training["lora"]) if training["lora"] else None
        of_texts = training["tune"] not in heads.ON_FEATURES
        recorded = of_texts and machine.records_passes(
            job["model"],
            checkpointing=settings["gradient_checkpointing"],
            quantized=lora is not None and bool(lora.quantize),
        )
        how = _Batches(
            select=None if select is None else (select["fraction"], select["balance"]),
            batch_size=settings["batch_size"],
            micro_batch_size=passes.largest(
                settings["batch_size"],
                settings["micro_batch_size"],
                tokens=devices.tokens_per_pass(device, train=True),
                processes=machine.processes(job["model"]) if of_texts else 1,
            ),
            window=settings["length_window"],
            seed=training["seed"],
            planned=planned,
            device=device if of_texts else None,
            limit=pretrained.read_source(Path(job["source"]))["max_positions"],
            recorded=recorded,
        )
        number, shapes = batches(job["tokens"], how)
        trained = tuple(training[key] for key in ("tune", "labels", "features", "hidden_size"))
        flops = count(job["source"], job["layers"], trained, lora)
        taken = steps.budgeted(planned, training["budget"])
        within = number < taken
        costs = _by_shape(flops.train_pass, shapes[within])
        per_step = np.bincount(number[within], weights=costs, minlength=taken).astype(np.float64)
        different = np.unique(shapes[within], axis=0)
        return Replay(per_step, steps.between_evaluations(settings, planned), different)

    return {name: replayed(job) for name, job in work.items()}


def _by_shape(operations: Callable[[int, int], float], shapes: Ints) -> Floats:
    """(P,) operations of passes over (P, 2) examples and positions."""
    different, place = np.unique(shapes, axis=0, return_inverse=True)
    return np.array([operations(*shape) for shape in different.tolist()])[place.reshape(-1)]


def _evaluation_passes(lengths: Ints, device: torch.device) -> Ints:
    """(P, 2) examples and positions of each pass over the whole train set: as in ``features.embed``."""
    limit = devices.tokens_per_pass(device, train=False)
    pieces = micro_batches(np.arange(len(lengths)), lengths, tokens=limit)
    return np.array([(len(rows), padded(int(lengths[rows[0]]))) for rows in pieces])


@dataclass(frozen=True)
class _Batches:
    """What decides the passes of a training on given texts.

    Attributes:
        select: fraction and balance of a subset; None for all data.
        batch_size, window, seed: as in training.
        micro_batch_size: examples in a pass at most.
        planned: number of steps.
        device: None where a head is trained on features, of which every text has one position.
        limit: positions that the model has, if it has a limit.
        recorded: whether passes come in few shapes, to be recorded.
    """

    select: tuple[float, str | None] | None
    batch_size: int
    micro_batch_size: int | None
    window: int
    seed: int
    planned: int
    device: torch.device | None
    limit: int | None
    recorded: bool


def _training_passes(texts: _Texts, how: _Batches) -> tuple[Ints, Ints]:
    """The passes of a training: the (P,) step of each, and its (P, 2) examples and positions: as in ``training``."""
    lengths = np.ones_like(texts.lengths) if how.device is None else texts.lengths
    device = how.device or torch.device("cpu")
    rows = _rows(texts, how.select, how.seed)
    cut = partial(
        passes.cut,
        lengths=lengths,
        device=device,
        size=how.micro_batch_size,
        tokens=devices.tokens_per_pass(device, train=True),
        full=min(how.micro_batch_size or how.batch_size, how.batch_size) if how.recorded else None,
        longest=int(lengths.max()),
        limit=how.limit,
    )
    per_epoch = steps.per_epoch(len(rows), how.batch_size)
    found = []
    for epoch in range(math.ceil(how.planned / per_epoch)):
        order = epoch_batches(
            rows, lengths[rows], batch_size=how.batch_size, window=how.window, seed=how.seed, epoch=epoch
        )
        first = epoch * per_epoch
        for step, batch in enumerate(order[: how.planned - first], first):
            found += [(step, len(each.filled), each.positions) for each in cut(batch)]
    table = np.array(found)
    return table[:, 0], table[:, 1:]


def _rows(texts: _Texts, select: tuple[float, str | None] | None, seed: int) -> Ints:
    """Row numbers to train on, ascending."""
    if select is None:
        return np.arange(len(texts.lengths))
    fraction, balance = select
    scores = selection.random_scores(texts.uids, seed)
    subset = selection.select(texts.uids, scores, RANDOM, fraction, labels=texts.labels, balance=balance)
    if not subset.num_rows:
        raise UserError(f"select.fraction {fraction} of {len(texts.lengths)} examples is none; raise fraction")
    return np.sort(pc.index_in(subset["uid"], texts.uids.combine_chunks()).to_numpy())


def _count(
    source: str | Path,
    layers: int | None,
    trained: tuple[str, int, str | None, int | None] | None,
    lora: Lora | None = None,
) -> FlopCount:
    """Operations of what a job runs; ``trained`` has tune, labels, features and hidden size, or None for an encoder."""
    folder = Path(source)
    if trained is None:
        return _of_model(folder, layers, labels=None)
    tune, labels, features, hidden_size = trained
    if tune not in heads.ON_FEATURES:
        return _of_model(folder, layers, labels, lora)
    width = int(classifier.read_config(folder).hidden_size)
    if tune == "probe":
        return FlopCount.of(heads.probe(classifier.architecture(folder, labels=labels, layers=layers)), width)
    assert features is not None
    width *= len(FEATURES[features])
    head = heads.HeadConfig(input_size=width, hidden_size=hidden_size or 0, num_labels=labels)
    return FlopCount.of(heads.Head(head), width)


def _of_model(source: Path, layers: int | None, labels: int | None, lora: Lora | None = None) -> FlopCount:
    """Operations of a whole model, told from two of its layers where all are alike: counting many takes long."""

    def first(depth: int | None, device: str = "meta") -> PreTrainedModel:
        model = classifier.architecture(source, labels=labels, layers=depth, device=device)
        return model if lora is None else adapters.add(model, lora, seed=0)

    try:
        whole = first(layers)
        # An adapter that names layers by their numbers need not have one beside the first ones.
        alike = lora is None or not lora.numbered
        if alike and (depth := whole.config.num_hidden_layers) > 2:
            with suppress(UserError):  # a family that cannot be cut, or an adapter beside none of the first layers
                one, two = FlopCount.of(first(1)), FlopCount.of(first(2))
                more = depth - 1
                found = FlopCount(
                    forward=one.forward + more * (two.forward - one.forward),
                    train=one.train + more * (two.train - one.train),
                )
                if found.agrees(whole):
                    return found
        return FlopCount.of(whole)
    except (RuntimeError, NotImplementedError):  # some architectures look at values, which meta tensors have none of
        return FlopCount.of(first(layers, "cpu"))
