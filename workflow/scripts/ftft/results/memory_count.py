"""The memory that trainings take, counted before they run, for the largest of their replayed passes.

Which passes there are comes from ``results.replay``, and what one holds from ``compute.memory``.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from ftft.compute import devices, memory
from ftft.compute.batching import FEATURES
from ftft.core.artifacts import read_table
from ftft.core.errors import UserError, reason
from ftft.models import adapters, classifier, heads, quantization
from ftft.models.lora import Lora
from ftft.results.forecast import Replay
from ftft.results.machine import MB, Machine
from ftft.results.replay import Work
from ftft.results.schemas import MEMORY

log = logging.getLogger(__name__)


def needed(work: Mapping[str, Work], replays: Mapping[str, Replay], machine: Machine) -> pa.Table:
    """The memory that the trainings take, one row per model that is trained, as in ``MEMORY``.

    A model of which it cannot be counted has none; a line in the log says why.

    Args:
        work, replays: of the same jobs, by their names.
        machine: what there is.
    """
    jobs: dict[str, list[str]] = {}
    for name, job in work.items():
        # A classifier's own head alone takes less than the whole of it, which is trained after it.
        if job["training"] is not None and job["training"]["tune"] != "probe":
            jobs.setdefault(job["model"], []).append(name)
    rows = []
    for model, names in jobs.items():
        try:
            rows.append(_row(model, [work[name] for name in names], [replays[name] for name in names], machine))
        except (RuntimeError, NotImplementedError) as failure:  # some architectures look at values
            log.warning("%s: its memory cannot be counted without its weights: %s", model, reason(failure))
    return pa.Table.from_pylist(rows, MEMORY)


def _row(model: str, work: list[Work], replays: list[Replay], machine: Machine) -> dict[str, Any]:
    training = work[0]["training"]
    assert training is not None
    settings, whole = training["settings"], training["tune"] not in heads.ON_FEATURES
    gpu = machine.has_gpu(model) and whole
    bf16 = settings["precision"] == "bf16" and (machine.bf16(model) if whole else devices.computes_bf16("cpu"))
    how = memory.Conditions(gpu, bf16, settings["gradient_checkpointing"])
    shapes = np.unique(np.concatenate([each.shapes for each in replays if each.shapes is not None]), axis=0)
    width = None if whole else _width(work[0])
    lora = Lora.of(training["lora"]) if training["lora"] else None
    four_bits = lora is not None and bool(lora.quantize)
    with memory.without_values():
        built = _model(work[0], how)
        largest, *others = _by_size(work[0], how, width, shapes)
        held = how.held(built, *largest, width).most
        weights, gradients = memory.weights(built), memory.trained_weights(built)
        if four_bits:
            frozen = [layer.weight for layer in adapters.frozen_layers(built)]
            weights += quantization.packed(frozen) - sum(weight.nbytes for weight in frozen)
            held += max(weight.nbytes for weight in frozen)  # a pass unpacks one at a time
        moments = memory.moments(settings["optimizer"], settings["momentum"]) * gradients
        if not gpu:
            held = round(held * (memory.HOLES if lora is None else memory.HOLES_OF_ADAPTERS))
            kept = max(each["training"]["kept"] for each in work if each["training"] is not None)
            saved = weights if lora is None else gradients  # of an adapter, what is trained
            other = memory.LIBRARIES + kept * saved + _data(work[0], width)
            if lora is not None:  # it begins with the whole model in fp32, and may end with it
                base = 4 * sum(parameter.numel() for parameter in built.parameters())
                trained = weights + gradients + moments
                most = max(base + memory.LIBRARIES, trained + other + base if lora.merge else 0)
                other += max(0, most - (trained + held + other))
        elif machine.records_passes(model, checkpointing=how.checkpointing, quantized=four_bits):
            # While a shape is recorded, its passes to warm up lie beside the pool of the others, and a copy of the
            # gradients too.
            other = gradients + (how.held(built, *others[0]).most if others else 0)
        else:
            other = 0
    total = (weights + gradients + moments + held + other) / MB
    available = machine.available(model) if gpu == machine.has_gpu(model) else machine.mem_mb.get(model)
    return {
        "model": model,
        "device": "gpu" if gpu else "cpu",
        "precision": "bf16" if bf16 else "fp32",
        "batch": largest[0],
        "length": largest[1],
        "weights_mb": weights / MB,
        "gradients_mb": gradients / MB,
        "moments_mb": moments / MB,
        "activations_mb": held / MB,
        "other_mb": other / MB,
        "total_mb": total,
        "available_mb": available,
        "enough": None if available is None else total <= available,
    }


def _model(job: Work, how: memory.Conditions, layers: int | None = None) -> PreTrainedModel:
    """The model that a training builds, without values; with so many ``layers``, or with its own."""
    training, source = job["training"], Path(job["source"])
    assert training is not None
    dropout, labels = training["settings"]["dropout"], training["labels"]
    if training["tune"] in heads.ON_FEATURES:
        return heads.Head(
            heads.HeadConfig(
                input_size=_width(job),
                hidden_size=training["hidden_size"] or 0,
                dropout=dropout or 0.0,
                num_labels=labels,
            )
        )
    depth = job["layers"] if layers is None else layers
    build = partial(classifier.architecture, source, labels=labels, layers=depth, dropout=dropout)
    if not training["lora"]:
        return build(device="cpu")
    lora = Lora.of(training["lora"])

    def adapted() -> PreTrainedModel:
        model = adapters.add(build(device="meta"), lora, seed=0)
        if how.bf16:
            adapters.compute_in_bf16(model)
        return model

    return memory.built_outside(adapted)


def _width(job: Work) -> int:
    """Size of the features that a head takes."""
    training = job["training"]
    assert training is not None
    assert training["features"] is not None
    return len(FEATURES[training["features"]]) * int(classifier.read_config(Path(job["source"])).hidden_size)


def _by_size(job: Work, how: memory.Conditions, width: int | None, shapes: Any) -> list[tuple[int, int]]:
    """The shapes, those first that hold most: told from two layers where there are more, since many take long."""
    depth = 0 if width is not None else _model(job, how).config.num_hidden_layers
    lora = job["training"] and job["training"]["lora"]
    count = None
    if depth > 2 and not (lora and Lora.of(lora).numbered):
        with suppress(UserError):  # a family that cannot be cut, or an adapter beside none of the first layers
            one, two = (memory.KeptCount.of(_model(job, how, layers), how) for layers in (1, 2))
            count = one.deeper(two, depth)
    if count is None:
        count = memory.KeptCount.of(_model(job, how), how, width)
    pairs = [(batch, length) for batch, length in shapes.tolist()]
    return sorted(pairs, key=lambda shape: count.of_pass(*shape), reverse=True)


def _data(job: Work, width: int | None) -> int:
    """Bytes of the train set: features while they are read, which is twice, or token ids and types."""
    lengths = read_table(job["tokens"], ["length"])["length"].to_numpy()
    return 2 * 4 * width * len(lengths) if width is not None else 2 * 4 * int(lengths.sum())
