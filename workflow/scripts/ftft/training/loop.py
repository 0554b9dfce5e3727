"""The training loop: one for reference and main models, whole or a head on frozen features.

Batches and dropout masks are pure functions of seed and step, and the micro-batch is the unit of both. So a run goes on
from a checkpoint exactly as if it had not been interrupted, and several processes compute what one would.
"""

import json
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PreTrainedModel

from ftft.compute import devices, graphs, kernels
from ftft.compute.batching import Examples, FeatureDataset, TokenizedDataset, epoch_batches, fixed_rows, micro_batches
from ftft.compute.cost import CostMeter, Stage, peak_memory_mb
from ftft.compute.flops import FlopCount
from ftft.compute.prediction import predict
from ftft.compute.schemas import COST
from ftft.core import artifacts
from ftft.core.errors import InterruptedRunError, UserError, named
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.dynamics import guidance
from ftft.dynamics.recorder import DynamicsRecorder
from ftft.dynamics.schemas import read_subset
from ftft.evaluation import metrics
from ftft.evaluation.schemas import METRICS
from ftft.jobs import manifest
from ftft.models import card, classifier, heads, pretrained
from ftft.models.saved import FINAL
from ftft.training import checkpointing, steps
from ftft.training.stopping import EarlyStopping, RankingStop, Schedule

log = logging.getLogger(__name__)

# Losses stay on the device until so many have gathered: fetching each would make the device wait for us.
FETCH_EVERY = 20
# Passes after which freed memory goes back to the system; each time, what is needed again has to be asked for anew.
GIVE_BACK_EVERY = 32
LOG_SECONDS = 60
NO_LABEL = -100  # of a row that only fills a pass up to its size
CALMER = "lower learning_rate, raise warmup, or set precision: fp32"  # what helps against divergence
# What ``config.Runtime`` has, for callers that leave something out.
RUNTIME = {
    "device": "auto",
    "tracker": None,
    "progress": True,
    "compile": "auto",
    "cuda_graphs": False,
    "checkpoint_minutes": 5.0,
}


@dataclass(frozen=True)
class Files:
    """What a run reads and writes.

    Attributes:
        source: folder of the prepared pretrained model.
        train: tokens to train on, or features of a frozen encoder.
        dev: the same of the dev sets, by dataset name; the in-distribution one is ``in_distribution``.
        subset: train only on these uids; None for all.
        guide: training dynamics of the reference that ``cfg`` upweights by or takes as an expert; None without.
        start: saved models of a run of which the last, ``FINAL``, is started from; None for the pretrained weights.
        models: folder that gets one saved model per checkpoint name.
        metrics: the dev curve.
        cost: the cost table.
        dynamics: the training dynamics, or None to record none.
        manifest: what the run was made from.
        state: folder for the state that an interrupted run resumes from.
    """

    source: Path
    train: Path
    dev: dict[str, Path]
    subset: Path | None
    guide: Path | None
    start: Path | None
    models: Path
    metrics: Path
    cost: Path
    dynamics: Path | None
    manifest: Path
    state: Path

    @property
    def inputs(self) -> list[Path]:
        """The files whose content decides the result."""
        chosen = [path for path in (self.subset, self.guide) if path is not None]
        chosen += sorted((self.start / FINAL).glob("*.safetensors")) if self.start else []
        return [self.source / "source.json", self.train, *self.dev.values(), *chosen]


