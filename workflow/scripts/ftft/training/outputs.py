"""What a run leaves: saved models with their cards, dev curve, cost table, training dynamics and manifest."""

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
from ftft.jobs import manifest
from ftft.models import adapters, card, classifier, pretrained
from ftft.models.saved import FINAL
from ftft.training.journal import CALMER
from ftft.training.run import Run
from ftft.training.state import Weights

log = logging.getLogger(__name__)


def write(run: Run, made_from: dict[str, Any]) -> None:
    """Write the results, and from what they were made.

    Only the main process does so. If it fails, the state is still there, and the run goes on from it.

    Raises:
        UserError: a weight is not finite; nothing is written then.
    """
    if not run.accelerator.is_main_process:
        return
    _conclude(run)
    _write_models(run)
    _write_tables(run)
    _write_dynamics(run)
    run.journal.end()
    manifest.write(made_from, run.files.manifest)


def _conclude(run: Run) -> None:
    """Keep the last weights where a model of them is to be saved, and note the costs that are not noted yet."""
    state, stop = run.state, run.state.reference_stop
    if run.settings.final:
        run.charge(FINAL)
        state.best[FINAL] = adapters.weights(run.model)
    for name, rule in state.stops.items():
        if rule.stopped is None:  # the run ended before the rule fired
            run.charge(name)
    if run.recording and stop is not None:
        run.charge(stop.name)
        if not run.settings.final:
            state.best[stop.name] = adapters.weights(run.model)


def _write_models(run: Run) -> None:
    """Save the best models, each with its card, unless one of them has diverged."""
    for name in sorted(run.state.best):
        _check(run, name)
    for name in sorted(run.state.best):
        _write_model(run, name)


def _write_model(run: Run, name: str) -> None:
    step = run.state.step_of(name)
    model, weights = _saved_as(run, run.state.best[name])
    text = card.text(
        pretrained.read_source(run.files.source),
        run.cfg,
        title=run.title,
        step=step,
        examples=len(np.unique(run.inputs.rows)),
        of=len(run.inputs.data),
        curve=[row for row in run.state.curve if row["step"] == step],
        precision=run.precision,
    )
    classifier.save(model, weights, run.files.source, run.files.models / name, text)


def _check(run: Run, name: str) -> None:
    """Refuse a saved model that has diverged; warn of one that has learned to say one thing."""
    step = run.state.step_of(name)
    lost = [key for key, value in run.state.best[name].items() if not torch.isfinite(value).all()]
    if lost:
        raise UserError(f"{run.title}: {len(lost)} weights of step {step}, such as {lost[0]}, are not finite: {CALMER}")
    rows = [row for row in run.state.curve if row["step"] == step and row["metric"] == "predicted_classes"]
    if rows and all(row["value"] == 1 for row in rows):
        log.warning(
            "%s: the model %s of step %d predicts one class on every dev set: it has learned nothing",
            run.title, name, step,
        )  # fmt: skip


def _saved_as(run: Run, weights: Weights) -> tuple[PreTrainedModel, Weights]:
    """The model that is saved and its weights, of those that a run has kept: a probe gets back its frozen encoder."""
    settings = run.settings
    merges = settings.lora is not None and settings.lora.merge
    if settings.tune != "probe" and not merges:
        return run.model, weights
    whole = classifier.build(run.files.source, settings.labels, seed=run.seed, layers=settings.layers)
    if merges:
        whole.config = run.model.config
        whole = adapters.merged(run.model, weights, whole)
        return whole, whole.state_dict()
    return whole, whole.state_dict() | weights


def _write_tables(run: Run) -> None:
    """Write the dev curve, whose metadata say which step each saved model is of, and the cost table."""
    state = run.state
    metadata = {"steps": str(run.steps), "last_step": str(state.step), "seed": str(run.seed)}
    metadata["steps_per_epoch"] = str(run.order.steps_per_epoch)
    metadata["checkpoints"] = json.dumps({name: state.step_of(name) for name in sorted(state.best)})
    artifacts.write_table(pa.Table.from_pylist(state.curve, METRICS), run.files.metrics, METRICS, metadata)
    artifacts.write_table(pa.Table.from_pylist(state.costs, COST), run.files.cost, COST)


def _write_dynamics(run: Run) -> None:
    """Write the training dynamics, if they were recorded."""
    if run.recorder is None or run.files.dynamics is None:
        return
    facts = {"labels": json.dumps(run.settings.labels), "seed": str(run.seed)}
    made_from = artifacts.read_metadata(run.files.train)
    facts |= {key: value for key, value in made_from.items() if key == "content_hash"}
    run.recorder.write(run.files.dynamics, facts)
