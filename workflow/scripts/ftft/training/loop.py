"""The training loop: one for reference and main models, whole or a head on frozen features.

``train`` reads like the method: take a step, record what the model says of the examples, score the dev sets now and
then, and stop when the rules say so. What a step is, is in ``step``; what is said about it, in ``journal``; how an
interrupted run goes on, in ``resuming``; what a run leaves, in ``outputs``.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ftft.core.errors import InterruptedRunError
from ftft.jobs import manifest
from ftft.jobs.environment import Runtime
from ftft.training import outputs, resuming
from ftft.training.run import Run
from ftft.training.settings import Files


def train(
    cfg: dict[str, Any],
    files: Files,
    *,
    seed: int,
    runtime: Runtime | None = None,
    threads: int | None = None,
    code: str = "",
    title: str = "train",
) -> None:
    """Fine-tune one model and write its saved models, dev curve, cost and, if asked for, training dynamics.

    Args:
        cfg: see ``Settings``.
        files: what to read and write.
        seed: decides the new head's weights, the order of examples and the dropout masks.
        runtime: see ``Runtime``; changes nothing but speed and display.
        threads: CPU threads.
        code: hash of the code; a state of other code is not resumed from.
        title: name of the run in the log and on the progress bar.

    Raises:
        UserError: the loss or a weight is not finite, memory runs out, or an input is wrong.
        InterruptedRunError: SIGTERM, SIGINT or SIGUSR1 arrived; the state is saved and the same call continues.
    """
    started = time.perf_counter()
    run = Run(cfg, files, seed, runtime or Runtime(), threads, title)
    packages = run.settings.lora.packages if run.settings.lora is not None else []
    made_from = manifest.describe(cfg, seed, code, files.inputs, packages) | {"precision": run.precision}
    resuming.resume(run, manifest.fingerprint(made_from))
    run.state.meter.stages["start"].seconds += time.perf_counter() - started
    with _signals() as asked_to_stop, run.journal.begin(run.state), run.journal.lines_above():
        saved = time.monotonic()
        while not run.over:
            if not run.state.due:  # else an evaluation was interrupted
                run.advance()
            if run.state.due:
                run.evaluate(asked_to_stop)
            stop = bool(run.state.due) or run.agreed(asked_to_stop())
            late = run.agreed(time.monotonic() - saved >= 60 * run.runtime.checkpoint_minutes)
            if (late or stop) and not run.over:
                resuming.save(run)
                saved = time.monotonic()
            if stop and not run.over:
                raise InterruptedRunError(
                    f"{title}: asked to stop at step {run.state.step}; the state is saved, start it again to go on"
                )
        run.journal.fetch(run.state)
    outputs.write(run, made_from)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """While the block runs, SIGTERM, SIGINT and SIGUSR1 are only noted, so that a step is never cut in two."""
    noted: list[int] = []
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in watched}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
