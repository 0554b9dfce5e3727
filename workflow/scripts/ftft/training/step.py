"""A step of the optimizer: a batch goes in, a loss comes out, and the weights have changed.

Dropout masks are pure functions of seed, step and pass. So a run goes on from a state exactly as if it had not been
interrupted, and several processes compute what one would.
"""

import logging
from contextlib import nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from ftft.compute import devices, graphs, kernels
from ftft.compute.batching import FeatureDataset
from ftft.compute.cost import Stage
from ftft.compute.flops import FlopCount
from ftft.core.errors import UserError, reason
from ftft.jobs.environment import Runtime
from ftft.models import quantization
from ftft.training import passes
from ftft.training.inputs import Inputs
from ftft.training.recorder import DynamicsRecorder
from ftft.training.settings import Optimization
from ftft.training.update import Update

log = logging.getLogger(__name__)

# Passes after which freed memory goes back to the system; each time, what is needed again has to be asked for anew.
GIVE_BACK_EVERY = 32


class Step:
    """What takes the steps of a run.

    Args:
        model: on its device.
        inputs: the examples.
        training: the optimizer's settings, and how a batch is cut into passes.
        accelerator: device, precision and processes.
        runtime: whether passes are compiled or recorded.
        seed: of the run.
        steps: of the whole run, which has to repay a compilation.
        title: of the run, in messages.

    Attributes:
        flops: operations of a pass.
        update: what changes the weights.
        micro_batch_size: examples in a pass at most; None for the whole batch. It gets smaller where memory runs out.
        micro_batch_tokens: padded tokens in a pass at most; None where nothing limits them.
        exact: whether a pass may only do what gives the same bits each time.
        fixed: whether passes come in few shapes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Inputs,
        training: Optimization,
        accelerator: Accelerator,
        runtime: Runtime,
        *,
        seed: int,
        steps: int,
        title: str,
    ) -> None:
        self.inputs, self.training, self.accelerator = inputs, training, accelerator
        self.seed, self.title, self.device = seed, title, accelerator.device
        data = inputs.data
        with accelerator.autocast():  # frozen weights may be in the precision of the passes
            self.flops = FlopCount.of(model, data.values.shape[1] if isinstance(data, FeatureDataset) else None)
        whole = inputs.features is None  # a head is too small to gain by what follows
        if training.gradient_checkpointing and whole:
            devices.checkpoint_activations(model)
        self.fixed = devices.records_passes(
            self.device,
            wanted=runtime.cuda_graphs and whole,
            compiled=runtime.compile,
            processes=accelerator.num_processes,
            checkpointing=training.gradient_checkpointing,
            quantized=quantization.is_quantized(model),
        )
        self.update = Update(model, training, accelerator, in_place=self.fixed)
        compiling = runtime.compile if whole and not self.fixed else False
        self.forward = devices.compiled(model, steps=steps, wanted=compiling)
        self.kernels = kernels.fast_on(self.device) if self.forward is model else nullcontext
        self.exact = devices.varies(self.device)
        self.passes: graphs.Passes = graphs.Eager(self._compute)
        if self.fixed:
            self.passes = graphs.Recorded(self._compute, [each for each in model.parameters() if each.requires_grad])
        self.micro_batch_tokens = tokens = devices.tokens_per_pass(self.device, train=True)
        self.micro_batch_size = passes.largest(
            training.batch_size, training.micro_batch_size, tokens=tokens, processes=accelerator.num_processes
        )
        self.taken = 0  # passes so far

    def take(
        self, number: int, batch: np.ndarray, rate: float, stage: Stage, recorder: DynamicsRecorder | None
    ) -> torch.Tensor:
        """Change the weights by one step.

        Args:
            number: of the step, from 0.
            batch: rows of the train set.
            rate: learning rate.
            stage: is charged with the work.
            recorder: gets the logits.

        Returns:
            the mean loss of the batch, on the device; of several processes, this one's part of it.
        """
        while True:
            try:
                with self.kernels(), devices.exact(wanted=self.exact):
                    loss = self.gradients(number, batch, stage, recorder)
                break
            except torch.OutOfMemoryError:
                self._halve(len(batch))
            except RuntimeError as failure:
                self._give_up_exactness(failure)
        self.update.apply(rate)
        return loss

    def gradients(
        self, number: int, batch: np.ndarray, stage: Stage, recorder: DynamicsRecorder | None = None
    ) -> torch.Tensor:
        """Add up the gradients of the batch's mean loss over its passes; returns that loss."""
        total = torch.zeros((), device=self.device)
        pieces = self._cut(batch)
        for index, each in enumerate(pieces):
            if index % self.accelerator.num_processes != self.accelerator.process_index:
                continue
            # A mask belongs to its pass, not to the process that computes it or to what came before.
            seed = ((self.seed * 1_000_003 + number) * 1_009 + index) % 2**63
            given = passes.collated(each, len(batch), self.inputs.data, pad_id=self.inputs.pad_id)
            moved = devices.to_device(given, self.device)
            loss, logits = self.passes(moved, seed)
            total += loss
            if recorder is not None:
                recorder.record(moved["rows"][: len(each.rows)], logits[: len(each.rows)])
            self.taken += 1
            if self.taken % GIVE_BACK_EVERY == 0 and self.inputs.features is None:  # a head holds next to nothing
                devices.give_back_memory(self.device)
        passes.charge(stage, pieces, self.flops, self.inputs.data.lengths[batch])
        return total

    def _cut(self, batch: np.ndarray) -> list[passes.Pass]:
        """The passes of a batch, of all processes."""
        full = self.training.batch_size
        return passes.cut(
            batch,
            self.inputs.data.lengths,
            self.device,
            size=self.micro_batch_size,
            tokens=self.micro_batch_tokens,
            full=min(self.micro_batch_size or full, full) if self.fixed else None,
            longest=self.inputs.longest,
            limit=self.inputs.limit,
        )

    def _compute(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and (B, C) logits of a pass over a batch of ``passes.collated``; adds to the gradients."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in ("rows", "labels", "of")}
        with self.accelerator.autocast():
            logits = self.forward(**inputs).logits.float()
        loss = passes.loss(logits, batch, self.inputs.expert)
        self.accelerator.backward(loss)
        return loss.detach(), logits.detach()

    def _halve(self, batch_size: int) -> None:
        """Let passes have half as many examples."""
        self.update.clear()
        size = min(self.micro_batch_size or batch_size, batch_size)
        if size == 1 or self.accelerator.num_processes > 1:
            raise UserError(
                f"{self.title}: out of memory on {devices.name(self.device)} with {size} examples per forward pass: "
                "set training.micro_batch_size lower, or gradient_checkpointing: true"
            )
        self.micro_batch_size = size // 2
        self.passes.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("%s: out of memory; going on with micro-batches of %d", self.title, self.micro_batch_size)

    def _give_up_exactness(self, failure: RuntimeError) -> None:
        """Go on with operations that may give other bits each time, if that is why a pass failed; else raise it."""
        if not self.exact or "deterministic" not in str(failure):
            raise failure
        self.update.clear()
        self.passes.forget()
        self.exact = False
        log.warning("%s: the same run again may differ in its last bits: %s", self.title, reason(failure))