def train(
    cfg: dict[str, Any],
    files: Files,
    *,
    seed: int,
    runtime: dict[str, Any] | None = None,
    threads: int | None = None,
    code: str = "",
    title: str = "train",
) -> None:
    """Fine-tune one model and write its checkpoints, dev curve, cost and, if asked for, training dynamics.

    Args:
        cfg: ``training`` (see ``config.Training``), ``budget`` (share of its steps), ``tune`` (``all``; ``head``, which
            trains a head of ``hidden_size`` on ``features``; or ``probe``, the architecture's own head on them),
            ``layers``, ``labels``, ``metric``, ``stops`` (name to ``config.Stop``: the best model by that rule is saved
            under the name), ``reference_stop`` (None, or a ``config.ReferenceStop`` and its ``name``: the training
            dynamics end when it fires), ``final`` (whether the model of the last step is wanted; without it, training
            ends when every stop rule has fired), ``upweight`` and ``product_of_experts`` (None, or see ``config``).
        files: what to read and write.
        seed: decides the new head's weights, the order of examples and the dropout masks.
        runtime: see ``config.Runtime``; changes nothing but speed and display.
        threads: CPU threads.
        code: hash of the code; a checkpoint of other code is not resumed from.
        title: name of the run in the log and on the progress bar.

    Raises:
        UserError: the loss or a weight is not finite, memory runs out, or an input is wrong.
        InterruptedRunError: SIGTERM, SIGINT or SIGUSR1 arrived; the state is saved and the same call continues.
    """
    runtime = RUNTIME | (runtime or {})
    started = time.perf_counter()
    run = _Run(cfg, files, seed, runtime, threads, title)
    made_from = manifest.describe(cfg, seed, code, files.inputs) | {"precision": run.precision}
    fingerprint = manifest.fingerprint(made_from)
    state = checkpointing.load(files.state, fingerprint)
    if state is not None:
        run.restore(state)
        log.info("%s: going on from step %d of %d", title, run.step, run.steps)
    else:
        log.info(
            "%s: %d steps on %d examples, with %d dev sets scored every %d",
            title, run.steps, len(np.unique(run.rows)), len(run.dev), run.evaluate_every,
        )  # fmt: skip
    run.meter.stages["start"].seconds += time.perf_counter() - started
    with _signals() as asked_to_stop, run.progress_bar() as bar, _lines_above(bar):
        saved = time.monotonic()
        while run.due or not run.finished:
            if not run.due:  # else an evaluation was interrupted
                with run.meter.measure("train"):
                    run.optimizer_step()
                bar.update()
                if run.step % FETCH_EVERY == 0:
                    run.fetch_losses(bar)
                run.due = run.dev_sets_due()
            if run.due:
                run.evaluate(bar, asked_to_stop)
            stop = bool(run.due) or run.agreed(asked_to_stop())
            late = run.agreed(time.monotonic() - saved >= 60 * runtime["checkpoint_minutes"])
            goes_on = run.due or not run.finished
            if (late or stop) and goes_on:
                with run.meter.measure("save"):
                    run.save(fingerprint)
                saved = time.monotonic()
            if stop and goes_on:
                raise InterruptedRunError(
                    f"{title}: asked to stop at step {run.step}; the state is saved, start it again to go on"
                )
        run.fetch_losses(bar)
    run.write()
    if run.main_process:
        manifest.write(made_from, files.manifest)
    checkpointing.remove(files.state)


class _AskedToStopError(Exception):
    """Ends an evaluation, which begins anew when the run goes on."""


