"""What a run leaves: saved models with their cards, the dev curve, the cost table and the training dynamics."""

import json
import logging
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from ftft.compute.schemas import COST
from ftft.core import artifacts
from ftft.core.errors import UserError
from ftft.evaluation.schemas import METRICS
from ftft.models import adapters, card, classifier, pretrained
from ftft.training.inputs import Inputs
from ftft.training.journal import CALMER
from ftft.training.recorder import DynamicsRecorder
from ftft.training.settings import Files, Settings
from ftft.training.state import State, Weights

log = logging.getLogger(__name__)


def write_models(
    cfg: dict[str, Any],
    settings: Settings,
    files: Files,
    inputs: Inputs,
    state: State,
    model: PreTrainedModel,
    *,
    seed: int,
    precision: str,
    title: str,
) -> None:
    """Save the best models, each with a card that shows ``cfg``, what ``settings`` were made of.

    Raises:
        UserError: a weight is not finite; nothing is written then.
    """
    for name in sorted(state.best):
        _check(name, state, title)
    for name in sorted(state.best):
        whole, weights = _saved_as(settings, files, model, state.best[name], seed)
        text = card.text(
            pretrained.read_source(files.source),
            cfg,
            title=title,
            step=state.step_of(name),
            examples=len(np.unique(inputs.rows)),
            of=len(inputs.data),
            curve=[row for row in state.curve if row["step"] == state.step_of(name)],
            precision=precision,
        )
        classifier.save(whole, weights, files.source, files.models / name, text)


def write_tables(files: Files, state: State, *, steps: int, steps_per_epoch: int, seed: int) -> None:
    """Write the dev curve, whose metadata say which step each saved model is of, and the cost table."""
    metadata = {"steps": str(steps), "last_step": str(state.step), "seed": str(seed)}
    metadata["steps_per_epoch"] = str(steps_per_epoch)
    metadata["checkpoints"] = json.dumps({name: state.step_of(name) for name in sorted(state.best)})
    artifacts.write_table(pa.Table.from_pylist(state.curve, METRICS), files.metrics, METRICS, metadata)
    artifacts.write_table(pa.Table.from_pylist(state.costs, COST), files.cost, COST)


def write_dynamics(recorder: DynamicsRecorder | None, files: Files, labels: list[str], *, seed: int) -> None:
    """Write the training dynamics, if they were recorded."""
    if recorder is None or files.dynamics is None:
        return
    facts = {"labels": json.dumps(labels), "seed": str(seed)}
    made_from = artifacts.read_metadata(files.train)
    facts |= {key: value for key, value in made_from.items() if key == "content_hash"}
    recorder.write(files.dynamics, facts)


def _check(name: str, state: State, title: str) -> None:
    """Refuse a saved model that has diverged; warn of one that has learned to say one thing."""
    step = state.step_of(name)
    lost = [key for key, value in state.best[name].items() if not torch.isfinite(value).all()]
    if lost:
        raise UserError(f"{title}: {len(lost)} weights of step {step}, such as {lost[0]}, are not finite: {CALMER}")
    rows = [row for row in state.curve if row["step"] == step and row["metric"] == "predicted_classes"]
    if rows and all(row["value"] == 1 for row in rows):
        log.warning(
            "%s: the model %s of step %d predicts one class on every dev set: it has learned nothing",
            title, name, step,
        )  # fmt: skip


def _saved_as(
    settings: Settings, files: Files, model: PreTrainedModel, weights: Weights, seed: int
) -> tuple[PreTrainedModel, Weights]:
    """The model that is saved and its weights, of those that a run has kept: a probe gets back its frozen encoder."""
    merges = settings.lora is not None and settings.lora.merge
    if settings.tune != "probe" and not merges:
        return model, weights
    whole = classifier.build(files.source, settings.labels, seed=seed, layers=settings.layers)
    if merges:
        whole.config = model.config
        whole = adapters.merged(model, weights, whole)
        return whole, whole.state_dict()
    return whole, whole.state_dict() | weights
