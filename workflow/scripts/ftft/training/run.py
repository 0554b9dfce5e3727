"""A training run: its parts, what changes while it goes on, and what can be done with it."""

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from ftft.compute import devices
from ftft.compute.batching import FeatureDataset
from ftft.core.errors import UserError
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.jobs.environment import Runtime
from ftft.models import adapters, classifier, heads, quantization
from ftft.models.saved import FINAL
from ftft.training import steps
from ftft.training.inputs import Inputs, Order, monitored
from ftft.training.journal import FETCH_EVERY, Journal
from ftft.training.recorder import DynamicsRecorder
from ftft.training.schedule import Schedule
from ftft.training.scoring import AskedToStopError, Scoring
from ftft.training.settings import Files, Settings
from ftft.training.state import State, Weights
from ftft.training.step import Step
from ftft.training.stopping import EarlyStopping, RankingStop

log = logging.getLogger(__name__)


class Run:
    """A training run and what can be done with it.

    Args:
        cfg, files, seed, threads, title: see ``loop.train``.
        runtime: what changes only speed and display.
    """

    def __init__(
        self, cfg: dict[str, Any], files: Files, seed: int, runtime: Runtime, threads: int | None, title: str
    ) -> None:
        self.cfg, self.files, self.seed, self.runtime, self.title = cfg, files, seed, runtime, title
        self.settings = settings = Settings.of(cfg)
        training = settings.training
        self.accelerator = devices.accelerator(
            runtime.device,
            training.precision,
            threads=threads,
            tracker=runtime.tracker,
            tracker_folder=files.metrics.parent / "tracker",
        )
        self.precision = devices.precision(self.accelerator)
        self.inputs = Inputs.read(settings, files, self.accelerator.device, title)
        self.order = Order(self.inputs, training, seed)
        planned = training.planned(len(self.inputs.data))
        self.steps = steps.budgeted(planned, settings.budget)
        self.model = _build(settings, files, self.inputs, seed, self.accelerator.device, self.precision)
        self.step = Step(
            self.model,
            self.inputs,
            training,
            self.accelerator,
            runtime,
            seed=seed,
            steps=self.steps,
            title=title,
        )
        self.scoring = Scoring(
            self.model,
            self.inputs,
            self.accelerator,
            self.step.flops,
            evaluate_every=training.between_evaluations(planned),
            steps_per_epoch=self.order.steps_per_epoch,
            title=title,
        )
        self.state = _begin(settings, self.inputs, self.steps)
        _check_budget(self, planned)
        self.recorder = (
            DynamicsRecorder(len(self.inputs.data), len(settings.labels), self.accelerator)
            if files.dynamics is not None
            else None
        )
        self.journal = Journal(
            settings,
            runtime,
            self.inputs,
            self.order,
            self.accelerator,
            steps=self.steps,
            title=title,
            seed=seed,
        )
        self.fingerprint = ""  # of what it is made from, once known

    @property
    def finished(self) -> bool:
        """All steps are done, or every stop rule has fired and nobody wants the final model."""
        rules: list[EarlyStopping | RankingStop] = [*self.state.stops.values()]
        rules += [self.state.reference_stop] if self.state.reference_stop else []
        stopped = all(rule.stopped is not None for rule in rules)
        return self.state.step >= self.steps or (bool(rules) and stopped and not self.settings.final)

    @property
    def over(self) -> bool:
        """Nothing is left to do but to write the results."""
        return self.finished and not self.state.due

    @property
    def recording(self) -> DynamicsRecorder | None:
        """What records the training dynamics, until the reference has stopped."""
        stop = self.state.reference_stop
        return None if stop is not None and stop.stopped is not None else self.recorder

    def advance(self) -> None:
        """Take a step."""
        state, recorder, settled = self.state, self.recording, None
        with state.meter.measure("train") as stage:
            batch, rate = self.order.batch(state.step), state.schedule.rate(state.step)
            loss = self.step.take(state.step, batch, rate, stage, recorder)
            state.step += 1
            if recorder is not None and state.step % self.order.steps_per_epoch == 0:
                settled = self._end_epoch(recorder)
        self.journal.step(loss, state)
        if settled is not None:  # the dynamics end here; without a main model, the weights are those of now
            self.journal.fetch(state)
            self.charge(settled.name)
            if not self.settings.final:
                state.best[settled.name] = self.weights()
        state.due = self.scoring.due(state, self.finished) if settled is None else list(self.inputs.dev)

    def _end_epoch(self, recorder: DynamicsRecorder) -> RankingStop | None:
        """The rule by which one epoch more no longer changes how the dynamics rank the examples, if there is one."""
        recorder.end_epoch()
        stop, data = self.state.reference_stop, self.inputs.data
        if stop is None:
            return None
        stop.update(self.state.step, [epoch.numpy() for epoch in recorder.epochs], data.labels, data.uids)
        if not math.isnan(stop.agreement):
            log.info("%s: %s of two epochs agrees to %.3f", self.title, stop.monitor, stop.agreement)
        return None if stop.stopped is None else stop

    def evaluate(self, asked_to_stop: Callable[[], bool] = lambda: False) -> None:
        """Score the dev sets that are due, and let the stop rules and the schedule know.

        Asked to stop, it leaves everything as it was before: what was due still is.
        """
        state, whole = self.state, self.scoring.at_interval(self.state, self.finished)
        self.journal.fetch(state)
        with state.meter.measure("evaluate"):
            try:
                rows, stage = self.scoring.score(state, asked_to_stop, self.agreed)
            except AskedToStopError:
                return
        state.meter.stages["evaluate"].add(stage)
        state.curve += rows
        state.due = []
        scores = {row["dataset"]: row["value"] for row in rows if row["metric"] == self.settings.metric}
        for name, stop in state.stops.items():
            looks = stop.looks_at(state.step) or (whole and (stop.every is None or self.finished))
            if stop.stopped is not None or not looks:  # what a rule watches is scored as long as it looks
                continue
            if stop.update(state.step, monitored(scores, stop.monitor)):
                state.best[name] = self.weights()
            if stop.stopped is not None:
                log.info("%s: %s stops at step %d; best was step %d", self.title, name, state.step, stop.best_step)
                self.charge(name)
        if whole:
            state.schedule.observe(state.step, scores[IN_DISTRIBUTION])
        self.journal.scored(state)

    def agreed(self, wanted: bool, *, now: bool = False) -> bool:
        """Whether any process wants it; several processes ask each other only now and then, unless it is ``now``."""
        if self.accelerator.num_processes == 1:
            return wanted
        if self.state.step % FETCH_EVERY and not now:
            return False
        return bool(self.accelerator.reduce(torch.tensor(float(wanted), device=self.accelerator.device), "sum") > 0)

    def weights(self) -> Weights:
        """A copy in main memory of the model's weights that a saved model has."""
        return {key: value.detach().cpu().clone() for key, value in adapters.weights(self.model).items()}

    def charge(self, name: str) -> None:
        """Note what the run has cost up to a saved model."""
        device = self.accelerator.device
        self.state.costs += self.state.meter.rows(name, devices.name(device), self.precision, devices.peak_mb(device))