class _Run:
    """The state of a training run and what can be done with it."""

    def __init__(
        self,
        cfg: dict[str, Any],
        files: Files,
        seed: int,
        runtime: dict[str, Any],
        threads: int | None,
        title: str,
    ) -> None:
        self.cfg, self.files, self.seed, self.runtime, self.title = cfg, files, seed, runtime, title
        self.training = cfg["training"]
        self.accelerator = devices.accelerator(
            runtime["device"],
            self.training["precision"],
            threads=threads,
            tracker=runtime["tracker"],
            tracker_folder=files.metrics.parent / "tracker",
        )
        self.precision = devices.precision(self.accelerator)
        self.main_process = self.accelerator.is_main_process
        source = pretrained.read_source(files.source)
        self.pad_id, self.limit = source["pad_id"], source["max_positions"]
        self.features = _features(cfg, files.source)
        self.data = _read(files.train, self.features)
        self.rows, self.expert = self._guided(_rows_of(self.data, files.subset))
        self.dev = {name: _read(path, self.features) for name, path in files.dev.items()}

        self.model = self._build().to(self.accelerator.device)
        self.model.train()
        width = self.data.values.shape[1] if isinstance(self.data, FeatureDataset) else None
        self.flops = FlopCount.of(self.model, width)
        if self.training["gradient_checkpointing"] and self.features is None:
            self.model.activation_checkpointing_enable()
        self.optimizer = _optimizer(self.model, self.training)

        self.batch_size = batch_size = self.training["batch_size"]
        self.steps_per_epoch = steps.per_epoch(len(self.rows), batch_size)
        planned = steps.planned(self.training, len(self.data))
        self.steps = steps.budgeted(planned, cfg["budget"])
        self.evaluate_every = steps.between_evaluations(self.training, planned)
        self.schedule = Schedule(
            kind=self.training["schedule"],
            peak=self.training["learning_rate"],
            warmup=steps.warmup(self.training, self.steps),
            steps=self.steps,
        )
        # A head is too small to gain by either; several processes exchange their gradients, which move.
        self.fixed = devices.records_passes(
            self.accelerator.device,
            wanted=runtime["cuda_graphs"]
            and self.features is None
            and self.accelerator.num_processes == 1
            and not self.training["gradient_checkpointing"],
        )
        wanted = runtime["compile"] if self.features is None and not self.fixed else False
        self.forward = devices.compiled(self.model, steps=self.steps, wanted=wanted)
        self.passes = self._passes()
        self.longest = int(self.data.lengths.max())
        eager_on_cpu = self.accelerator.device.type == "cpu" and self.forward is self.model
        self.kernels = kernels.fast_on_cpu if eager_on_cpu else nullcontext
        self.micro_batch_size = self.training["micro_batch_size"]
        self.micro_batch_tokens = devices.tokens_per_pass(self.accelerator.device, train=True)
        self.batches: tuple[int, list[np.ndarray]] | None = None

        self.step = 0
        self.due: list[str] = []  # dev sets to score before the next step
        self.taken = 0  # passes so far
        self.losses: list[torch.Tensor] = []
        self.loss = math.nan
        self.logged = time.monotonic()
        self.curve: list[dict[str, Any]] = []
        self.costs: list[dict[str, Any]] = []
        self.stops = {
            name: EarlyStopping(**stop, chance=self._chance(stop["monitor"])) for name, stop in cfg["stops"].items()
        }
        self._check_budget(planned)
        self.reference_stop = RankingStop(**cfg["reference_stop"]) if cfg["reference_stop"] else None
        self.best: dict[str, dict[str, torch.Tensor]] = {}
        self.meter = CostMeter()
        self.recorder = (
            DynamicsRecorder(len(self.data), len(cfg["labels"]), self.accelerator)
            if files.dynamics is not None
            else None
        )
        if runtime["tracker"]:
            self.accelerator.init_trackers("ftft", config={"run": title, "seed": seed, **self.training})

    def _build(self) -> PreTrainedModel:
        """The model to train, with its weights at the start."""
        dropout, labels = self.training["dropout"], self.cfg["labels"]
        if self.cfg["tune"] == "head":
            assert isinstance(self.data, FeatureDataset)
            size, features = self.cfg["hidden_size"], self.cfg["features"]
            return heads.build(self.data.values, features, labels, seed=self.seed, hidden_size=size, dropout=dropout)
        whole = classifier.build(
            self.files.source,
            labels,
            seed=self.seed,
            layers=self.cfg["layers"],
            dropout=dropout,
            attention=devices.attention(self.accelerator.device),
            start=self.files.start / FINAL if self.files.start else None,
        )
        return heads.probe(whole) if self.cfg["tune"] == "probe" else whole

    def _passes(self) -> graphs.Passes:
        if self.fixed:
            return graphs.Recorded(self._compute, [each for each in self.model.parameters() if each.requires_grad])
        return graphs.Eager(self._compute)

    def _chance(self, monitor: str) -> float:
        """The score that ``monitor`` names, of a model that predicts one class: the most common of each dev set."""
        watched = {name: data.labels for name, data in self.dev.items() if watches(monitor, name)}
        n_labels, metric = len(self.cfg["labels"]), self.cfg["metric"]
        return monitored({name: metrics.chance(labels, n_labels)[metric] for name, labels in watched.items()}, monitor)

    def _check_budget(self, planned: int) -> None:
        """What can be checked before the run only where the number of steps is in the configuration."""
        looks = [stop.every for stop in self.stops.values() if stop.every]
        first = min([self.evaluate_every, *looks])
        if self.cfg["budget"] < 1 and self.steps < first:
            raise UserError(
                f"{self.title}: budget {self.cfg['budget']:g} is {self.steps} of {planned} steps, fewer than the "
                f"{first} to the first evaluation: raise budget, or lower training.evaluate_every"
            )

    def _guided(self, rows: np.ndarray) -> tuple[np.ndarray, torch.Tensor | None]:
        """The rows to train on as the reference weighs them, and its (N, C) log probabilities as an expert, if any."""
        for key in ("upweight", "product_of_experts"):
            if self.cfg[key] is None:
                continue
            assert self.files.guide is not None
            logits = guidance.read_epoch(self.files.guide, len(self.data), self.cfg[key]["epoch"], f"{key}.epoch")
            if key == "product_of_experts":
                return rows, torch.from_numpy(guidance.expert(logits)).to(self.accelerator.device)
            wrong = guidance.wrong_predictions(logits, self.data.labels)
            log.info("%s: the reference gets %d of %d examples wrong", self.title, wrong.sum(), len(wrong))
            return guidance.upweighted(rows, wrong, self.cfg[key]["factor"]), None
        return rows, None

    @property
    def finished(self) -> bool:
        """All steps are done, or every stop rule has fired and nobody wants the final model."""
        rules: list[EarlyStopping | RankingStop] = [*self.stops.values()]
        rules += [self.reference_stop] if self.reference_stop else []
        stopped = all(rule.stopped is not None for rule in rules)
        return self.step >= self.steps or (bool(rules) and stopped and not self.cfg["final"])

    @property
    def recording(self) -> DynamicsRecorder | None:
        """What records the training dynamics, until the reference has stopped."""
        stopped = self.reference_stop is not None and self.reference_stop.stopped is not None
        return None if stopped else self.recorder

    @property
    def epoch(self) -> float:
        """Passes over the examples trained on so far."""
        return self.step / self.steps_per_epoch

    def batch(self, step: int) -> np.ndarray:
        """The rows of the batch of ``step``, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self.batches is None or self.batches[0] != epoch:
            batches = epoch_batches(
                self.rows,
                self.data.lengths[self.rows],
                batch_size=self.training["batch_size"],
                window=self.training["length_window"],
                seed=self.seed,
                epoch=epoch,
            )
            self.batches = (epoch, batches)
        return self.batches[1][position]

    def optimizer_step(self) -> None:
        """One step of the optimizer on one batch, in as many micro-batches as fit into memory."""
        batch = self.batch(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        while True:
            try:
                with self.kernels():
                    self.losses.append(self._forward_backward(batch))
                break
            except torch.OutOfMemoryError:
                self._halve_micro_batch(len(batch))
        if self.accelerator.num_processes > 1:
            self._sum_gradients()
        if self.training["max_grad_norm"]:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training["max_grad_norm"])
        self.optimizer.step()
        self._zero_gradients()
        self.step += 1
        recorder = self.recording
        if recorder is not None and self.step % self.steps_per_epoch == 0:
            recorder.end_epoch()
            self._compare_epochs(recorder)

    def _compare_epochs(self, recorder: DynamicsRecorder) -> None:
        """See whether one epoch more still changes how the dynamics rank the examples."""
        stop = self.reference_stop
        if stop is None:
            return
        stop.update(self.step, [epoch.numpy() for epoch in recorder.epochs], self.data.labels, self.data.uids)
        if not math.isnan(stop.agreement):
            log.info("%s: %s of two epochs agrees to %.3f", self.title, stop.monitor, stop.agreement)
        if stop.stopped is not None:
            self._charge(stop.name)
            if not self.cfg["final"]:
                self.best[stop.name] = self._weights()

    def _forward_backward(self, batch: np.ndarray) -> torch.Tensor:
        """Add up the gradients of the batch's mean loss over its micro-batches; returns that loss."""
        device, stage = self.accelerator.device, self.meter.stages["train"]
        size, tokens = self.micro_batch_size, self.micro_batch_tokens
        pieces = list(enumerate(micro_batches(batch, self.data.lengths, size=size, tokens=tokens)))
        total, recorder, shapes = torch.zeros((), device=device), self.recording, []
        for index, rows in pieces:
            padded = fixed_rows(rows, min(size or self.batch_size, self.batch_size)) if self.fixed else rows
            length = int(self.data.lengths[rows[0]])  # the longest comes first
            positions = devices.positions(length, device, longest=self.longest, limit=self.limit, fixed=self.fixed)
            shapes.append((len(padded), positions))
            if index % self.accelerator.num_processes != self.accelerator.process_index:
                continue
            inputs = self.data.collate(padded, pad_id=self.pad_id, positions=positions)
            labels = np.where(np.arange(len(padded)) < len(rows), self.data.labels[padded], NO_LABEL)
            targets = {"rows": padded, "labels": labels, "of": np.array(len(batch), np.float32)}
            # A mask belongs to its micro-batch, not to the process that computes it or to what came before.
            seed = ((self.seed * 1_000_003 + self.step) * 1_009 + index) % 2**63
            given = devices.to_device(inputs | targets, device)
            loss, logits = self.passes(given, seed)
            total += loss
            if recorder is not None:
                recorder.record(given["rows"][: len(rows)], logits[: len(rows)])
            self.taken += 1
            if self.taken % GIVE_BACK_EVERY == 0 and self.features is None:  # a head holds next to nothing
                devices.give_back_memory(device)
        stage.steps += 1
        stage.tokens_padded += sum(examples * positions for examples, positions in shapes)
        stage.flops += sum(self.flops.train_pass(*shape) for shape in shapes)
        stage.examples += len(batch)
        stage.tokens += int(self.data.lengths[batch].sum())
        return total

    def _compute(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """A forward and a backward pass, which adds to the gradients.

        Args:
            batch: the model's inputs, and (B,) ``rows`` and ``labels`` of the examples, of which those with
                ``NO_LABEL`` count nothing, and the number ``of`` examples that the loss is the mean over.

        Returns:
            the loss and the (B, C) logits.
        """
        inputs = {name: tensor for name, tensor in batch.items() if name not in ("rows", "labels", "of")}
        with self.accelerator.autocast():
            logits = self.forward(**inputs).logits.float()
        joint = logits if self.expert is None else logits + self.expert[batch["rows"]]
        loss = functional.cross_entropy(joint, batch["labels"], reduction="sum", ignore_index=NO_LABEL) / batch["of"]
        self.accelerator.backward(loss)
        return loss.detach(), logits.detach()

    def _zero_gradients(self) -> None:
        # On CPU, clearing memory is cheaper than giving it back and asking for new; a recording writes to one place.
        self.optimizer.zero_grad(set_to_none=self.accelerator.device.type != "cpu" and not self.fixed)

    def _halve_micro_batch(self, batch_size: int) -> None:
        self._zero_gradients()
        size = min(self.micro_batch_size or batch_size, batch_size)
        if size == 1 or self.accelerator.num_processes > 1:
            raise UserError(
                f"{self.title}: out of memory on {devices.name(self.accelerator.device)} with {size} examples per "
                "forward pass: set training.micro_batch_size lower, or gradient_checkpointing: true"
            )
        self.micro_batch_size = size // 2
        self.passes.forget()
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("%s: out of memory; going on with micro-batches of %d", self.title, self.micro_batch_size)

    def _sum_gradients(self) -> None:
        """Add the gradients of all processes; a process without a micro-batch in this step adds nothing."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
        flat = self.accelerator.reduce(flat, "sum")
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def agreed(self, wanted: bool, *, now: bool = False) -> bool:
        """Whether any process wants it; several processes ask each other only now and then, unless it is ``now``."""
        if self.accelerator.num_processes == 1:
            return wanted
        if self.step % FETCH_EVERY and not now:
            return False
        return bool(self.accelerator.reduce(torch.tensor(float(wanted), device=self.accelerator.device), "sum") > 0)

    def fetch_losses(self, bar: tqdm) -> None:
        """Look at the losses since the last time; this is where the host waits for the device."""
        if not self.losses:
            return
        losses = torch.stack(self.losses)
        if self.accelerator.num_processes > 1:
            losses = self.accelerator.reduce(losses, "sum")
        values = losses.cpu().numpy()
        first = self.step - len(values)
        if not np.isfinite(values).all():
            step = first + int(np.argmin(np.isfinite(values)))
            uids = self.data.uids.take(pa.array(self.batch(step))).to_pylist()
            raise UserError(
                f"{self.title}: the loss is {values[step - first]} at step {step + 1}, on the examples {named(uids)}: "
                f"{CALMER}"
            )
        self.losses.clear()
        self.loss = float(values.mean())
        bar.set_postfix(loss=f"{self.loss:.3f}", refresh=False)
        if time.monotonic() - self.logged > LOG_SECONDS:
            self.log_progress()
        if self.runtime["tracker"]:
            self.accelerator.log({"loss": self.loss, "learning_rate": self.schedule.rate(self.step - 1)}, self.step)

    @property
    def at_interval(self) -> bool:
        """Whether all dev sets are scored after this step."""
        return self.step % self.evaluate_every == 0 or self.finished

    def dev_sets_due(self) -> list[str]:
        """The dev sets to score after this step: at times all, in between those that a stop rule watches."""
        if self.at_interval:
            return list(self.dev)
        looking = [stop for stop in self.stops.values() if stop.stopped is None and stop.looks_at(self.step)]
        return [name for name in self.dev if any(watches(stop.monitor, name) for stop in looking)]

    def evaluate(self, bar: tqdm, asked_to_stop: Callable[[], bool] = lambda: False) -> None:
        """Score the dev sets that are due, and let the stop rules and the schedule know.

        Asked to stop, it leaves everything as it was before: what was due still is.
        """
        self.fetch_losses(bar)
        whole = self.at_interval
        with self.meter.measure("evaluate"):
            try:
                rows, stage = self._score(asked_to_stop)
            except _AskedToStopError:
                return
        self.meter.stages["evaluate"].add(stage)
        self.curve += rows
        self.due = []
        found = {row["dataset"]: row["value"] for row in rows if row["metric"] == self.cfg["metric"]}
        for name, stop in self.stops.items():
            if not (stop.looks_at(self.step) or (whole and (stop.every is None or self.finished))):
                continue
            already = stop.stopped is not None
            if stop.update(self.step, monitored(found, stop.monitor)):
                self.best[name] = self._weights()
            if stop.stopped is not None and not already:
                log.info("%s: %s stops at step %d; best was step %d", self.title, name, self.step, stop.best_step)
                self._charge(name)
        if whole:
            self.schedule.observe(self.step, found[IN_DISTRIBUTION])
        self.log_progress()
        if self.runtime["tracker"]:
            dev = _dev_scores(self.curve, self.cfg["metric"])
            self.accelerator.log({f"dev/{name}": float(value) for name, value in dev.items()}, self.step)

    def _score(self, asked_to_stop: Callable[[], bool]) -> tuple[list[dict[str, Any]], Stage]:
        """The rows of the dev curve for the dev sets that are due, and the work that they were."""

        def go_on() -> None:
            if asked_to_stop():
                raise _AskedToStopError

        alone = self.accelerator.num_processes == 1  # several have to end in the same place
        rows, stage = [], Stage()
        for dataset in self.due:
            if self.agreed(asked_to_stop(), now=True):
                raise _AskedToStopError
            logits = predict(
                self.model,
                self.dev[dataset],
                self.accelerator,
                pad_id=self.pad_id,
                stage=stage,
                flops=self.flops,
                before_each=go_on if alone else None,
            )
            found = metrics.scores(logits, self.dev[dataset].labels, f"{self.title}, step {self.step} on {dataset}")
            common = {"step": self.step, "epoch": self.epoch, "dataset": dataset, "split": "dev"}
            rows += [common | {"metric": metric, "value": value} for metric, value in sorted(found.items())]
        return rows, stage

    def log_progress(self) -> None:
        """A line in the log: where the run is, how it does and how long it will take."""
        self.logged = time.monotonic()
        train = self.meter.stages["train"]
        rate = train.examples / max(train.seconds, 1e-9)
        left = tqdm.format_interval(self.seconds_left())
        shown = "".join(f" {name} {value}" for name, value in _dev_scores(self.curve, self.cfg["metric"]).items())
        log.info(
            "%s: step %d/%d epoch %.2f loss %.3f%s (%.1f examples/s, %s left)",
            self.title, self.step, self.steps, self.epoch, self.loss, shown, rate, left,
        )  # fmt: skip

    def seconds_left(self) -> float:
        """Until the last step, at the pace so far, evaluations included; less where a stop rule ends the run."""
        spent = sum(self.meter.stages[stage].seconds for stage in ("train", "evaluate"))
        return spent / max(self.step, 1) * (self.steps - self.step)

    def _weights(self) -> dict[str, torch.Tensor]:
        """A copy of the model's weights in main memory."""
        return {key: value.detach().cpu().clone() for key, value in self.model.state_dict().items()}

    def _charge(self, checkpoint: str) -> None:
        """Note what the run has cost up to a checkpoint."""
        device = self.accelerator.device
        peak = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else peak_memory_mb()
        self.costs += self.meter.rows(checkpoint, devices.name(device), self.precision, peak)

    def save(self, fingerprint: str) -> None:
        """Write everything that the rest of the run depends on."""
        self.fetch_losses(tqdm(disable=True))  # a run whose loss is not finite must not be resumed from here
        recorder = self.recorder
        partial = None
        if recorder is not None:
            current = recorder.current
            partial = self.accelerator.reduce(current, "sum") if self.accelerator.num_processes > 1 else current
        state = {
            "fingerprint": fingerprint,
            "step": self.step,
            "due": self.due,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": asdict(self.schedule),
            "micro_batch_size": self.micro_batch_size,
            "loss": self.loss,
            "stops": {name: asdict(stop) for name, stop in self.stops.items()},
            "reference_stop": asdict(self.reference_stop) if self.reference_stop else None,
            "best": self.best,
            "curve": self.curve,
            "costs": self.costs,
            "meter": self.meter.state(),
            "dynamics": [*recorder.epochs, partial] if recorder is not None else None,
        }
        if self.main_process:
            checkpointing.save(self.files.state, self.step, state)
        self.accelerator.wait_for_everyone()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state that ``save`` wrote."""
        self.step = state["step"]
        self.due = state["due"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        watch = EarlyStopping(**state["schedule"].pop("watch"))
        self.schedule = Schedule(**state["schedule"], watch=watch)
        self.micro_batch_size = state["micro_batch_size"]
        self.loss = state["loss"]
        self.stops = {name: EarlyStopping(**stop) for name, stop in state["stops"].items()}
        self.reference_stop = RankingStop(**state["reference_stop"]) if state["reference_stop"] else None
        self.best = state["best"]
        self.curve = state["curve"]
        self.costs = state["costs"]
        self.meter = CostMeter.restore(state["meter"])
        if self.recorder is not None:
            *self.recorder.epochs, current = state["dynamics"]
            if self.main_process:  # the others would add it a second time
                self.recorder.current.copy_(current)

    def write(self) -> None:
        """Write the outputs: saved models, dev curve, cost and dynamics.

        Raises:
            UserError: a weight is not finite; nothing is written then.
        """
        if not self.main_process:
            return
        if self.cfg["final"]:
            self._charge(FINAL)
            self.best[FINAL] = self.model.state_dict()
        for name, stop in self.stops.items():
            if stop.stopped is None:  # the run ended before the rule fired
                self._charge(name)
        if self.recording and self.reference_stop is not None:
            self._charge(self.reference_stop.name)
            if not self.cfg["final"]:
                self.best[self.reference_stop.name] = self.model.state_dict()
        for name in sorted(self.best):
            self._check_saved(name)
        model, frozen = self._saved_as()
        for name in sorted(self.best):
            state = frozen | self.best[name]
            classifier.save(model, state, self.files.source, self.files.models / name, self._card(name))
        metadata = {"steps": str(self.steps), "last_step": str(self.step), "seed": str(self.seed)}
        metadata["steps_per_epoch"] = str(self.steps_per_epoch)
        metadata["checkpoints"] = json.dumps({name: self._step_of(name) for name in sorted(self.best)})
        artifacts.write_table(pa.Table.from_pylist(self.curve, METRICS), self.files.metrics, METRICS, metadata)
        artifacts.write_table(pa.Table.from_pylist(self.costs, COST), self.files.cost, COST)
        if self.recorder is not None and self.files.dynamics is not None:
            facts = {"labels": json.dumps(self.cfg["labels"]), "seed": str(self.seed)}
            made_from = artifacts.read_metadata(self.files.train)
            facts |= {key: value for key, value in made_from.items() if key == "content_hash"}
            self.recorder.write(self.files.dynamics, facts)
        if self.runtime["tracker"]:
            self.accelerator.end_training()

    def _check_saved(self, checkpoint: str) -> None:
        """Refuse a saved model that has diverged; warn of one that has learned to say one thing."""
        step = self._step_of(checkpoint)
        lost = [name for name, value in self.best[checkpoint].items() if not torch.isfinite(value).all()]
        if lost:
            raise UserError(
                f"{self.title}: {len(lost)} weights of step {step}, such as {lost[0]}, are not finite: {CALMER}"
            )
        rows = [row for row in self.curve if row["step"] == step and row["metric"] == "predicted_classes"]
        if rows and all(row["value"] == 1 for row in rows):
            log.warning(
                "%s: the model %s of step %d predicts one class on every dev set: it has learned nothing",
                self.title, checkpoint, step,
            )  # fmt: skip

    def _saved_as(self) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
        """The model that is saved, and those of its weights that were not trained: a probe's encoder, else none."""
        if self.cfg["tune"] != "probe":
            return self.model, {}
        whole = classifier.build(self.files.source, self.cfg["labels"], seed=self.seed, layers=self.cfg["layers"])
        return whole, whole.state_dict()

    def _step_of(self, checkpoint: str) -> int:
        if checkpoint in self.stops:
            return self.stops[checkpoint].best_step
        stop = self.reference_stop
        return stop.stopped if stop is not None and checkpoint == stop.name and stop.stopped is not None else self.step

    def _card(self, checkpoint: str) -> str:
        return card.text(
            pretrained.read_source(self.files.source),
            self.cfg,
            title=self.title,
            step=self._step_of(checkpoint),
            examples=len(np.unique(self.rows)),
            of=len(self.data),
            curve=[row for row in self.curve if row["step"] == self._step_of(checkpoint)],
            precision=self.precision,
        )

    def progress_bar(self) -> tqdm:
        """The bar that follows the run on a terminal; in files and pipes the lines of the log are enough."""
        return tqdm(
            desc=self.title,
            total=self.steps,
            initial=self.step,
            unit="step",
            smoothing=0.05,
            leave=False,
            dynamic_ncols=True,
            disable=not (self.runtime["progress"] and self.main_process and sys.stderr.isatty()),
        )


def _lines_above(bar: tqdm) -> AbstractContextManager[None]:
    """While the block runs, lines of the log appear above the bar, not in the midst of it."""
    return nullcontext() if bar.disable else logging_redirect_tqdm()


def watches(monitor: str, dataset: str) -> bool:
    """Whether a stop rule that watches ``monitor`` needs the score of a dev set."""
    if monitor == "dev":
        return dataset == IN_DISTRIBUTION
    return dataset != IN_DISTRIBUTION and monitor in ("ood_dev", f"ood_dev/{dataset}")


def monitored(found: dict[str, float], monitor: str) -> float:
    """The score that ``monitor`` (``dev``, ``ood_dev`` or ``ood_dev/NAME``) names, from the scores by dataset."""
    if monitor == "dev":
        return found[IN_DISTRIBUTION]
    if monitor == "ood_dev":
        return float(np.mean([value for dataset, value in found.items() if dataset != IN_DISTRIBUTION]))
    return found[monitor.removeprefix("ood_dev/")]


def _dev_scores(curve: list[dict[str, Any]], metric: str) -> dict[str, str]:
    """The latest dev scores for display: in-distribution, and the mean over OOD sets."""
    last = curve[-1]["step"] if curve else None
    found = {row["dataset"]: row["value"] for row in curve if row["step"] == last and row["metric"] == metric}
    shown = {"dev": f"{found[IN_DISTRIBUTION]:.3f}"} if IN_DISTRIBUTION in found else {}
    if len(found) > 1:
        shown["ood_dev"] = f"{monitored(found, 'ood_dev'):.3f}"
    return shown


def _features(cfg: dict[str, Any], source: Path) -> str | None:
    """The name of the features that are trained on; None where whole texts are."""
    if cfg["tune"] == "probe":
        return heads.features_of(classifier.read_config(source))
    return cfg["features"] if cfg["tune"] == "head" else None


def _read(path: Path, features: str | None) -> Examples:
    return TokenizedDataset.read(path) if features is None else FeatureDataset.read(path, features)


def _rows_of(data: Examples, subset: Path | None) -> np.ndarray:
    """Row numbers to train on, ascending."""
    if subset is None:
        return np.arange(len(data))
    rows = np.sort(read_subset(subset, data.uids))
    if not len(rows):
        raise artifacts.damaged(subset, "it names no example")
    return rows


def _optimizer(model: torch.nn.Module, training: dict[str, Any]) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Biases and normalisation weights are not decayed, as is usual.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training["weight_decay"]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if training["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=training["learning_rate"], momentum=training["momentum"])
    return torch.optim.AdamW(groups, lr=training["learning_rate"], eps=training["adam_epsilon"], fused=True)


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)


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
