"""What a run leaves on the disk: the state from which it goes on, and its results."""

import logging
from typing import Any

import numpy as np

from ftft.jobs import manifest
from ftft.models import adapters
from ftft.models.saved import FINAL
from ftft.training import checkpointing, outputs
from ftft.training.run import Run
from ftft.training.state import State

log = logging.getLogger(__name__)


def resume(run: Run, fingerprint: str) -> None:
    """Continue from the newest state that belongs to this run, if there is one."""
    run.fingerprint = fingerprint
    saved = checkpointing.load(run.files.state, fingerprint)
    if saved is None:
        examples, dev = len(np.unique(run.inputs.rows)), len(run.inputs.dev)
        log.info(
            "%s: %d steps on %d examples, with %d dev sets scored every %d",
            run.title, run.steps, examples, dev, run.scoring.evaluate_every,
        )  # fmt: skip
        return
    run.state = State.restore(saved["state"])
    adapters.restore(run.model, saved["model"])
    run.step.update.optimizer.load_state_dict(saved["optimizer"])
    run.step.micro_batch_size = saved["micro_batch_size"]
    if run.recorder is not None:
        run.recorder.restore(saved["dynamics"], main_process=run.accelerator.is_main_process)
    log.info("%s: going on from step %d of %d", run.title, run.state.step, run.steps)


def save(run: Run) -> None:
    """Write everything that the rest of the run depends on."""
    with run.state.meter.measure("save"):
        run.journal.fetch(run.state)  # a run whose loss is not finite must not be resumed from here
        saved = {
            "fingerprint": run.fingerprint,
            "state": run.state.plain(),
            "model": adapters.weights(run.model),
            "optimizer": run.step.update.optimizer.state_dict(),
            "micro_batch_size": run.step.micro_batch_size,
            "dynamics": run.recorder.state() if run.recorder is not None else None,
        }
        if run.accelerator.is_main_process:
            checkpointing.save(run.files.state, run.state.step, saved)
        run.accelerator.wait_for_everyone()


def write(run: Run, made_from: dict[str, Any]) -> None:
    """Write the results, and from what they were made; then the state is no longer needed and goes.

    Only the main process does so: if it fails, the state is still there, and the run goes on from it.

    Raises:
        UserError: a weight is not finite; nothing is written then.
    """
    if not run.accelerator.is_main_process:
        return
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
    outputs.write_models(
        run.cfg,
        run.settings,
        run.files,
        run.inputs,
        state,
        run.model,
        seed=run.seed,
        precision=run.precision,
        title=run.title,
    )
    per_epoch = run.order.steps_per_epoch
    outputs.write_tables(run.files, state, steps=run.steps, steps_per_epoch=per_epoch, seed=run.seed)
    outputs.write_dynamics(run.recorder, run.files, run.settings.labels, seed=run.seed)
    run.journal.end()
    manifest.write(made_from, run.files.manifest)
    checkpointing.remove(run.files.state)
