"""What a run says while it goes on: the log, the bar, the tracker, and that a loss is none."""

import logging
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ftft.core.errors import UserError, named
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.jobs.environment import Runtime
from ftft.training.inputs import Inputs, Order, monitored
from ftft.training.settings import Settings
from ftft.training.state import State

log = logging.getLogger(__name__)

# Losses stay on the device until so many have gathered: fetching each would make the device wait for us.
FETCH_EVERY = 20
LOG_SECONDS = 60
CALMER = "lower learning_rate, raise warmup, or set precision: fp32"  # what helps against divergence


class Journal:
    """Follows the steps of a run.

    Args:
        settings, runtime, title, seed: of the run.
        inputs, order: to name the examples of a loss that is not finite.
        steps: of the whole run.
        accelerator: gathers losses, and speaks to the tracker.

    Attributes:
        losses: of the latest steps, on the device.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        inputs: Inputs,
        order: Order,
        accelerator: Accelerator,
        *,
        steps: int,
        title: str,
        seed: int,
    ) -> None:
        self.settings, self.runtime, self.inputs, self.order = settings, runtime, inputs, order
        self.accelerator, self.steps, self.title = accelerator, steps, title
        self.losses: list[torch.Tensor] = []
        self.logged = time.monotonic()
        self.bar = tqdm(disable=True)
        if runtime.tracker:
            accelerator.init_trackers("ftft", config={"run": title, "seed": seed, **vars(settings.training)})

    def begin(self, state: State) -> tqdm:
        """The bar that follows the run on a terminal; in files and pipes the lines of the log are enough."""
        self.bar = tqdm(
            desc=self.title,
            total=self.steps,
            initial=state.step,
            unit="step",
            smoothing=0.05,
            leave=False,
            dynamic_ncols=True,
            disable=not (self.runtime.progress and self.accelerator.is_main_process and sys.stderr.isatty()),
        )
        return self.bar

    def lines_above(self) -> AbstractContextManager[None]:
        """While the block runs, lines of the log appear above the bar, not in the midst of it."""
        return nullcontext() if self.bar.disable else logging_redirect_tqdm()

    def step(self, loss: torch.Tensor, state: State) -> None:
        """Note a step that was taken."""
        self.losses.append(loss)
        self.bar.update()
        if state.step % FETCH_EVERY == 0:
            self.fetch(state)

    def fetch(self, state: State) -> None:
        """Look at the losses since the last time. This is where the host waits for the device, which is training too.

        Raises:
            UserError: one is not finite.
        """
        if not self.losses:
            return
        with state.meter.measure("train"):
            losses = torch.stack(self.losses)
            if self.accelerator.num_processes > 1:
                losses = self.accelerator.reduce(losses, "sum")
            values = losses.cpu().numpy()
        first = state.step - len(values)
        if not np.isfinite(values).all():
            step = first + int(np.argmin(np.isfinite(values)))
            uids = self.inputs.data.uids.take(pa.array(self.order.batch(step))).to_pylist()
            raise UserError(
                f"{self.title}: the loss is {values[step - first]} at step {step + 1}, on the examples {named(uids)}: "
                f"{CALMER}"
            )
        self.losses.clear()
        state.loss = float(values.mean())
        self.bar.set_postfix(loss=f"{state.loss:.3f}", refresh=False)
        if time.monotonic() - self.logged > LOG_SECONDS:
            self.progress(state)
        if self.runtime.tracker:
            rate = state.schedule.rate(state.step - 1)
            self.accelerator.log({"loss": state.loss, "learning_rate": rate}, state.step)

    def scored(self, state: State) -> None:
        """Note an evaluation."""
        self.progress(state)
        if self.runtime.tracker:
            dev = _dev_scores(state.curve, self.settings.metric)
            self.accelerator.log({f"dev/{name}": float(value) for name, value in dev.items()}, state.step)

    def progress(self, state: State) -> None:
        """A line in the log: where the run is, how it does and how long it will take."""
        self.logged = time.monotonic()
        train = state.meter.stages["train"]
        rate = train.examples / max(train.seconds, 1e-9)
        left = tqdm.format_interval(self.seconds_left(state))
        dev = _dev_scores(state.curve, self.settings.metric)
        shown = "".join(f" {name} {value}" for name, value in dev.items())
        log.info(
            "%s: step %d/%d epoch %.2f loss %.3f%s (%.1f examples/s, %s left)",
            self.title, state.step, self.steps, state.step / self.order.steps_per_epoch, state.loss, shown, rate, left,
        )  # fmt: skip

    def seconds_left(self, state: State) -> float:
        """Until the last step, at the pace so far, evaluations included; less where a stop rule ends the run."""
        spent = sum(state.meter.stages[stage].seconds for stage in ("train", "evaluate"))
        return spent / max(state.step, 1) * (self.steps - state.step)

    def end(self) -> None:
        """Close the tracker."""
        if self.runtime.tracker:
            self.accelerator.end_training()


def _dev_scores(curve: list[dict[str, Any]], metric: str) -> dict[str, str]:
    """The latest dev scores for display: in-distribution, and the mean over OOD sets."""
    last = curve[-1]["step"] if curve else None
    scores = {row["dataset"]: row["value"] for row in curve if row["step"] == last and row["metric"] == metric}
    shown = {"dev": f"{scores[IN_DISTRIBUTION]:.3f}"} if IN_DISTRIBUTION in scores else {}
    if len(scores) > 1:
        shown["ood_dev"] = f"{monitored(scores, 'ood_dev'):.3f}"
    return shown