def _build(
    settings: Settings, files: Files, inputs: Inputs, seed: int, device: torch.device, precision: str
) -> PreTrainedModel:
    """The model to train, with its weights at the start, on its device."""
    dropout, labels = settings.training.dropout, settings.labels
    four_bits = None
    if settings.lora is not None and settings.lora.quantize:
        quantization.check(device)
        four_bits = torch.bfloat16 if precision == "bf16" else torch.float32
    model: PreTrainedModel
    if settings.tune == "head":
        assert isinstance(inputs.data, FeatureDataset)
        size, features = settings.hidden_size, settings.features
        model = heads.build(inputs.data.values, features, labels, seed=seed, hidden_size=size, dropout=dropout)
    else:
        model = classifier.build(
            files.source,
            labels,
            seed=seed,
            layers=settings.layers,
            dropout=dropout,
            attention=devices.attention(device),
            start=files.start / FINAL if files.start else None,
            four_bits=four_bits,
        )
        model = heads.probe(model) if settings.tune == "probe" else model
        if settings.lora is not None:
            adapters.add(model, settings.lora, seed=seed)
            if names := adapters.without_adapter(model):
                log.warning(
                    "%d weights of %s that are many matrices in one, such as %s, get no adapter and stay in fp32",
                    len(names), model.config.model_type, names[0],
                )  # fmt: skip
            if precision == "bf16":
                adapters.compute_in_bf16(model)
    model.to(device)  # type: ignore[arg-type]
    model.train()
    return model


def _begin(settings: Settings, inputs: Inputs, steps: int) -> State:
    """The state before the first step."""
    training = settings.training
    return State(
        schedule=Schedule(
            kind=training.schedule,
            peak=training.learning_rate,
            warmup=training.warmup_of(steps),
            steps=steps,
        ),
        stops={
            name: EarlyStopping(**stop, chance=inputs.chance(settings, stop["monitor"]))
            for name, stop in settings.stops.items()
        },
        reference_stop=RankingStop(**settings.reference_stop) if settings.reference_stop else None,
    )


def _check_budget(run: Run, planned: int) -> None:
    """What can be checked before the run only where the number of steps is in the configuration."""
    looks = [stop.every for stop in run.state.stops.values() if stop.every]
    first = min([run.scoring.evaluate_every, *looks])
    if run.settings.budget < 1 and run.steps < first:
        raise UserError(
            f"{run.title}: budget {run.settings.budget:g} is {run.steps} of {planned} steps, fewer than the "
            f"{first} to the first evaluation: raise budget, or lower training.evaluate_every"
        )
