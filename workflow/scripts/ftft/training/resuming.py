"""Going on with a run that was interrupted: what its state consists of, saved now and then and read at its start."""

import logging

import numpy as np

from ftft.models import adapters
from ftft.training import checkpointing
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
    # What fitted into memory, and what several processes share now.
    sizes = [size for size in (saved["micro_batch_size"], run.step.micro_batch_size) if size is not None]
    run.step.micro_batch_size = min(sizes, default=None)
    if run.recorder is not None:
        run.recorder.restore(saved["dynamics"], main_process=run.accelerator.is_main_process)
    log.info("%s: going on from step %d of %d", run.title, run.state.step, run.steps)


def save(run: Run) -> None:
    """Write everything that the rest of the run depends on."""
    run.journal.fetch(run.state)  # a run whose loss is not finite must not be resumed from here
    with run.state.meter.measure("save"):
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
