"""The scores of a run on its dev sets: which are due, and what they are."""

from collections.abc import Callable
from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedModel

from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount
from ftft.compute.prediction import predict
from ftft.evaluation import metrics
from ftft.training.inputs import Inputs, watches
from ftft.training.state import State


class AskedToStopError(Exception):
    """Ends an evaluation, which begins anew when the run goes on."""


class Scoring:
    """Scores the dev sets of a run.

    Args:
        model, inputs, accelerator, title: of the run.
        flops: operations of a pass.
        evaluate_every: steps between looks at all dev sets.
        steps_per_epoch: of the run.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Inputs,
        accelerator: Accelerator,
        flops: FlopCount,
        *,
        evaluate_every: int,
        steps_per_epoch: int,
        title: str,
    ) -> None:
        self.model, self.inputs, self.accelerator, self.flops = model, inputs, accelerator, flops
        self.evaluate_every, self.steps_per_epoch, self.title = evaluate_every, steps_per_epoch, title

    def at_interval(self, state: State, finished: bool) -> bool:
        """Whether all dev sets are scored after this step."""
        return state.step % self.evaluate_every == 0 or finished

    def due(self, state: State, finished: bool) -> list[str]:
        """The dev sets to score after this step: at times all, in between those that a stop rule watches."""
        if self.at_interval(state, finished):
            return list(self.inputs.dev)
        looking = [stop for stop in state.stops.values() if stop.stopped is None and stop.looks_at(state.step)]
        return [name for name in self.inputs.dev if any(watches(stop.monitor, name) for stop in looking)]

    def score(
        self, state: State, asked_to_stop: Callable[[], bool], agreed: Callable[..., bool]
    ) -> tuple[list[dict[str, Any]], Stage]:
        """The rows of the dev curve for the dev sets that are due, and the work that they were.

        Raises:
            AskedToStopError: before it is done.
        """

        def go_on() -> None:
            if asked_to_stop():
                raise AskedToStopError

        alone = self.accelerator.num_processes == 1  # several have to end in the same place
        rows, stage, step = [], Stage(), state.step
        for name in state.due:
            if agreed(asked_to_stop(), now=True):
                raise AskedToStopError
            logits = predict(
                self.model,
                self.inputs.dev[name],
                self.accelerator,
                pad_id=self.inputs.pad_id,
                stage=stage,
                flops=self.flops,
                before_each=go_on if alone else None,
            )
            scores = metrics.scores(logits, self.inputs.dev[name].labels, f"{self.title}, step {step} on {name}")
            common = {"step": step, "epoch": step / self.steps_per_epoch, "dataset": name, "split": "dev"}
            rows += [common | {"metric": metric, "value": value} for metric, value in sorted(scores.items())]
        return rows, stage
